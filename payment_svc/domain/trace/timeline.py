"""All steps in one order."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mesh.money import Money
from payment_svc.domain.explanation import Explanation
from payment_svc.domain.history import Asked, History, Moved, Posted
from payment_svc.domain.inbound import EventState, StoredEvent
from payment_svc.domain.payments import Payment
from payment_svc.domain.trace.attempts import begun
from payment_svc.domain.trace.changes import changed
from payment_svc.domain.trace.steps import LISTED_MAX, Step, given, of_amount, of_time

# Methods as commands name them → as the contract does.
_METHODS: Mapping[str, str] = {"CAPTURE": "CapturePayment", "CANCEL": "CancelPayment", "REFUND": "RefundPayment"}
_SETTLED: Mapping[EventState, str] = {
    EventState.APPLIED: "took effect",
    EventState.PARKED: "waits",
    EventState.QUARANTINED: "is kept apart for an operator",
    EventState.SKIPPED: "was given up by an operator",
}


@dataclass(frozen=True, slots=True)
class Trace:
    """A timeline, oldest first, and what it comes to; `payment` is None of what no payment here belongs to."""

    payment: Payment | None
    steps: Sequence[Step]
    explanation: Explanation


def timeline(history: History, *, now: datetime.datetime) -> list[Step]:
    """The steps, oldest first; last, at the time of the answer, what is missing in it."""
    payment = history.payment
    # In this order where two have the same time: a cause before what came of it.
    kinds: Sequence[Iterable[Step]] = (
        [_recorded(history, payment)] if payment else [],
        map(_asked, history.asked),
        (step for event in history.events for step in _came(event)),
        begun(history, payment) if payment else [],
        changed(history, payment) if payment else [],
        map(_moved, history.moved),
        map(_posted, history.postings),
    )
    steps = sorted((step for kind in kinds for step in kind), key=lambda step: step.time)
    missing = (Step(now, f"only the newest {LISTED_MAX} {name} are shown", {}) for name in _cut(history))
    return [*steps, *missing]


def _cut(history: History) -> Iterator[str]:
    yield from history.cut
    if history.payment and len(history.payment.attempts) > LISTED_MAX:
        yield "attempts"


def _recorded(history: History, payment: Payment) -> Step:
    what = "recorded, before the provider was asked" if payment.attempts else "given up before it began"
    ids = given(
        payment_id=payment.id,
        donation_id=payment.donation_id,
        charity_id=payment.charity_id,
        campaign_id=payment.campaign_id,
        actor=history.origin.actor,
        correlation_id=history.origin.correlation_id,
    )
    return Step(payment.create_time, what, ids | of_amount("amount", payment.amount))


def _asked(asked: Asked) -> Step:
    details = given(subject=asked.subject, actor=asked.actor, reason=asked.reason, correlation_id=asked.correlation_id)
    return Step(asked.time, f"{_METHODS.get(asked.method, asked.method)} was asked for", details)


def _came(event: StoredEvent) -> Iterator[Step]:
    details = given(
        event_id=event.event_id,
        type=event.type,
        intent_id=event.intent_id,
        state=event.place.state.name,
        reason=event.place.reason,
        provider_time=of_time(event.provider_time),
    )
    how = "was fetched from the provider's list" if event.polled else "came from the provider"
    yield Step(event.create_time, f"the event {event.type} {how}", details)
    # What had no effect when it came was looked at again, or an operator decided about it.
    if event.update_time != event.create_time:
        decided = given(actor=event.actor, operator_reason=event.operator_reason, attempts=event.attempts)
        yield Step(event.update_time, f"the event {event.type} {_SETTLED[event.place.state]}", details | decided)


def _moved(moved: Moved) -> Step:
    movement = moved.movement
    details = given(
        balance_transaction_id=movement.id,
        item_class=moved.item_class,
        source_id=movement.source_id,
        payout_id=movement.payout_id,
        provider_time=of_time(movement.provider_time),
        available_time=of_time(movement.available_time),
    )
    details |= of_amount("amount", movement.amount) | of_amount("fee", Money(movement.fee, movement.amount.currency))
    return Step(moved.time, f"the provider's balance shows it: {movement.category}", details)


def _posted(posted: Posted) -> Step:
    details = given(posting_id=posted.posting_id, kind=posted.kind, reverses=posted.reverses)
    if len(posted.amounts) == 1:
        details |= of_amount("amount", posted.amounts[0])
    elif posted.amounts:
        details["amount"] = " and ".join(map(str, posted.amounts))
    return Step(posted.time, f"posted to the ledger: {posted.kind}", details)
