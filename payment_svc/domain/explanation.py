"""Where a payment stands, in words for operators: why, what comes next, and when."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mesh.money import Money
from payment_svc.domain.advance import DECLINES_MAX
from payment_svc.domain.asking import Step, next_step, open_call
from payment_svc.domain.history import Moved
from payment_svc.domain.inbound import EventState, StoredEvent
from payment_svc.domain.meanings import of_call, of_payment
from payment_svc.domain.payments import Attempt, AttemptKind, Dispute, DisputeState, Outcome, Payment, PaymentState
from payment_svc.domain.settlement import AGREEING

NOTHING_NEXT = "nothing: it has ended"
_IN_CASE = "the provider is asked now and then in case a webhook was lost"
_WAITS_FOR: Mapping[Step | None, str] = {
    None: NOTHING_NEXT,
    Step.CREATE: "the intent is being made at the provider",
    Step.LOOK_UP: "an answer was lost: the provider is asked whether it has the intent",
    Step.CANCEL: "the intent is being called off at the provider",
    Step.CAPTURE: "what is held is being taken",
    Step.REFUND: "a refund is being made at the provider",
    Step.REVIEW: "what went back does not add up yet: the provider is asked for all of it",
}
# What an intent waits for that the provider has; in every other state that the donor confirms.
_CHECKS_FOR: Mapping[PaymentState, str] = {
    PaymentState.PROCESSING: "the provider works on it",
    PaymentState.AUTHORIZED: "somebody has to capture what is held",
}
_DECIDES = "an operator decides about the event, by ReplayProviderEvents or SkipProviderEvent"
# Calls that are made again under their own keys while it is not proven what became of them.
_CALLS_OF: Mapping[Step | None, AttemptKind] = {
    Step.CREATE: AttemptKind.CREATE_INTENT,
    Step.CAPTURE: AttemptKind.CAPTURE_INTENT,
    Step.REFUND: AttemptKind.REFUND,
}
_AGAIN = "an answer was lost: the same call is made again under its key, which does nothing twice"
_WAITING = (EventState.PARKED, EventState.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Two sentences; `next_time` is None where nothing is due."""

    why: str
    next: str
    next_time: datetime.datetime | None = None


def waits_for(payment: Payment, *, now: datetime.datetime) -> str:
    """What an open payment waits for where an operator need not look."""
    step = next_step(payment, now=now)
    if step is Step.CHECK:
        return f"{_CHECKS_FOR.get(payment.state, 'the donor has to confirm')}; {_IN_CASE}"
    call = open_call(payment, _CALLS_OF[step]) if step in _CALLS_OF else None
    return _AGAIN if call and call.outcome is Outcome.UNKNOWN else _WAITS_FOR[step]


def explain(
    payment: Payment,
    *,
    now: datetime.datetime,
    events: Sequence[StoredEvent] = (),
    moved: Sequence[Moved] = (),
    paused: bool = False,
) -> Explanation:
    """Why the payment is in its state and what comes next. `paused`: nothing is sent to the provider for now."""
    step = next_step(payment, now=now)
    clauses = [
        _OF_STATE[payment.state](payment),
        *_of_calling_off(payment),
        *_of_refunds(payment),
        *_of_open_disputes(payment),
        *_of_waiting(events),
        *_of_disagreeing(moved),
    ]
    if paused and step not in (None, Step.CHECK):
        clauses.append("calls to the provider are paused, and this waits for them")
    if payment.manual_reason:
        clauses.append(f"an operator has to look: {payment.manual_reason}")
    following = [_next(payment, now=now), *([_DECIDES] if _is_quarantined(events) else [])]
    return Explanation(sentence(clauses), sentence(following), payment.next_attempt_time)


def explain_stray(events: Sequence[StoredEvent], *, posted: bool) -> Explanation:
    """The same of what no payment here belongs to. `posted`: the ledger knows it as what a checkout charged."""
    if posted:
        return Explanation("A checkout charged it, and it is posted to the ledger.", sentence([NOTHING_NEXT]))
    due = min((event.place.next_attempt_time for event in events if event.place.next_attempt_time), default=None)
    words = "what waits is looked at again" if due else NOTHING_NEXT
    why = sentence(["no payment here belongs to what the provider speaks of", *_of_waiting(events)])
    return Explanation(why, sentence([_DECIDES if _is_quarantined(events) else words]), due)


