"""How a promise follows its payment: what the payment service says is cumulative, and its newest word holds.

A donation's state is a function of the newest word alone, so any order and any repetition of words end in the same state.
One word may jump over several figures; it is taken apart into facts, and each fact moves one figure.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

from donation_svc.domain.donations import Disputed, Donation, DonationState, Origin, Reversed, Tally, give_back

# The card networks let go of what was authorised online after seven days; the provider cancels the payment then.
HOLD_WITHIN = datetime.timedelta(days=7)
WAITS_FOR_CAPTURE = "held on the card until it is captured"


class PaymentState(enum.IntEnum):
    CREATED = 1
    PROCESSING = 2
    REQUIRES_ACTION = 3
    AUTHORIZED = 4
    SUCCEEDED = 5
    FAILED = 6
    CANCELED = 7
    UNKNOWN = 8
    PARTIALLY_REFUNDED = 9
    REFUNDED = 10
    DISPUTED = 11
    DISPUTE_WON = 12
    DISPUTE_LOST = 13


@dataclass(frozen=True, slots=True)
class PaymentWord:
    """What the payment service says of a payment at one version, cumulative."""

    donation_id: UUID
    charity_id: UUID
    payment_id: UUID
    version: int
    state: PaymentState
    currency: str
    captured: int = 0
    refunded: int = 0
    disputed: int = 0
    failure_code: str = ""
    closed: bool = False


class WordRefused(Exception):  # noqa: N818 - becomes a dead letter's reason
    """A word that contradicts the donation; the text names no values."""


@dataclass(frozen=True, slots=True)
class Readied:
    """The provider has the payment: the donor may confirm it."""


@dataclass(frozen=True, slots=True)
class Held:
    """The donor has confirmed: the money is held on his card until somebody captures it."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A charge was declined; another one may follow."""

    code: str


@dataclass(frozen=True, slots=True)
class Ended:
    """No charge can follow any more. Without a code none was ever declined: nobody confirmed."""

    code: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The money arrived."""

    amount: int


Move: TypeAlias = Readied | Held | Declined | Ended | Settled
Return: TypeAlias = Reversed | Disputed
Fact: TypeAlias = Move | Return

# The provider has not answered yet: there is nothing to confirm.
_NOT_READY = (PaymentState.CREATED, PaymentState.UNKNOWN)
_S = DonationState
_OPEN = (_S.PENDING, _S.AWAITING_PAYMENT, _S.FAILED)
_UNPAID = (*_OPEN, _S.EXPIRED)

# (state, fact) → state after it; a pair that is missing changes nothing. FAILED is left again also where nothing could be
# tried any more: the payment service may have taken silence for a refusal. The end of what was never declined is EXPIRED.
FOLLOWS: Mapping[tuple[DonationState, type[Move]], DonationState] = {
    **{(state, Readied): _S.AWAITING_PAYMENT for state in _OPEN},
    **{(state, Held): _S.AWAITING_PAYMENT for state in _OPEN},
    **{(state, Declined): _S.FAILED for state in _OPEN},
    **{(state, Ended): _S.FAILED for state in _UNPAID},
    **{(state, Settled): _S.SUCCEEDED for state in _UNPAID},
}
# Where money may go back and come back, in any of them; the figures say which state comes after it.
COUNTING = frozenset({_S.SUCCEEDED, _S.PARTIALLY_REFUNDED, _S.REFUNDED, _S.DISPUTED, _S.DISPUTE_LOST})


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a donation, what it counted for before, and what changed it."""

    donation: Donation
    before: Tally
    fact: Fact


def follow(
    donation: Donation, word: PaymentWord, *, now: datetime.datetime, confirm_within: datetime.timedelta
) -> tuple[Donation, Sequence[Step]]:
    """The donation after a word, and its changes one by one; older words change nothing.

    Raises:
        WordRefused: it contradicts the donation.
    """
    problem = _problem(donation, word)
    if problem:
        raise WordRefused(problem)
    if word.version <= donation.payment_version:
        return donation, ()
    steps = []
    current = replace(donation, payment_id=word.payment_id, payment_version=word.version)
    for fact in facts_of(donation, word):
        after = apply(current, fact, now=now, confirm_within=confirm_within)
        if after is not current:
            steps.append(Step(after, current.tally, fact))
            current = after
    return current, steps


