"""What donations count for, as it is told to whoever sums it up."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TallySnapshot:
    """What a stream of tallies is consistent with. `snapshot`: of the log, in PostgreSQL's text form."""

    snapshot: str
    epoch: int
    estimated: int


@dataclass(frozen=True, slots=True)
class DonationTally:
    """One donation that counts."""

    donation_id: UUID
    charity_id: UUID
    campaign_id: UUID
    donor_id: UUID | None
    currency: str
    gross: int
    refunded: int
    disputed: int
    settle_time: datetime.datetime


@dataclass(frozen=True, slots=True)
class Return:
    """One change of what went back of a donation; below zero: it came back."""

    donation_id: UUID
    campaign_id: UUID
    currency: str
    refunded: int
    disputed: int
    time: datetime.datetime


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Where the log was read up to; snapshots in PostgreSQL's text form. The same twice: between two pages."""

    epoch: int
    from_snapshot: str
    to_snapshot: str
    last_seq: int
    day: datetime.date

    def lies_before(self, snapshot: str) -> bool:
        """Whether a snapshot of the same epoch is later than what was listed."""
        return _end(snapshot) > _end(self.from_snapshot) or (
            snapshot != self.from_snapshot and _end(snapshot) == _end(self.from_snapshot)
        )


def _end(snapshot: str) -> int:
    return int(snapshot.split(":")[1])