def sentence(clauses: Sequence[str]) -> str:
    """Clauses as one sentence."""
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."


def _of_waiting(events: Sequence[StoredEvent]) -> Iterator[str]:
    """What the provider said of it that has no effect yet."""
    waiting = [event for event in events if event.place.state in _WAITING]
    if waiting:
        newest = waiting[-1]
        others = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        yield f"the provider's event {newest.event_id} is {newest.place.state.name.lower()}{others}: {newest.place.reason}"


def _of_disagreeing(moved: Sequence[Moved]) -> Iterator[str]:
    """What moved on the provider's balance otherwise than in our books."""
    for one in moved:
        if one.item_class not in AGREEING:
            yield f"the provider's balance shows otherwise: {one.movement.id} is {one.item_class} ({one.movement.amount})"


def _is_quarantined(events: Sequence[StoredEvent]) -> bool:
    return any(event.place.state is EventState.QUARANTINED for event in events)


def _next(payment: Payment, *, now: datetime.datetime) -> str:
    words = waits_for(payment, now=now)
    if words == NOTHING_NEXT:
        words = _next_of_banks(payment) or words
    if not payment.manual_reason:
        return words
    if payment.next_attempt_time is None:
        return "an operator decides; nothing happens by itself"
    return f"an operator may have the provider asked at once by AskProvider; without him, {words}"


def _next_of_banks(payment: Payment) -> str:
    states = {dispute.state for dispute in payment.disputes}
    if DisputeState.OPEN in states:
        return "the donor's bank decides, and the provider tells its verdict by webhook"
    return "the donor's bank is content, or opens a dispute" if DisputeState.INQUIRY in states else ""


def _created(payment: Payment) -> str:
    asked = any(call.calls for call in payment.calls(AttemptKind.CREATE_INTENT))
    return f"it is recorded, and the provider {'has not answered' if asked else 'was not asked'} yet"


def _failed(payment: Payment) -> str:
    code = of_payment(payment.failure_code)
    if payment.closed:
        return f"the provider would not have it: {code}"
    again = "" if payment.unwanted else ", and the donor may confirm again"
    return f"the last charge was declined with {code}{again}"


def _canceled(payment: Payment) -> str:
    if not payment.attempts:
        return "it was given up before the provider was asked, and takes no money any more"
    declines = len(payment.declines())
    tried = f"; of {declines} declined charges the last was declined with {of_payment(payment.failure_code)}"
    return f"it was called off before any money was taken{tried if declines else ''}"


def _authorized(payment: Payment) -> str:
    held = f"{payment.amount} is held on the donor's card"
    capture = open_call(payment, AttemptKind.CAPTURE_INTENT)
    if capture is None:
        return f"{held}, and nobody has captured it yet"
    of = _part(payment, capture.amount, payment.amount.minor_units)
    if capture.outcome is Outcome.UNKNOWN:
        return f"{held}; the answer to the capture of {of} was lost, and whether it was made is not proven yet"
    return f"{held}, and {of} is being captured{_refusals(capture)}"


def _taken(payment: Payment) -> str:
    return f"{_part(payment, payment.captured, payment.amount.minor_units)} was taken"


def _partly_back(payment: Payment) -> str:
    return f"{_part(payment, payment.refunded, payment.captured)} went back to the donor"


def _all_back(payment: Payment) -> str:
    return f"all that was taken, {_money(payment, payment.captured)}, went back to the donor"


def _disputed(payment: Payment) -> str:
    open_ones = [dispute for dispute in payment.disputes if dispute.held and dispute.state is not DisputeState.LOST]
    kept = f"; it keeps {_money(payment, payment.lost)} for good" if payment.lost else ""
    held = _part(payment, payment.disputed - payment.lost, payment.captured)
    return f"the donor's bank holds {held}{_reason(open_ones)}{kept}{_refunded_too(payment)}"


