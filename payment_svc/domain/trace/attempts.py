"""Attempts and disputes in words: who caused them, how they began, what became of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from mesh.money import Money
from payment_svc.domain.history import Change, History
from payment_svc.domain.meanings import of_call, of_payment
from payment_svc.domain.payments import Attempt, AttemptKind, Dispute, DisputeState, Outcome, Payment
from payment_svc.domain.trace.steps import LISTED_MAX, Step, given, of_amount, of_time

_OUR_CALLS: Mapping[AttemptKind, str] = {
    AttemptKind.CREATE_INTENT: "our call that makes the intent",
    AttemptKind.CANCEL_INTENT: "our call that calls the intent off",
    AttemptKind.CAPTURE_INTENT: "our call that takes what is held",
    AttemptKind.REFUND: "our refund",
}
_DISPUTED: Mapping[DisputeState, str] = {
    DisputeState.INQUIRY: "the donor's bank asks about it",
    DisputeState.INQUIRY_CLOSED: "the donor's bank asks no more",
    DisputeState.OPEN: "the donor's bank disputes it",
    DisputeState.LOST: "the donor's bank keeps it: the dispute is lost",
    DisputeState.WON: "the donor's bank decided for the charity: the dispute is won",
}


def begun(history: History, payment: Payment) -> Iterator[Step]:
    """Attempts and disputes as they were when they became known here; the audit trail says what became of them."""
    dated = [attempt for attempt in payment.attempts if attempt.create_time]
    for attempt in sorted(dated, key=lambda attempt: attempt.create_time or payment.create_time)[-LISTED_MAX:]:
        yield _attempt_begun(payment, attempt, first=_first(history, str(attempt.id), "outcome"))
    for dispute in payment.disputes:
        yield _dispute_begun(payment, dispute, first=_first(history, dispute.provider_id, "state"))


def _first(history: History, object_id: str, column: str) -> int | None:
    """What a column held before its first change; None where it never changed."""
    changes = (change for change in history.changes if change.object_id == object_id and column in change.before)
    return next((int(change.before[column]) for change in changes), None)


def _attempt_begun(payment: Payment, attempt: Attempt, *, first: int | None) -> Step:
    outcome = attempt.outcome if first is None else Outcome(first)
    made = datetime.datetime.fromtimestamp(attempt.second, tz=datetime.UTC) if attempt.second else None
    details = given(
        attempt_id=attempt.id,
        kind=attempt.kind.name,
        provider_id=attempt.object_id,
        provider_time=of_time(made),
        reason=attempt.reason,
        calls=attempt.calls or None,
        last_call_time=of_time(attempt.last_call_time),
    )
    if attempt.amount:
        details |= of_amount("amount", Money(attempt.amount, payment.amount.currency))
    what = f"begun: {noun(attempt)}" if outcome is Outcome.PENDING else _became(attempt, outcome, attempt.code)
    return Step(attempt.create_time or payment.create_time, what, details)


def noun(attempt: Attempt) -> str:
    """What it is and who caused it: only what a command asked for was asked for by us."""
    if attempt.kind is AttemptKind.CHARGE:
        return "a charge that the donor's browser caused"
    if attempt.kind is AttemptKind.REFUND and attempt.request_key is None:
        return "a refund that somebody made at the provider"
    return _OUR_CALLS[attempt.kind]


def attempt_words(attempt: Attempt, change: Change) -> Iterator[str]:
    """What a change of an attempt means."""
    code = str(change.after.get("code", attempt.code))
    outcome = Outcome(change.after["outcome"]) if "outcome" in change.after else None
    if "refusals" in change.after and outcome is not Outcome.REFUSED:
        yield f"{_refused(attempt, code)}, and is made again"
    elif outcome is Outcome.REFUSED and change.before["outcome"] == Outcome.SUCCEEDED:
        yield f"the donor's bank sent {noun(attempt)} back: {of_call(code)}"
    elif outcome is not None:
        yield _became(attempt, outcome, code)
    elif "object_id" in change.after:
        yield _became(attempt, Outcome.PENDING, code)


def _became(attempt: Attempt, outcome: Outcome, code: str) -> str:
    words = {
        Outcome.PENDING: f"the provider works on {noun(attempt)}",
        Outcome.SUCCEEDED: f"{noun(attempt)} succeeded",
        Outcome.REFUSED: _refused(attempt, code),
        Outcome.UNKNOWN: f"the answer to {noun(attempt)} was lost: what became of it is not proven",
    }
    return words[outcome]


def _refused(attempt: Attempt, code: str) -> str:
    if attempt.kind is AttemptKind.CHARGE:
        return f"{noun(attempt)} was declined: {of_payment(code)}"
    meaning = of_payment if attempt.kind is AttemptKind.CREATE_INTENT else of_call
    return f"{noun(attempt)} was refused{f': {meaning(code)}' if code else ''}"


def _dispute_begun(payment: Payment, dispute: Dispute, *, first: int | None) -> Step:
    state = dispute.state if first is None else DisputeState(first)
    details = given(dispute_id=dispute.provider_id, reason=dispute.reason)
    amount = of_amount("amount", Money(dispute.amount, payment.amount.currency))
    return Step(dispute.create_time or payment.create_time, _DISPUTED[state], details | amount)


def dispute_words(change: Change) -> Iterator[str]:
    """What a change of a dispute means."""
    if "state" in change.after:
        yield _DISPUTED[DisputeState(change.after["state"])]
    if "withdrawals" in change.after:
        yield "the donor's bank took the money"
    if "reinstatements" in change.after:
        yield "the donor's bank gave the money back"
