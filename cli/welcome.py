"""What `mesh up` prints once everything is healthy: where things are, and a first donation to copy and paste."""

from __future__ import annotations

from pathlib import Path

from cli.processes import Ports

# Only sh, curl and sed: whoever reads this may have installed nothing yet. Each block runs as printed, in this order.
_TEXT = r"""
Everything is healthy.

  REST    {rest}/v1/…, described at {rest}/docs
  live    {live}/v1/campaigns/…/totals:watch
  Stripe  {stripe}
  gRPC    donation {donation}, payment {payment}, aggregator {aggregator}
  token   {token} (development: may do everything)
  metrics http://127.0.0.1:PORT/metrics, with the PORT of NAME_metrics in {ports_file}

A first charity:

  curl -sS {rest}/v1/charities -H 'Authorization: Bearer {token}' \
    -H 'Content-Type: application/json' -H 'Idempotency-Key: first-charity' \
    -d '{{"display_name": "Clean Water", "mode": "MODE_TEST", "default_currency": "USD", "time_zone": "Europe/Vienna"}}'

The whole way, from that charity to a campaign's total:

  post() {{ curl -sS "{rest}/v1/$1" -H 'Authorization: Bearer {token}' \
    -H 'Content-Type: application/json' -H "Idempotency-Key: $2" -d "$3"; echo; }}
  field() {{ sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }}
  CHARITY=$(post charities first-charity '{{"display_name": "Clean Water", "mode": "MODE_TEST",
    "default_currency": "USD", "time_zone": "Europe/Vienna"}}' | field charity_id)
  CAMPAIGN=$(post charities/$CHARITY/campaigns first-campaign '{{"display_name": "Wells",
    "currency_rules": [{{"currency": "USD", "minor_units_min": "100", "minor_units_max": "100000"}}]}}' | field campaign_id)
  post campaigns/$CAMPAIGN:activate first-activation '{{}}'
  post donations:record order-1 '{{"campaign_id": "'$CAMPAIGN'", "amount": {{"minor_units": "2500", "currency": "USD"}}}}'
  curl -sS {rest}/v1/campaigns/$CAMPAIGN/totals

The same total by gRPC, a moment later:

  grpcurl -plaintext -d '{{"campaign_id": "'$CAMPAIGN'"}}' {aggregator} giving.aggregate.v1.AggregateService/GetTotals
  buf curl --protocol grpc --http2-prior-knowledge -d '{{"campaign_id": "'$CAMPAIGN'"}}' \
    http://{aggregator}/giving.aggregate.v1.AggregateService/GetTotals

In another terminal, after  export PATH="$PWD/.venv/bin:$PWD/.tools/bin:$PATH" : mesh status, mesh demo, mesh down.
Ctrl-C here stops everything.
"""


def text(*, ports: Ports, token: str, ports_file: Path, sandbox_url: str) -> str:
    names = ("donation", "payment", "aggregator")
    return _TEXT.format(
        rest=f"http://{ports.address('gateway')}",
        live=f"http://{ports.address('live')}",
        stripe=f"sandbox at {sandbox_url}" if sandbox_url else "the real one, with STRIPE_API_KEY",
        token=token,
        ports_file=ports_file,
        **{name: ports.address(name) for name in names},
    )
