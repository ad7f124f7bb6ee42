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

from donation_svc.domain.donations import Donation, DonationState, Origin, Reversed, Tally, advance

# A promise whose payment did not become ready is asked about as often.
LOOK_AGAIN = datetime.timedelta(seconds=30)
# A promise whose payment never became ready in this time is called off.
READY_WITHIN = datetime.timedelta(hours=1)


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


Fact: TypeAlias = Readied | Declined | Ended | Settled | Reversed

# The provider has not answered yet: there is nothing to confirm.
_NOT_READY = (PaymentState.CREATED, PaymentState.UNKNOWN)
_S = DonationState
_OPEN = (_S.PENDING, _S.AWAITING_PAYMENT, _S.FAILED)
_UNPAID = (*_OPEN, _S.EXPIRED)

# (state, fact) → state after it; a pair that is missing changes nothing. FAILED is left again also where nothing could be
# tried any more: the payment service may have taken silence for a refusal. The end of what was never declined is EXPIRED.
FOLLOWS: Mapping[tuple[DonationState, type[Fact]], DonationState] = {
    **{(state, Readied): _S.AWAITING_PAYMENT for state in _OPEN},
    **{(state, Declined): _S.FAILED for state in _OPEN},
    **{(state, Ended): _S.FAILED for state in _UNPAID},
    **{(state, Settled): _S.SUCCEEDED for state in _UNPAID},
    (_S.SUCCEEDED, Reversed): _S.PARTIALLY_REFUNDED,
    (_S.PARTIALLY_REFUNDED, Reversed): _S.PARTIALLY_REFUNDED,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a donation, and what it counted for before."""

    donation: Donation
    before: Tally


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
    for fact in facts_of(donation.tally, word):
        after = apply(current, fact, now=now, confirm_within=confirm_within)
        if after is not current:
            steps.append(Step(after, current.tally))
            current = after
    return current, steps


def _problem(donation: Donation, word: PaymentWord) -> str:
    known = (donation.origin, donation.charity_id, donation.amount.currency, donation.payment_id or word.payment_id)
    if known != (Origin.INTENT, word.charity_id, word.currency, word.payment_id):
        return "is about another donation or currency"
    if word.captured not in (0, donation.amount.minor_units):
        return "another amount was taken than was promised"
    if word.version > donation.payment_version and _shrinks(donation.tally, word):
        return "less has happened than before"
    # Followed from the next release on; until then an operator keeps what came.
    return "disputes are not followed yet" if word.disputed else ""


def _shrinks(tally: Tally, word: PaymentWord) -> bool:
    return word.captured < tally.gross or word.refunded < tally.refunded or word.refunded > word.captured


def facts_of(tally: Tally, word: PaymentWord) -> Sequence[Fact]:
    """What a word says beyond what a donation counts for already."""
    if word.captured:
        settled = () if tally.donations else (Settled(word.captured),)
        growth = word.refunded - tally.refunded
        return (*settled, Reversed(growth)) if growth else settled
    if word.state in _NOT_READY:
        return ()
    if word.state is PaymentState.CANCELED or (word.state is PaymentState.FAILED and word.closed):
        return (Ended(word.failure_code),)
    return (Declined(word.failure_code),) if word.state is PaymentState.FAILED else (Readied(),)


def apply(donation: Donation, fact: Fact, *, now: datetime.datetime, confirm_within: datetime.timedelta) -> Donation:
    """The donation after one fact; itself where the fact is no news."""
    state = FOLLOWS.get((donation.state, type(fact)))
    if state is None:
        return donation
    if isinstance(fact, Reversed):
        return advance(donation, fact, now=now)
    after = _moved(donation, fact, state, now=now, confirm_within=confirm_within)
    return donation if _says_the_same(donation, after) else after


def _moved(
    donation: Donation,
    fact: Readied | Declined | Ended | Settled,
    state: DonationState,
    *,
    now: datetime.datetime,
    confirm_within: datetime.timedelta,
) -> Donation:
    code = fact.code if isinstance(fact, Declined | Ended) else ""
    still_open = isinstance(fact, Readied | Declined)
    settled = isinstance(fact, Settled)
    return replace(
        donation,
        state=_S.EXPIRED if isinstance(fact, Ended) and not code else state,
        failure_code=code,
        retryable=isinstance(fact, Declined),
        tally=Tally(gross=fact.amount, donations=1) if isinstance(fact, Settled) else donation.tally,
        settle_time=now if settled else donation.settle_time,
        next_attempt_time=donation.create_time + confirm_within if still_open else None,
        attempts=0,
        waiting_for="",
        version=donation.version + 1,
        update_time=now,
    )


def _says_the_same(before: Donation, after: Donation) -> bool:
    return (before.state, before.failure_code, before.retryable) == (after.state, after.failure_code, after.retryable)


class Due(enum.Enum):
    """What an open donation waits for when its time has come."""

    READY = "ready"
    END = "end"
    DONOR = "donor"


def due(donation: Donation, *, now: datetime.datetime, confirm_within: datetime.timedelta) -> Due:
    """What the service does about an open donation."""
    age = now - donation.create_time
    if donation.state is DonationState.PENDING:
        return Due.END if age >= READY_WITHIN else Due.READY
    return Due.END if age >= confirm_within else Due.DONOR


def is_final(donation: Donation) -> bool:
    """Whether a watcher has seen everything."""
    final = (_S.SUCCEEDED, _S.EXPIRED, _S.REFUNDED, _S.DISPUTE_LOST)
    return donation.state in final or (donation.state is _S.FAILED and not donation.retryable)
