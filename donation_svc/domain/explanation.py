"""Where a donation and its payment stand together, in words for operators: why, what comes next, and when."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from donation_svc.domain.donations import Donation, DonationState, Origin
from donation_svc.domain.payments import WAITS_FOR_CAPTURE, PaymentState, PaymentWord, WordRefused, follow
from donation_svc.domain.waiting import Due, due, waits_for
from mesh.money import Money

_S, _P = DonationState, PaymentState
NOTHING_NEXT = "nothing: it has ended"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Two sentences; `next_time` is None where nothing is due."""

    why: str
    next: str
    next_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class PaymentPart:
    """What the payment service says of it; `word` is None where it knows of money without a payment."""

    word: PaymentWord | None
    explanation: Explanation


class NoPart(enum.Enum):
    """Why there is nothing from the payment service."""

    UNKNOWN = "unknown"
    """It knows nothing of it."""
    SILENT = "silent"
    """It does not answer."""


_SILENT = "the payment service does not answer, so that no more is known"
_ENDED: Mapping[DonationState, str] = {
    _S.SUCCEEDED: "its money arrived",
    _S.EXPIRED: "nobody confirmed in time",
    _S.REFUNDED: "all of it went back",
}
# In which states a payment may be that brings no news to a donation in this state.
_GOES_WITH: Mapping[DonationState, frozenset[PaymentState]] = {
    _S.PENDING: frozenset({_P.CREATED, _P.UNKNOWN}),
    _S.AWAITING_PAYMENT: frozenset({_P.REQUIRES_ACTION, _P.PROCESSING, _P.AUTHORIZED}),
    _S.SUCCEEDED: frozenset({_P.SUCCEEDED, _P.DISPUTE_WON}),
    _S.FAILED: frozenset({_P.FAILED, _P.CANCELED}),
    _S.EXPIRED: frozenset({_P.CANCELED}),
    _S.PARTIALLY_REFUNDED: frozenset({_P.PARTIALLY_REFUNDED}),
    _S.REFUNDED: frozenset({_P.REFUNDED}),
    _S.DISPUTED: frozenset({_P.DISPUTED}),
    _S.DISPUTE_LOST: frozenset({_P.DISPUTE_LOST}),
}
# What becomes of an open donation that nothing more happens to.
_OTHERWISE: Mapping[DonationState, str] = {
    _S.PENDING: "its payment is asked for again, and called off an hour after the promise",
    _S.AWAITING_PAYMENT: "what is not confirmed in time is called off",
    _S.FAILED: "what is not confirmed in time is called off",
}


def explain(
    donation: Donation,
    part: PaymentPart | NoPart,
    *,
    now: datetime.datetime,
    confirm_within: datetime.timedelta,
) -> Explanation:
    """Why the donation is in its state and what comes next."""
    if donation.origin is Origin.RECORDED:
        return _recorded(donation, part)
    if isinstance(part, NoPart):
        return _alone(donation, part, now=now, confirm_within=confirm_within)
    if part.word is None:
        return Explanation(_sentence(_head(donation), part), part.explanation.next, part.explanation.next_time)
    return _followed(donation, part, part.word, now=now, confirm_within=confirm_within)


def _followed(
    donation: Donation,
    part: PaymentPart,
    word: PaymentWord,
    *,
    now: datetime.datetime,
    confirm_within: datetime.timedelta,
) -> Explanation:
    """What there is to say where the donation followed its payment so far, and where it did not."""
    try:
        after, steps = follow(donation, word, now=now, confirm_within=confirm_within)
    except WordRefused as problem:
        return _contradicted(f"its payment contradicts it ({problem})", part)
    if steps:
        head = "its payment has moved on, and the news has not arrived here yet"
        becomes = "its figures follow" if after.state is donation.state else f"it becomes {after.state.name}"
        return Explanation(_sentence(head, part), f"The payment's event arrives, and {becomes}.")
    if word.state not in _GOES_WITH[donation.state]:
        return _contradicted(f"it is {donation.state.name} and its payment {word.state.name}", part)
    return _together(donation, part, now=now, confirm_within=confirm_within)


def _contradicted(head: str, part: PaymentPart) -> Explanation:
    return Explanation(_sentence(f"{head}, and an operator has to look", part), "An operator decides.")


def explain_without(part: PaymentPart) -> Explanation:
    """The same of what the payment service alone knows."""
    if part.word is None:
        return part.explanation
    why = _sentence("the donation that it was for is not recorded here, and an operator has to look", part)
    return Explanation(why, part.explanation.next, part.explanation.next_time)


