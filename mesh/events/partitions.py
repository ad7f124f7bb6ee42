"""Partition upkeep: days are made ahead, on demand for events of earlier days, and dropped when nobody may need them."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable, Mapping

import structlog

from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.events.consumer import HORIZON_DAYS
from mesh.postgres import Connection, Database

AHEAD_DAYS = 7
PERIOD_S = 3600.0
_log = structlog.get_logger()


class Partitions:
    """Partitions by day of a service's own tables."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._make = queries["make_partition"]
        self._known: set[tuple[str, datetime.date]] = set()

    async def ensure(self, table: str, days: Iterable[datetime.date]) -> None:
        """Makes the partitions that are missing; what was made once is not asked for again."""
        missing = {(table, day) for day in days} - self._known
        for table_name, day in sorted(missing):
            async with self._database.connection() as connection:
                await connection.execute(self._make, table_name, day)
        self._known |= missing

    async def keep(self, tables: Iterable[str]) -> None:
        """Makes days ahead every hour, until it is cancelled."""
        names = list(tables)
        while True:
            today = datetime.datetime.now(datetime.UTC).date()
            try:
                for name in names:
                    await self.ensure(name, (today + datetime.timedelta(days=ahead) for ahead in range(-1, AHEAD_DAYS + 1)))
            except (DependencyUnavailable, RequestInFlight) as error:
                _log.warning("partitions wait", error=type(error).__name__)
                await asyncio.sleep(1)
            else:
                await asyncio.sleep(PERIOD_S)


async def drop_expired(connection: Connection, queries: Mapping[str, str], *, today: datetime.date) -> list[datetime.date]:
    """Drops the log's days that are older than the horizon, one by one; returns them. For the owner of the schema.

    Beyond the horizon a consumer applies nothing, so nothing is taken from anybody but the trail itself: whoever wants to
    keep that archives the day first. Books that are derived keep what they took.

    Raises:
        asyncpg.RestrictViolationError: a day is not published yet; younger ones were not looked at.
    """
    horizon = today - datetime.timedelta(days=HORIZON_DAYS)
    days = [row["day"] for row in await connection.fetch(queries["event_days"], horizon)]
    for day in days:
        await connection.execute(queries["drop_event_day"], day)
    return days
