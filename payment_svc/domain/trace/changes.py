"""Entries of the audit trail in words."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.money import Money
from payment_svc.domain.history import Change, History
from payment_svc.domain.payments import Payment, PaymentState
from payment_svc.domain.trace.attempts import attempt_words, dispute_words
from payment_svc.domain.trace.steps import Step, given, of_amount

_FIGURES = ("captured", "refunding", "refunded", "disputed", "lost")


def changed(history: History, payment: Payment) -> Iterator[Step]:
    """What changed of a payment and of what belongs to it: the payment last, for of one moment it follows from the rest."""
    for change in sorted(history.changes, key=lambda change: change.object == "payment"):
        if change.by_hand:
            yield _by_hand(change)
            continue
        words = list(_words(payment, change))
        if words:
            who = given(actor=change.actor, correlation_id=change.correlation_id)
            yield Step(change.time, "; ".join(words), who | _ids(change) | _figures(payment, change))


def _words(payment: Payment, change: Change) -> Iterator[str]:
    if change.object == "payment":
        yield from _payment_words(change)
    elif change.object == "dispute":
        yield from dispute_words(change)
    else:
        for attempt in payment.attempts:
            if str(attempt.id) == change.object_id:
                yield from attempt_words(attempt, change)


def _payment_words(change: Change) -> Iterator[str]:
    if "state" in change.after:
        yield f"the payment became {PaymentState(change.after['state']).name}"
    elif any(name in change.after for name in _FIGURES):
        yield "the payment's figures changed"
    if change.after.get("unwanted"):
        yield "it is to be called off"
    if "manual_reason" in change.after:
        reason = change.after["manual_reason"]
        yield f"an operator has to look: {reason}" if reason else "no operator has to look any more"


def _ids(change: Change) -> dict[str, str]:
    if change.object == "payment":
        return given(intent_id=change.after.get("provider_id"))
    if change.object == "dispute":
        return {"dispute_id": change.object_id}
    return given(attempt_id=change.object_id, provider_id=change.after.get("object_id"))


def _figures(payment: Payment, change: Change) -> dict[str, str]:
    details: dict[str, str] = {}
    for name in _FIGURES if change.object == "payment" else ():
        if name in change.after:
            details |= of_amount(name, Money(int(change.after[name]), payment.amount.currency))
    return details


def _by_hand(change: Change) -> Step:
    """What somebody did past every line of ours: all of it."""
    columns = sorted({*change.before, *change.after})
    gone = bool(change.before) and not change.after
    details = given(
        object_id=change.object_id,
        changes=", ".join(_change_of(change, column) for column in columns),
        actor=change.actor,
        correlation_id=change.correlation_id,
        reason=change.reason,
        database_role=change.database_role,
    )
    return Step(change.time, f"{'deleted' if gone else 'changed'} by hand: {change.object}", details)


def _change_of(change: Change, column: str) -> str:
    before, after = change.before.get(column), change.after.get(column)
    # The trail shows nothing of a secret on either side.
    return f"{column} (not shown)" if before is None and after is None else f"{column} {_text(before)} → {_text(after)}"


def _text(value: object) -> str:
    return "nothing" if value in (None, "") else str(value)
