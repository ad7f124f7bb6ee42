"""What `mesh up` prints once everything is healthy: where things are, and first donations to copy and paste."""

from __future__ import annotations

from pathlib import Path

from cli.processes import Ports
from cli.stripe import Stripe

# Only sh, curl and sed, and for fresh numbers the Python that runs all this: whoever reads this may have installed nothing
# else yet. Each block runs as printed, in this order, as often as one likes.
_TEXT = r"""
Everything is healthy.

  pages   {rest}/ and {rest}/c/CAMPAIGN
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
  curl -sS {rest}/v1/campaigns/$CAMPAIGN/totals; echo
  echo "open {rest}/c/$CAMPAIGN in a browser"

{paying}The same total by gRPC, a moment later:

  grpcurl -plaintext -d '{{"campaign_id": "'$CAMPAIGN'"}}' {aggregator} giving.aggregate.v1.AggregateService/GetTotals
  buf curl --protocol grpc --http2-prior-knowledge -d '{{"campaign_id": "'$CAMPAIGN'"}}' \
    http://{aggregator}/giving.aggregate.v1.AggregateService/GetTotals

In another terminal, after  export PATH="$PWD/.venv/bin:$PWD/.tools/bin:$PATH" : mesh status, mesh demo, mesh down.
Ctrl-C here stops everything.
"""

_SANDBOX = "sandbox at {stripe.sandbox_url}, its control under /sandbox with the key {stripe.api_key}"

# Whoever gives there is a guest: known by a random cookie, and let in again by the token of his one donation.
_PAYING = r"""A donor gives $10 on that page with a test card; by hand, what his browser does:

  fresh() {{ python3 -c 'import uuid; print(uuid.uuid4())'; }}
  PROMISE=$(curl -sS {rest}/v1/donations \
    -b giving_client=$(fresh) -H "Idempotency-Key: $(fresh)" \
    -H 'Content-Type: application/json' \
    -d '{{"campaign_id": "'$CAMPAIGN'", "amount": {{"minor_units": "1000", "currency": "USD"}}}}')
  DONATION=$(echo "$PROMISE" | field donation_id)
  SECRET=$(echo "$PROMISE" | field client_secret)
  ACCESS=$(echo "$PROMISE" | field access_token)
  echo $(curl -sS {sandbox}/v1/payment_intents/${{SECRET%%_secret_*}}/confirm -d key={publishable_key} \
    -d client_secret=$SECRET -d payment_method=pm_card_visa -d return_url={rest}/c/$CAMPAIGN | field status)
  curl -sS -N {live}/v1/donations/$DONATION:watch -H "Authorization: Bearer $ACCESS" | field state
  curl -sS {rest}/v1/donations/$DONATION -H "Authorization: Bearer $ACCESS"

"""


def text(*, ports: Ports, token: str, ports_file: Path, stripe: Stripe) -> str:
    names = ("donation", "payment", "aggregator")
    places = {
        "rest": f"http://{ports.address('gateway')}",
        "live": f"http://{ports.address('live')}",
        "sandbox": stripe.sandbox_url,
        "publishable_key": stripe.publishable_key,
        **{name: ports.address(name) for name in names},
    }
    return _TEXT.format(
        stripe=_SANDBOX.format(stripe=stripe) if stripe.sandbox_url else "the real one, with STRIPE_API_KEY",
        token=token,
        ports_file=ports_file,
        paying=_PAYING.format(**places) if stripe.sandbox_url else "",
        **places,
    )