def _together(
    donation: Donation, part: PaymentPart, *, now: datetime.datetime, confirm_within: datetime.timedelta
) -> Explanation:
    told = part.explanation
    if not donation.is_open:
        return Explanation(_sentence(_head(donation), part), told.next, told.next_time)
    times = [time for time in (donation.next_attempt_time, told.next_time) if time]
    clauses = [_clause(told.next), _otherwise(donation, now=now, confirm_within=confirm_within)]
    return Explanation(_sentence(_head(donation), part, *_notes(donation)), _joined(clauses), min(times, default=None))


def _alone(donation: Donation, part: NoPart, *, now: datetime.datetime, confirm_within: datetime.timedelta) -> Explanation:
    """What the donation service itself knows."""
    clauses = [f"{_head(donation)}: {_own(donation)}"]
    if part is NoPart.SILENT:
        clauses.append(_SILENT)
    elif donation.state is _S.PENDING:
        clauses.append("the payment service has no payment of it yet")
    else:
        clauses.append("the payment service knows no payment of it, and an operator has to look")
    following = _otherwise(donation, now=now, confirm_within=confirm_within) if donation.is_open else NOTHING_NEXT
    return Explanation(_joined(clauses), _joined([following]), donation.next_attempt_time)


def _recorded(donation: Donation, part: PaymentPart | NoPart) -> Explanation:
    """What a checkout charged has no payment of ours; the payment service posts it to the ledger."""
    back = donation.tally.refunded
    clauses = [
        f"a checkout charged it, and {_head(donation)}",
        *([f"{_money(donation, back)} was taken back"] if back else []),
    ]
    if part is NoPart.UNKNOWN:
        clauses.append("it is not posted to the ledger yet")
        return Explanation(_joined(clauses), "The payment service posts it when its event arrives.")
    if part is NoPart.SILENT:
        clauses.append(_SILENT)
        return Explanation(_joined(clauses), _joined([NOTHING_NEXT]))
    clauses.append("it is posted to the ledger" if part.word is None else _clause(part.explanation.why))
    return Explanation(_joined(clauses), part.explanation.next, part.explanation.next_time)


def _head(donation: Donation) -> str:
    """What its state means for the charity."""
    if donation.tally.donations:
        left = donation.tally.remaining
        return f"it counts for {_money(donation, left)}" if left else "it counts for nothing any more"
    if donation.state is _S.FAILED:
        return "it counts only if another charge succeeds" if donation.retryable else "it failed for good"
    return "it has expired" if donation.state is _S.EXPIRED else "it counts only when its payment succeeds"


def _own(donation: Donation) -> str:
    """What the donation service knows by itself of why."""
    if donation.is_open:
        code = f" ({donation.failure_code})" if donation.failure_code else ""
        return f"{waits_for(donation)}{code}"
    if donation.state is _S.FAILED:
        return f"its payment ended with {donation.failure_code}"
    return _ENDED.get(donation.state) or " and ".join(_returns(donation))


def _returns(donation: Donation) -> Iterator[str]:
    if donation.tally.refunded:
        yield f"{_money(donation, donation.tally.refunded)} went back"
    if donation.tally.disputed:
        keeps = "keeps" if donation.state is _S.DISPUTE_LOST else "holds"
        yield f"the donor's bank {keeps} {_money(donation, donation.tally.disputed)}"


def _notes(donation: Donation) -> Iterator[str]:
    """What the service noted when it looked last."""
    if donation.waiting_for not in ("", WAITS_FOR_CAPTURE):
        yield donation.waiting_for


def _otherwise(donation: Donation, *, now: datetime.datetime, confirm_within: datetime.timedelta) -> str:
    if due(donation, now=now, confirm_within=confirm_within) is Due.END:
        return "its time is over, and its payment is called off"
    return "what is not captured in time is let go of" if donation.hold_end_time else _OTHERWISE[donation.state]


def _sentence(head: str, part: PaymentPart, *notes: str) -> str:
    return _joined([f"{head}: {_clause(part.explanation.why)}", *notes])


def _joined(clauses: Sequence[str]) -> str:
    """Clauses as one sentence."""
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}."


def _clause(sentence: str) -> str:
    """A sentence as a part of another one."""
    return f"{sentence[:1].lower()}{sentence[1:]}".removesuffix(".")


def _money(donation: Donation, minor_units: int) -> str:
    return str(Money(minor_units, donation.amount.currency))
