"""What verification reads and notes in PostgreSQL."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from giving.donation.v1.donation_operations_service_pb2 import LogPosition
from uuid_utils.compat import uuid7

from aggregator_svc.domain.rebuilding import Base, Figures
from aggregator_svc.domain.totals import CampaignTotals
from aggregator_svc.store.totals import read_totals
from mesh.postgres import Database

# Of a large campaign more is read than any call of a user's would.
_READ_S = 30
_PATIENCE = f"SET LOCAL statement_timeout = '{_READ_S}s'"
# Two of: campaign, currency, donation, a part of donations' ids.
Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Books:
    """Totals, and what applied events add that a base does not hold, of one moment; by campaign and currency."""

    totals: Mapping[Key, Figures]
    later: Mapping[Key, Figures]


class VerificationStore:
    """Totals and applied events side by side, and what was found wrong."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def knows(self, campaign_id: UUID) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(self._queries["campaign_known"], campaign_id))

    async def books(self, base: Base, campaign_id: UUID | None) -> Books:
        """All totals beside a base, or one campaign's."""
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(_PATIENCE)
            totals = await connection.fetch(self._queries["totals_shown"], campaign_id, timeout=_READ_S)
            later = await connection.fetch(
                self._queries["later_sums"], base.epoch, base.snapshot, campaign_id, timeout=_READ_S
            )
        return Books(_by(totals, "campaign_id", "currency"), _by(later, "campaign_id", "currency"))

    async def base_time(self, campaign_id: UUID) -> datetime.datetime | None:
        """When the base of a campaign was read; None where it stands on none."""
        async with self._database.connection() as connection:
            found: datetime.datetime | None = await connection.fetchval(self._queries["base_time"], campaign_id)
        return found

    async def counted_parts(self, campaign_id: UUID, base: Base) -> Mapping[Key, Figures]:
        """What applied events sum to that the base holds, by currency and part of the donations' ids."""
        rows = await self._read("counted_parts", campaign_id, base.epoch, base.snapshot)
        return _by(rows, "currency", "part")

    async def counted_donations(self, campaign_id: UUID, base: Base, parts: Sequence[str]) -> Mapping[Key, Figures]:
        """The same by currency and donation, of some parts."""
        rows = await self._read("counted_donations", campaign_id, base.epoch, base.snapshot, parts)
        return _by(rows, "currency", "donation_id")

    async def take(self, holder: str, *, lease: datetime.timedelta) -> LogPosition | None:
        """How far the log was verified, where the verification is ours now; without epoch where it never began."""
        async with self._database.connection() as connection:
            position = await connection.fetchval(self._queries["take_verification"], holder, lease)
        return None if position is None else LogPosition.FromString(position)

    async def store(self, holder: str, position: LogPosition) -> None:
        """Keeps how far the log was verified."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["store_verified"], holder, position.SerializeToString())

    async def not_applied(self, events: Sequence[tuple[datetime.date, UUID]], *, consumer: str) -> set[UUID]:
        """Which events were neither applied nor kept as dead letters."""
        if not events:
            return set()
        days, ids = zip(*events, strict=True)
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["not_applied"], days, ids, consumer)
        return {row["event_id"] for row in rows}

    async def campaigns_after(self, campaign_id: UUID) -> list[UUID]:
        """A page of campaigns."""
        async with self._database.connection() as connection:
            return [row["id"] for row in await connection.fetch(self._queries["campaigns_after"], campaign_id)]

    async def unlike_course(self, campaign_ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """Campaigns whose totals are not the sums of their courses, with what both say."""
        rows = await self._read("totals_unlike_course", campaign_ids)
        return {row["id"]: row["words"] for row in rows}

    async def outrank(self, campaign_id: UUID, version: int) -> list[CampaignTotals]:
        """The campaign's totals under a version above one that was never given."""
        async with self._database.transaction() as connection:
            await connection.execute(self._queries["outrank"], campaign_id, version)
            return await read_totals(connection, self._queries, [campaign_id])

    async def note_drift(self, cause: str, subject_id: UUID, found: str, *, now: datetime.datetime) -> None:
        """Notes what was found, once until it is repaired."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["note_drift"], uuid7(), cause, subject_id, found, now)

    async def note_repair(self, cause: str, subject_id: UUID, *, now: datetime.datetime) -> None:
        """Notes that it is right again."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["note_repair"], cause, subject_id, now)

    async def close_others(self, cause: str, still: Collection[UUID], *, now: datetime.datetime) -> None:
        """Notes that everything else of a cause is right again."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["close_drifts"], cause, list(still), now)

    async def open_drifts(self) -> Mapping[str, int]:
        """How many are not repaired, by cause."""
        async with self._database.connection() as connection:
            return {row["cause"]: row["drifts"] for row in await connection.fetch(self._queries["open_drifts"])}

    async def _read(self, name: str, *arguments: Any) -> list[Any]:
        async with self._database.transaction() as connection:
            await connection.execute(_PATIENCE)
            return list(await connection.fetch(self._queries[name], *arguments, timeout=_READ_S))


def _by(rows: Sequence[Any], *names: str) -> Mapping[Key, Figures]:
    first, second = names
    return {
        (str(row[first]), str(row[second])): [row["gross"], row["refunded"], row["disputed"], row["donations"]]
        for row in rows
    }
