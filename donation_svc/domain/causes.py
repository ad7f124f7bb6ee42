"""Charities, campaigns, and what may be given to them."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass
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
    charity_display_name: str = ""
    live: bool = False
    # Takes promises while the provider's calls are paused.
    accepts_deferred: bool = False


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


def promised_amount_problem(campaign: Campaign, amount: Money) -> tuple[str, str] | None:
    """What is wrong with a gift that has not been charged yet, as (field of amount, description)."""
    problem = recorded_amount_problem(campaign, amount)
    if problem:
        return problem
    least = campaign.rules[amount.currency].minor_units_min
    if amount.minor_units < least:
        return "minor_units", f"must be at least {least} for this campaign"
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
