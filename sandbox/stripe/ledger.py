"""Movements of money on the merchant's balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.stripe import conversion
from sandbox.stripe.money import Fee, Worth
from sandbox.stripe.shapes import afterwards
from sandbox.stripe.work import Object, Work

_DAY_S = 86_400
_AVAILABLE_AFTER_DAYS = 2
# What is kept of an amount in a currency.
FeeOf = Callable[[int, str], Fee]


def move(
    work: Work,
    source: Object,
    *,
    kind: str,
    amount: int,
    category: str | None = None,
    fee_of: FeeOf | None = None,
    available_on: int | None = None,
) -> Object:
    """Records what an object moves, in the currency that it settles in.

    `amount` is in the source's currency, positive towards the merchant; `category` differs from Stripe's for the kind.
    Without `available_on` it is pending as long as a card's money is.
    """
    worth = conversion.worth(work, amount, source["currency"])
    return enter(work, source, worth, kind=kind, category=category, fee_of=fee_of, available_on=available_on)


def reverse(work: Work, source: Object, entry: Object, *, kind: str, category: str) -> Object:
    """Brings back at once exactly what an entry took, whatever the rate is today."""
    worth = Worth(-entry["amount"], entry["currency"], entry["exchange_rate"])
    return enter(work, source, worth, kind=kind, category=category, available_on=work.now)


def undo(work: Work, source: Object, entry: Object, *, kind: str, category: str) -> Object:
    """Takes an entry back with its fee, and not before its money is there."""
    worth = Worth(-entry["amount"], entry["currency"], entry["exchange_rate"])

    def fee_of(_amount: int, _code: str) -> Fee:
        return Fee(-entry["fee"], "Stripe processing fees")

    at = max(work.now, entry["available_on"])
    return enter(work, source, worth, kind=kind, category=category, fee_of=fee_of, available_on=at)


def enter(
    work: Work,
    source: Object,
    worth: Worth,
    *,
    kind: str,
    category: str | None = None,
    fee_of: FeeOf | None = None,
    available_on: int | None = None,
) -> Object:
    """Records what is in a currency of the balance already."""
    fee = fee_of(worth.amount, worth.currency) if fee_of else None
    at = _midnight(work.now) + _AVAILABLE_AFTER_DAYS * _DAY_S if available_on is None else available_on
    if worth.amount > 0 and at > work.now:
        work.put_off("announce_balance", "", seconds=at - work.now)
    return work.add(
        afterwards.balance_transaction(source, worth, kind=kind, category=category, fee=fee, now=work.now, available_on=at)
    )


def _midnight(now: int) -> int:
    return now - now % _DAY_S


def as_of(transaction: Mapping[str, Any], now: int) -> Object:
    """With the status that time gives it."""
    return {**transaction, "status": afterwards.status_on(transaction["available_on"], now=now)}


def available(work: Work, currency: str) -> int:
    """What can be paid out."""
    return int(work.one("unpaid", currency, work.now))


def totals(work: Work) -> Mapping[str, int]:
    """What all movements leave, by currency."""
    return {code: pending + now for code, (pending, now) in sorted(_sides(work).items())}


def _sides(work: Work) -> Mapping[str, tuple[int, int]]:
    """Pending and available by currency, with what this transaction has not written yet."""
    pending: Counter[str] = Counter()
    ready: Counter[str] = Counter()
    for code, waiting, usable in work.ask("balance", work.now):
        pending[code], ready[code] = waiting, usable
    for entry in work.unwritten("balance_transaction"):
        side = ready if entry["available_on"] <= work.now else pending
        side[entry["currency"]] += entry["net"]
    return {code: (pending[code], ready[code]) for code in pending.keys() | ready.keys()}


def balance(work: Work) -> Object:
    sides = _sides(work) or {"usd": (0, 0)}  # the account's own currency is always shown
    return {
        "object": "balance",
        "available": _amounts({code: usable for code, (_, usable) in sides.items()}),
        "connect_reserved": _amounts({"usd": 0}),
        "livemode": False,
        "pending": _amounts({code: waiting for code, (waiting, _) in sides.items()}),
        "refund_and_dispute_prefunding": {"available": _amounts({"usd": 0}), "pending": _amounts({"usd": 0})},
    }


def _amounts(totals: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {"amount": amount, "currency": code, "source_types": {"card": amount}} for code, amount in sorted(totals.items())
    ]


def announce_balance(work: Work) -> None:
    """Says that pending money has become available."""
    work.announce("balance.available", balance(work))
