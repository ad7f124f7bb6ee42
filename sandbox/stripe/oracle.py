"""What really happened: against this the mesh's books are checked."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.stripe import ledger
from sandbox.stripe.work import OWN, Object, Work

_COUNTED = ("amount", "captured", "refunded", "disputed")
_OPEN_OR_LOST = ("needs_response", "under_review", "lost")


def book(work: Work) -> Object:
    """Every intent with what became of it, totals of the succeeded ones by currency, and what is left on the balance."""
    charges = _by_intent(work, "charge")
    refunds = _by_intent(work, "refund")
    disputes = _by_intent(work, "dispute")
    entries = [
        _entry(intent, charges[intent["id"]], refunds[intent["id"]], disputes[intent["id"]])
        for intent in _all(work, "payment_intent")
    ]
    return {"time": work.now, "payment_intents": entries, "totals": _totals(entries), "balance": ledger.totals(work)}


def _all(work: Work, kind: str) -> Iterator[Object]:
    for (body,) in work.connection.execute("SELECT body FROM object WHERE kind = ? ORDER BY seq", (kind,)):
        yield json.loads(body)


def _by_intent(work: Work, kind: str) -> Mapping[str, list[Object]]:
    found: defaultdict[str, list[Object]] = defaultdict(list)
    for thing in _all(work, kind):
        found[thing["payment_intent"]].append(thing)
    return found


def _entry(
    intent: Mapping[str, Any], charges: list[Object], refunds: list[Object], disputes: list[Object]
) -> dict[str, Any]:
    """Refunds without what a partial capture released; `disputed`: what banks hold or keep."""
    paid = [charge for charge in charges if charge["paid"]]
    given_back = [refund for refund in refunds if not refund.get(OWN, {}).get("releases")]
    return {
        "id": intent["id"],
        "metadata": intent["metadata"],
        "status": intent["status"],
        "amount": intent["amount"],
        "currency": intent["currency"],
        "captured": sum(charge["amount_captured"] for charge in paid),
        "released": sum(charge.get(OWN, {}).get("released", 0) for charge in paid),
        "refunded": sum(refund["amount"] for refund in given_back if refund["status"] not in ("failed", "canceled")),
        "disputed": sum(dispute["amount"] for dispute in disputes if dispute["status"] in _OPEN_OR_LOST),
        "successful_charges": len(paid),
        "charges": [charge["id"] for charge in charges],
        "refunds": [_part(refund) for refund in given_back],
        "disputes": [_part(dispute) for dispute in disputes],
    }


def _part(thing: Mapping[str, Any]) -> dict[str, Any]:
    return {name: thing[name] for name in ("id", "amount", "status", "metadata")}


def _totals(entries: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        if entry["status"] == "succeeded":
            totals[entry["currency"]].update({"count": 1, **{name: entry[name] for name in _COUNTED}})
    return {currency: dict(total) for currency, total in sorted(totals.items())}
