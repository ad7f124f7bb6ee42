"""Rebuilds in PostgreSQL: what they read is staged, then replaces totals, a few campaigns at a time."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aggregator_svc.domain.rebuilding import Base, Page
from aggregator_svc.domain.totals import CampaignTotals
from aggregator_svc.store.totals import read_totals
from mesh.fence import Fence
from mesh.postgres import Connection, Database

# A campaign of many years has some hundred thousand slots; whoever counts waits so long at most.
_REPLACE_S = 60
_PATIENCE = "SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '10s'"
_REPLACE = (
    "drop_base_totals",
    "keep_base_totals",
    "stage_later_events",
    "stage_later_donors",
    "drop_course",
    "replace_course",
    "drop_donors",
    "add_donors",
)


@dataclass(frozen=True, slots=True)
class Earlier:
    """A rebuild that was asked for before. `done` and `repaired`: None unless it came to its end."""

    digest: int
    done: int | None
    repaired: int | None


@dataclass(frozen=True, slots=True)
class Replaced:
    """Campaigns after their totals were replaced, those only that changed; and how many totals did."""

    campaigns: list[CampaignTotals]
    totals: int


class RebuildStore:
    """Rebuilds, what they begin with, and what they found."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def find(self, key: UUID) -> Earlier | None:
        """A rebuild that was asked for before."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["rebuild"], key)
        return Earlier(row["request_digest"], row["done"], row["repaired"]) if row else None

    async def begin(self, fence: Fence, *, campaign_id: UUID | None, reason: str, now: datetime.datetime) -> Earlier | None:
        """Notes a rebuild that is asked for; the earlier one where it was asked for before."""
        async with self._database.connection() as connection:
            new = await connection.fetchval(
                self._queries["begin_rebuild"],
                fence.key,
                fence.digest,
                campaign_id,
                reason,
                fence.caller,
                fence.correlation_id,
                now,
            )
        return None if new else await self.find(fence.key)

    async def end(self, key: UUID, *, done: int, repaired: int, now: datetime.datetime) -> None:
        """Notes what a rebuild found."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["end_rebuild"], key, done, repaired, now)

    async def begin_base(self, base_id: UUID, base: Base) -> None:
        """Keeps what a rebuild begins with, and removes what others left when they died."""
        async with self._database.transaction() as connection:
            await connection.execute(_PATIENCE)
            await connection.execute(self._queries["unstage_course_of_the_dead"], timeout=_REPLACE_S)
            await connection.execute(self._queries["unstage_donors_of_the_dead"], timeout=_REPLACE_S)
            await connection.execute(self._queries["begin_base"], base_id, base.epoch, base.snapshot)

    async def stage(self, base_id: UUID, page: Page) -> None:
        """Adds a page to what a rebuild has read."""
        async with self._database.transaction() as connection:
            if page.course:
                await connection.execute(self._queries["stage_course"], base_id, *_course_columns(page))
            if page.donors:
                await connection.execute(self._queries["stage_donors"], base_id, *zip(*page.donors, strict=True))

    async def campaign_ids(self) -> set[str]:
        """Every campaign that is known."""
        async with self._database.connection() as connection:
            return {str(row["id"]) for row in await connection.fetch(self._queries["campaign_ids"])}

    async def replace(self, base_id: UUID, base: Base, charities: Mapping[str, str | None]) -> Replaced:
        """Replaces totals, donors and courses of campaigns by what was read and what was applied since.

        All of it in one transaction that nobody counts beside. `charities`: the campaigns, each with its charity where that
        is known.
        """
        return await self._database.run(lambda connection: self._replace(connection, base_id, base, charities))

    async def _replace(
        self, connection: Connection, base_id: UUID, base: Base, charities: Mapping[str, str | None]
    ) -> Replaced:
        campaigns = list(charities)
        await connection.execute(_PATIENCE)
        await connection.execute(self._queries["stop_writers"])
        for name in _REPLACE:
            await connection.execute(self._queries[name], *_arguments(name, base_id, campaigns, base), timeout=_REPLACE_S)
        rows = await connection.fetch(self._queries["replace_totals"], base_id, campaigns, timeout=_REPLACE_S)
        changed = list({row["campaign_id"] for row in rows})
        await connection.execute(
            self._queries["put_on_base"], base_id, campaigns, list(charities.values()), changed, timeout=_REPLACE_S
        )
        for name in ("unstage_course", "unstage_donors"):
            await connection.execute(self._queries[name], base_id, campaigns, timeout=_REPLACE_S)
        return Replaced(await read_totals(connection, self._queries, changed), len(rows))


def _arguments(name: str, base_id: UUID, campaigns: Sequence[str], base: Base) -> Sequence[Any]:
    if name == "drop_base_totals":
        return [campaigns]
    if name.startswith("stage_later"):
        return [base_id, campaigns, base.epoch, base.snapshot]
    return [base_id, campaigns]


def _course_columns(page: Page) -> tuple[Sequence[Any], ...]:
    """Columns of `stage_course`."""
    campaigns, slots, currencies = zip(*page.course, strict=True)
    times = [datetime.datetime.fromtimestamp(slot // 1_000_000, datetime.UTC) for slot in slots]
    return campaigns, times, currencies, *zip(*page.course.values(), strict=True)
