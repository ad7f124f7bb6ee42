"""Movements of money on the merchant's balance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sandbox.stripe.money import Fee
from sandbox.stripe.shapes import afterwards
from sandbox.stripe.work import Object, Work

_AVAILABLE_AFTER_S = 2 * 86_400


def move(work: Work, source: Object, *, kind: str, amount: int, fee: Fee | None = None, at_once: bool = False) -> Object:
    """Records it; `amount` is positive towards the merchant."""
    available_on = work.now if at_once else work.now + _AVAILABLE_AFTER_S
    return work.add(
        afterwards.balance_transaction(source, kind=kind, amount=amount, fee=fee, now=work.now, available_on=available_on)
    )


def as_of(transaction: Mapping[str, Any], now: int) -> Object:
    """With the status that time gives it."""
    status = "available" if transaction["available_on"] <= now else "pending"
    return {**transaction, "status": status}


def balance(work: Work) -> Object:
    pending: Counter[str] = Counter()
    available: Counter[str] = Counter()
    for (body,) in work.connection.execute("SELECT body FROM object WHERE kind = 'balance_transaction'"):
        entry = json.loads(body)
        side = available if entry["available_on"] <= work.now else pending
        side[entry["currency"]] += entry["net"]
    return {
        "object": "balance",
        "available": _amounts(available),
        "connect_reserved": _amounts(Counter()),
        "livemode": False,
        "pending": _amounts(pending),
        "refund_and_dispute_prefunding": {"available": _amounts(Counter()), "pending": _amounts(Counter())},
    }


def _amounts(totals: Counter[str]) -> list[dict[str, Any]]:
    """One for each currency; the account's own where there is none."""
    return [
        {"amount": amount, "currency": code, "source_types": {"card": amount}}
        for code, amount in sorted(totals.items() or [("usd", 0)])
    ]
