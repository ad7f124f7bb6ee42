"""The one way in which a payment moves: a pure function of what it was and of a fact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from payment_svc.domain.facts import (
    CallRefused,
    CallUnproven,
    CaptureAsked,
    ChargeSeen,
    Contradiction,
    DisputeSeen,
    Fact,
    IntentRefused,
    IntentSeen,
    RefundAsked,
    RefundSeen,
    ReturnsListed,
    Unwanted,
)
from payment_svc.domain.payments import Attempt, AttemptKind, IntentStatus, Outcome, Payment, in_order
from payment_svc.domain.returns import asked, counted, dispute_seen, listed, newest, refund_asked, refund_seen

# A card that was declined so often on one intent is being tested, or will not work.
DECLINES_MAX = 3


def advance(payment: Payment, fact: Fact) -> Payment:
    """The payment after the fact; the same payment where the fact says nothing new. Version and times stay as they are.

    Raises:
        Contradiction: the fact cannot be true of this payment.
    """
    after = counted(_with_consequences(_RULES[type(fact)](payment, fact)))
    if isinstance(fact, RefundAsked):
        # Not cut to what is left: where it is too much, the database says so.
        after = replace(after, refunding=asked(after))
    return replace(after, attempts=in_order(after.attempts))


def _intent_seen(payment: Payment, fact: IntentSeen) -> Payment:
    _demand_own(payment, fact)
    after = replace(
        payment,
        provider_id=fact.provider_id,
        client_secret=payment.client_secret or fact.client_secret,
        progress=max(payment.progress or fact.progress, fact.progress),
        captured=max(payment.captured, _bounded(payment, fact.captured)),
        canceled=payment.canceled or fact.progress.status is IntentStatus.CANCELED,
        # What is seen outweighs what had been concluded from silence.
        refused=False,
        attempts=tuple(map(_made, payment.attempts)),
    )
    return _charge_seen(after, fact.charge) if fact.charge else after


def _made(attempt: Attempt) -> Attempt:
    if attempt.kind is not AttemptKind.CREATE_INTENT:
        return attempt
    return replace(attempt, outcome=Outcome.SUCCEEDED, code="", saved=False, doubt_time=None)


def _demand_own(payment: Payment, fact: IntentSeen) -> None:
    if payment.provider_id not in ("", fact.provider_id):
        raise Contradiction("another intent claims this payment")
    if fact.amount != payment.amount:
        raise Contradiction("the intent's amount or currency is not the payment's")
    if fact.donation_id not in ("", str(payment.donation_id)):
        raise Contradiction("the intent's metadata name another donation")


def _bounded(payment: Payment, captured: int) -> int:
    if not 0 <= captured <= payment.amount.minor_units:
        raise Contradiction("more was captured than was asked for")
    return captured


def _charge_seen(payment: Payment, fact: ChargeSeen) -> Payment:
    if fact.amount != payment.amount:
        raise Contradiction("the charge's amount or currency is not the payment's")
    known = {charge.object_id: charge for charge in payment.calls(AttemptKind.CHARGE)}
    merged = _merged(known.get(fact.charge_id), fact)
    known[fact.charge_id] = merged
    if sum(charge.outcome is Outcome.SUCCEEDED for charge in known.values()) > 1:
        raise Contradiction("a second charge succeeded on the same intent")
    others = [attempt for attempt in payment.attempts if attempt.kind is not AttemptKind.CHARGE]
    # A bank debit under way shows as captured what may never come.
    arrived = merged.captured if merged.outcome is Outcome.SUCCEEDED else 0
    captured = max(payment.captured, _bounded(payment, arrived))
    # Only of the charge that took the money can anything go back.
    said = newest(payment.returns_said, fact.said if fact.outcome is Outcome.SUCCEEDED else None)
    return replace(payment, attempts=(*others, *known.values()), captured=captured, returns_said=said)


# A charge moves from left to right only.
_CERTAINTY = (Outcome.PENDING, Outcome.REFUSED, Outcome.SUCCEEDED)


def _merged(known: Attempt | None, fact: ChargeSeen) -> Attempt:
    seen = Attempt(
        None, AttemptKind.CHARGE, fact.outcome, fact.charge_id, code=fact.code, captured=fact.captured, second=fact.second
    )
    if known is None:
        return seen
    surer = max(known, seen, key=lambda charge: (_CERTAINTY.index(charge.outcome), charge.code))
    return replace(
        known,
        outcome=surer.outcome,
        code=surer.code,
        captured=max(known.captured, seen.captured),
        second=min(known.second, seen.second),
    )


def _intent_refused(payment: Payment, fact: IntentRefused) -> Payment:
    if payment.provider_id:
        # It is there after all: what was seen outweighs what was concluded.
        return payment
    return replace(
        payment,
        refused=True,
        attempts=_ended(payment.attempts, AttemptKind.CREATE_INTENT, Outcome.REFUSED, code=fact.code),
    )


def _call_unproven(payment: Payment, fact: CallUnproven) -> Payment:
    def doubted(attempt: Attempt) -> Attempt:
        if not attempt.open or attempt.kind is not fact.kind or fact.attempt_id not in (None, attempt.id):
            return attempt
        since = min(attempt.doubt_time or fact.time, fact.time)
        return replace(attempt, outcome=Outcome.UNKNOWN, saved=attempt.saved or fact.saved, doubt_time=since)

    return replace(payment, attempts=tuple(map(doubted, payment.attempts)))


def _call_refused(payment: Payment, fact: CallRefused) -> Payment:
    """The doubt is over: nothing has happened. Asking again, if that may help, is another call with another key."""

    def refused(attempt: Attempt) -> Attempt:
        if attempt.id != fact.attempt_id or not attempt.open or attempt.refusals >= fact.number:
            return attempt
        if fact.calls not in (None, attempt.calls):
            # It was made once more while it was looked up: what was not there then may be now.
            return attempt
        outcome = Outcome.PENDING if fact.again else Outcome.REFUSED
        return replace(
            attempt,
            outcome=outcome,
            code=fact.code,
            refusals=fact.number,
            saved=False,
            doubt_time=None,
            key_time=fact.time,
        )

    return replace(payment, attempts=tuple(map(refused, payment.attempts)))


def _ended(attempts: tuple[Attempt, ...], kind: AttemptKind, outcome: Outcome, *, code: str = "") -> tuple[Attempt, ...]:
    return tuple(
        replace(attempt, outcome=outcome, code=code, doubt_time=None) if attempt.kind is kind and attempt.open else attempt
        for attempt in attempts
    )


def _unwanted(payment: Payment, _: Unwanted) -> Payment:
    """What is being taken is no longer called off."""
    return payment if payment.being_taken else replace(payment, unwanted=True)


def _capture_asked(payment: Payment, fact: CaptureAsked) -> Payment:
    if any(attempt.request_key == fact.request_key for attempt in payment.attempts):
        return payment
    call = Attempt(None, AttemptKind.CAPTURE_INTENT, Outcome.PENDING, amount=fact.amount, request_key=fact.request_key)
    return replace(payment, attempts=(*payment.attempts, call))


_RULES: Mapping[type[Fact], Callable[[Payment, Any], Payment]] = {
    IntentSeen: _intent_seen,
    ChargeSeen: _charge_seen,
    IntentRefused: _intent_refused,
    RefundSeen: refund_seen,
    DisputeSeen: dispute_seen,
    ReturnsListed: listed,
    CallUnproven: _call_unproven,
    CallRefused: _call_refused,
    Unwanted: _unwanted,
    CaptureAsked: _capture_asked,
    RefundAsked: refund_asked,
}


def _with_consequences(payment: Payment) -> Payment:
    """Too many declines end the intent; an intent that is to end gets a call of its own; a closed payment needs none."""
    if payment.closed:
        return replace(payment, attempts=_closed(payment))
    # A decline that is told late does not call off what is being taken.
    unwanted = payment.unwanted or (len(payment.declines()) >= DECLINES_MAX and not payment.being_taken)
    if not unwanted or payment.calls(AttemptKind.CANCEL_INTENT):
        return replace(payment, unwanted=unwanted)
    cancel = Attempt(None, AttemptKind.CANCEL_INTENT, Outcome.PENDING)
    return replace(payment, unwanted=True, attempts=(*payment.attempts, cancel))


def _closed(payment: Payment) -> tuple[Attempt, ...]:
    """Its calls have come to an end, whoever brought it about."""
    canceled = Outcome.SUCCEEDED if payment.canceled else Outcome.REFUSED
    ended = _ended(payment.attempts, AttemptKind.CANCEL_INTENT, canceled)
    open_call = next((call for call in payment.calls(AttemptKind.CAPTURE_INTENT) if call.open), None)
    if open_call and open_call.amount == payment.captured:
        return _ended(ended, AttemptKind.CAPTURE_INTENT, Outcome.SUCCEEDED)
    # Otherwise somebody else took another amount, such as in the provider's dashboard, or it was called off.
    code = "payment_intent_unexpected_state" if payment.captured else "canceled"
    return _ended(ended, AttemptKind.CAPTURE_INTENT, Outcome.REFUSED, code=code)
