"""Totals and deltas as values. Amounts are minor units."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event adds to one campaign and currency."""

    day: datetime.date
    event_id: UUID
    time: datetime.datetime
    tx: int
    epoch: int
    donation_id: UUID
    charity_id: UUID
    campaign_id: UUID
    currency: str
    donor_id: UUID | None
    gross: int
    refunded: int
    disputed: int
    donations: int


@dataclass(frozen=True, slots=True)
class CampaignWord:
    """What the donation service says of a campaign."""

    campaign_id: UUID
    charity_id: UUID
    currencies: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """One currency's share."""

    currency: str
    gross: int = 0
    refunded: int = 0
    disputed: int = 0
    donations: int = 0
    donors: int = 0

    @property
    def net(self) -> int:
        """What is left."""
        return self.gross - self.refunded - self.disputed


@dataclass(frozen=True, slots=True)
class CampaignTotals:
    """What a campaign has raised, at one version over all currencies."""

    campaign_id: UUID
    currencies: tuple[CurrencyTotals, ...]
    version: int
    as_of: datetime.datetime


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a leaderboard."""

    campaign_id: UUID
    totals: CurrencyTotals


@dataclass(frozen=True, slots=True)
class Drift:
    """One currency's difference: totals minus donations."""

    currency: str
    gross: int
    refunded: int
    disputed: int
    donations: int
