"""Donations: their states, what they count for, and what goes back of it."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from mesh.money import Money


class DonationState(enum.IntEnum):
    PENDING = 1
    AWAITING_PAYMENT = 2
    SUCCEEDED = 3
    FAILED = 4
    EXPIRED = 5
    PARTIALLY_REFUNDED = 6
    REFUNDED = 7
    DISPUTED = 8
    DISPUTE_LOST = 9


class Origin(enum.IntEnum):
    INTENT = 1
    RECORDED = 2


@dataclass(frozen=True, slots=True)
class Tally:
    """What a donation counts for, cumulative."""

    gross: int = 0
    refunded: int = 0
    disputed: int = 0
    donations: int = 0

    @property
    def remaining(self) -> int:
        """What could still go back."""
        return self.gross - self.refunded - self.disputed


@dataclass(frozen=True, slots=True)
class Donation:
    id: UUID
    charity_id: UUID
    campaign_id: UUID
    donor_id: UUID | None
    origin: Origin
    state: DonationState
    amount: Money
    tally: Tally
    anonymous: bool
    version: int
    create_time: datetime.datetime
    update_time: datetime.datetime
    settle_time: datetime.datetime | None
    payment_ref: str | None = None
    payment_id: UUID | None = None
    possible_duplicate_of: UUID | None = None
    failure_code: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    # Of promises only: what covers the fee, and what waits for the payment.
    fee_cover: int = 0
    retryable: bool = False
    payment_version: int = 0
    next_attempt_time: datetime.datetime | None = None
    attempts: int = 0
    waiting_for: str = ""
    manual_capture: bool = False
    # When the card lets go of what is held on it; None while nothing is.
    hold_end_time: datetime.datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether money may still come that nobody has called off."""
        return self.state in (DonationState.PENDING, DonationState.AWAITING_PAYMENT) or self.retryable

    @property
    def is_confirmable(self) -> bool:
        """Whether the donor still has something to confirm."""
        return self.is_open and self.hold_end_time is None


@dataclass(frozen=True, slots=True)
class Reversal:
    id: UUID
    charity_id: UUID
    donation_id: UUID
    amount: Money
    refund_ref: str
    create_time: datetime.datetime


@dataclass(frozen=True, slots=True)
class Reversed:
    """Money went back; below zero: it came back, for the donor's bank could not take it."""

    amount: int


@dataclass(frozen=True, slots=True)
class Disputed:
    """The donor's bank holds so much more; below zero: it gave back. `lost`: what it holds now it keeps."""

    amount: int
    lost: bool


Fact = Reversed

# (state, fact) → whether the fact may happen in that state; the tally decides what comes after it.
LEGAL: Mapping[tuple[DonationState, type[Fact]], bool] = {
    (state, Reversed): state in (DonationState.SUCCEEDED, DonationState.PARTIALLY_REFUNDED) for state in DonationState
}


class IllegalFact(Exception):  # noqa: N818 - the caller turns it into a refusal
    """The fact cannot happen in this state."""


class ExceedsRemaining(Exception):  # noqa: N818 - the caller turns it into a refusal
    """More would go back than is left, or come back than went."""


def advance(donation: Donation, fact: Fact, *, now: datetime.datetime) -> Donation:
    """The donation after the fact.

    Raises:
        ExceedsRemaining: more would go back than is left.
        IllegalFact: the state does not allow it.
    """
    if fact.amount > donation.tally.remaining:
        raise ExceedsRemaining
    if not LEGAL[donation.state, type(fact)]:
        raise IllegalFact
    return give_back(donation, fact, now=now)


def give_back(donation: Donation, fact: Reversed | Disputed, *, now: datetime.datetime) -> Donation:
    """A donation that counts, after one of its figures moved.

    Raises:
        ExceedsRemaining: more would be gone than arrived, or come back than was gone.
    """
    tally, lost = donation.tally, donation.state is DonationState.DISPUTE_LOST
    if isinstance(fact, Disputed):
        tally, lost = replace(tally, disputed=tally.disputed + fact.amount), fact.lost
    else:
        tally = replace(tally, refunded=tally.refunded + fact.amount)
    if min(tally.refunded, tally.disputed, tally.remaining) < 0:
        raise ExceedsRemaining
    return replace(donation, tally=tally, state=state_of(tally, lost=lost), version=donation.version + 1, update_time=now)


def state_of(tally: Tally, *, lost: bool) -> DonationState:
    """Where a donation that counts stands; `lost`: the donor's bank keeps what it holds."""
    if tally.disputed:
        return DonationState.DISPUTE_LOST if lost else DonationState.DISPUTED
    if tally.refunded:
        return DonationState.REFUNDED if tally.refunded == tally.gross else DonationState.PARTIALLY_REFUNDED
    return DonationState.SUCCEEDED
