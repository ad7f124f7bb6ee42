"""Pure rules: states and their tables, what an amount must satisfy, what a checkout may offer.

Numbers of the enums are the contract's. Amounts are minor units.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from mesh import money
from mesh.money import Money


class CharityState(enum.IntEnum):
    ACTIVE = 1
    SUSPENDED = 2


class CampaignState(enum.IntEnum):
    DRAFT = 1
    ACTIVE = 2
    PAUSED = 3
    CLOSING = 4
    CLOSED = 5


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
class Charity:
    id: UUID
    display_name: str
    state: CharityState
    mode: int
    default_currency: str
    time_zone: str
    provider_account: str
    version: int
    create_time: datetime.datetime
    update_time: datetime.datetime


@dataclass(frozen=True, slots=True)
class CurrencyRule:
    """What a campaign takes in one currency."""

    currency: str
    minor_units_min: int
    minor_units_max: int
    presets: tuple[int, ...] = ()
    goal: int | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    id: UUID
    charity_id: UUID
    display_name: str
    description: str
    state: CampaignState
    rules: Mapping[str, CurrencyRule]
    start_time: datetime.datetime | None
    end_time: datetime.datetime | None
    version: int
    create_time: datetime.datetime
    update_time: datetime.datetime


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


@dataclass(frozen=True, slots=True)
class Reversal:
    id: UUID
    charity_id: UUID
    donation_id: UUID
    amount: Money
    refund_ref: str
    create_time: datetime.datetime


class CampaignMove(enum.Enum):
    ACTIVATE = CampaignState.ACTIVE
    PAUSE = CampaignState.PAUSED


# (state, move) → state after it. A pair that is missing is refused; a move to the state that holds is a repeat.
CAMPAIGN_MOVES: Mapping[tuple[CampaignState, CampaignMove], CampaignState] = {
    (CampaignState.DRAFT, CampaignMove.ACTIVATE): CampaignState.ACTIVE,
    (CampaignState.PAUSED, CampaignMove.ACTIVATE): CampaignState.ACTIVE,
    (CampaignState.ACTIVE, CampaignMove.ACTIVATE): CampaignState.ACTIVE,
    (CampaignState.ACTIVE, CampaignMove.PAUSE): CampaignState.PAUSED,
    (CampaignState.PAUSED, CampaignMove.PAUSE): CampaignState.PAUSED,
}


@dataclass(frozen=True, slots=True)
class Reversed:
    """The checkout gave money back."""

    amount: int


Fact = Reversed

# (state, fact) → whether the fact may happen in that state; the tally decides what comes after it.
LEGAL: Mapping[tuple[DonationState, type[Fact]], bool] = {
    (state, Reversed): state in (DonationState.SUCCEEDED, DonationState.PARTIALLY_REFUNDED) for state in DonationState
}


class IllegalFact(Exception):  # noqa: N818 - the caller turns it into a refusal
    """The fact cannot happen in this state."""


class ExceedsRemaining(Exception):  # noqa: N818 - the caller turns it into a refusal
    """More would go back than is left."""


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
    tally = replace(donation.tally, refunded=donation.tally.refunded + fact.amount)
    state = DonationState.REFUNDED if tally.remaining == 0 else DonationState.PARTIALLY_REFUNDED
    return replace(donation, tally=tally, state=state, version=donation.version + 1, update_time=now)


# What a checkout has taken is accepted in every state but a draft, which was never open.
RECORDABLE = frozenset(CampaignState) - {CampaignState.DRAFT}


def recorded_amount_problem(campaign: Campaign, amount: Money) -> tuple[str, str] | None:
    """What is wrong with an amount that has already been charged, as (field of amount, description).

    The campaign's minimum is not applied: round-ups are small, and the money has been taken.
    """
    problem = money.amount_problem(amount.minor_units, amount.currency)
    if problem:
        return problem
    rule = campaign.rules.get(amount.currency)
    if rule is None:
        return "currency", f"this campaign takes {', '.join(sorted(campaign.rules))}"
    if amount.minor_units > rule.minor_units_max:
        return "minor_units", f"must be at most {rule.minor_units_max} for this campaign"
    return None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a checkout may show."""

    rules: tuple[CurrencyRule, ...]
    round_up: Money | None


def make_offer(campaign: Campaign, order_total: Money | None) -> Offer | None:
    """The campaign's presets, and the round-up of an order; None where the campaign does not take its currency."""
    if order_total is None:
        return Offer(tuple(campaign.rules[currency] for currency in sorted(campaign.rules)), None)
    rule = campaign.rules.get(order_total.currency)
    if rule is None:
        return None
    step = money.round_up(order_total.minor_units, order_total.currency)
    usable = step and step <= rule.minor_units_max and step % money.granularity(order_total.currency) == 0
    return Offer((rule,), Money(step, order_total.currency) if usable else None)