def _lost(payment: Payment) -> str:
    kept = _part(payment, payment.disputed, payment.captured)
    lost = [dispute for dispute in payment.disputes if dispute.held]
    return f"the donor's bank took back and keeps {kept}{_reason(lost)}{_refunded_too(payment)}"


def _won(payment: Payment) -> str:
    return f"{_taken(payment)}; the donor's bank disputed it and decided for the charity"


def _refunded_too(payment: Payment) -> str:
    return f"; {_money(payment, payment.refunded)} went back before" if payment.refunded else ""


def _reason(disputes: Sequence[Dispute]) -> str:
    reasons = sorted({dispute.reason for dispute in disputes if dispute.reason})
    return f" ({', '.join(reasons)})" if reasons else ""


_OF_STATE: Mapping[PaymentState, Callable[[Payment], str]] = {
    PaymentState.CREATED: _created,
    PaymentState.PROCESSING: lambda _: "the donor has confirmed, and the provider works on it",
    PaymentState.REQUIRES_ACTION: lambda _: "the provider waits for the donor to confirm it",
    PaymentState.AUTHORIZED: _authorized,
    PaymentState.SUCCEEDED: _taken,
    PaymentState.FAILED: _failed,
    PaymentState.CANCELED: _canceled,
    PaymentState.UNKNOWN: lambda _: "an answer was lost, and whether the provider has it is not proven yet",
    PaymentState.PARTIALLY_REFUNDED: _partly_back,
    PaymentState.REFUNDED: _all_back,
    PaymentState.DISPUTED: _disputed,
    PaymentState.DISPUTE_WON: _won,
    PaymentState.DISPUTE_LOST: _lost,
}


def _of_calling_off(payment: Payment) -> Iterator[str]:
    if payment.unwanted and not payment.closed:
        many = len(payment.declines()) >= DECLINES_MAX
        yield f"it is being called off, for {'too many charges were declined' if many else 'nobody waits for it any more'}"


def _of_refunds(payment: Payment) -> Iterator[str]:
    """Refunds on their way, and the last one where it came to nothing."""
    refunds = sorted(payment.calls(AttemptKind.REFUND), key=lambda call: call.create_time or payment.create_time)
    for call in refunds:
        if call.open:
            yield _open_refund(payment, call)
    if refunds and refunds[-1].outcome is Outcome.REFUSED:
        last = refunds[-1]
        came_back = "was sent back by the donor's bank with" if last.object_id else "was refused with"
        yield f"the last refund, of {_money(payment, last.amount)}, {came_back} {of_call(last.code)}"
    if payment.unmatched:
        yield "the charge speaks of refunds or disputes that are not known here yet"


def _open_refund(payment: Payment, call: Attempt) -> str:
    refund = f"a refund of {_money(payment, call.amount)}"
    if call.outcome is Outcome.UNKNOWN:
        return f"the answer to {refund} was lost, and whether it was made is not proven yet"
    return f"{refund} is being made{_refusals(call)}"


def _refusals(call: Attempt) -> str:
    if not call.refusals:
        return ""
    times = "once" if call.refusals == 1 else f"{call.refusals} times"
    return f", refused {times} so far, last with {of_call(call.code)}"


def _of_open_disputes(payment: Payment) -> Iterator[str]:
    """Disputes that have taken no money, or none yet."""
    for dispute in payment.disputes:
        if dispute.state is DisputeState.INQUIRY:
            yield f"the donor's bank asks about it{_reason([dispute])}, and no money has moved"
        elif dispute.state is DisputeState.OPEN and not dispute.held:
            yield f"the donor's bank disputes it{_reason([dispute])}, and holds nothing of it now"


def _part(payment: Payment, part: int, whole: int) -> str:
    """An amount, and of how much it is a part."""
    return _money(payment, part) if part == whole else f"{_money(payment, part)} of {_money(payment, whole)}"


def _money(payment: Payment, minor_units: int) -> str:
    return str(Money(minor_units, payment.amount.currency))