def _problem(donation: Donation, word: PaymentWord) -> str:
    known = (donation.origin, donation.charity_id, donation.amount.currency, donation.payment_id or word.payment_id)
    if known != (Origin.INTENT, word.charity_id, word.currency, word.payment_id):
        return "is about another donation or currency"
    if not _was_promised(donation, word.captured):
        return "another amount was taken than was promised"
    if min(word.refunded, word.disputed, word.captured - word.refunded - word.disputed) < 0:
        return "more went back than was taken"
    is_news = word.version > donation.payment_version
    if is_news and donation.tally.donations and word.captured != donation.tally.gross:
        return "another amount was taken than before"
    return ""


def _was_promised(donation: Donation, captured: int) -> bool:
    """Whether so much may have been taken: all or nothing, unless somebody captures by hand."""
    whole = donation.amount.minor_units
    return captured in (0, whole) or (donation.manual_capture and 0 < captured < whole)


def facts_of(donation: Donation, word: PaymentWord) -> Sequence[Fact]:
    """What a word says beyond what a donation counts for already."""
    if word.captured:
        settled = () if donation.tally.donations else (Settled(word.captured),)
        return (*settled, *_returns(donation, word))
    if word.state in _NOT_READY:
        return ()
    if word.state is PaymentState.CANCELED or (word.state is PaymentState.FAILED and word.closed):
        return (Ended(word.failure_code),)
    if word.state is PaymentState.FAILED:
        return (Declined(word.failure_code),)
    return (Held(),) if word.state is PaymentState.AUTHORIZED else (Readied(),)


def _returns(donation: Donation, word: PaymentWord) -> Sequence[Return]:
    """What went back or came back; what came back first, so that no step in between has more gone than arrived."""
    reversed_more = word.refunded - donation.tally.refunded
    held_more = word.disputed - donation.tally.disputed
    lost = word.state is PaymentState.DISPUTE_LOST
    decided = word.disputed > 0 and lost is not (donation.state is _S.DISPUTE_LOST)
    facts: list[Return] = [Reversed(reversed_more)] if reversed_more else []
    if held_more or decided:
        facts.append(Disputed(held_more, lost=lost))
    return sorted(facts, key=lambda fact: fact.amount > 0)


def apply(donation: Donation, fact: Fact, *, now: datetime.datetime, confirm_within: datetime.timedelta) -> Donation:
    """The donation after one fact; itself where the fact is no news.

    Raises:
        ExceedsRemaining: more would be gone than arrived, or come back than was gone.
    """
    if isinstance(fact, Reversed | Disputed):
        after = give_back(donation, fact, now=now) if donation.state in COUNTING else donation
    else:
        after = _moved(donation, fact, now=now, confirm_within=confirm_within)
    return donation if _says_the_same(donation, after) else after


def _moved(donation: Donation, fact: Move, *, now: datetime.datetime, confirm_within: datetime.timedelta) -> Donation:
    state = FOLLOWS.get((donation.state, type(fact)))
    if state is None:
        return donation
    code = fact.code if isinstance(fact, Declined | Ended) else ""
    settled = isinstance(fact, Settled)
    held = isinstance(fact, Held)
    hold_end_time = now + HOLD_WITHIN if held else None
    donors_turn = donation.create_time + confirm_within if isinstance(fact, Readied | Declined) else None
    return replace(
        donation,
        state=_S.EXPIRED if isinstance(fact, Ended) and not code else state,
        failure_code=code,
        retryable=isinstance(fact, Declined),
        tally=Tally(gross=fact.amount, donations=1) if isinstance(fact, Settled) else donation.tally,
        settle_time=now if settled else donation.settle_time,
        next_attempt_time=hold_end_time or donors_turn,
        attempts=0,
        waiting_for=WAITS_FOR_CAPTURE if held else "",
        hold_end_time=hold_end_time,
        version=donation.version + 1,
        update_time=now,
    )


def _says_the_same(before: Donation, after: Donation) -> bool:
    return _saying(before) == _saying(after)


def _saying(donation: Donation) -> tuple[object, ...]:
    """What somebody may see of a donation; how long the money is held is not news again and again."""
    held = donation.hold_end_time is not None
    return donation.state, donation.tally, donation.failure_code, donation.retryable, held


def is_final(donation: Donation) -> bool:
    """Whether a watcher has seen everything."""
    final = (_S.SUCCEEDED, _S.EXPIRED, _S.REFUNDED, _S.DISPUTE_LOST)
    return donation.state in final or (donation.state is _S.FAILED and not donation.retryable)
