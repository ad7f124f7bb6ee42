"""What waits between the log and its readers: measured in the database, so that it grows while the broker is away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from uuid import UUID

from mesh import metrics
from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.events.consumer import Consumer
from mesh.postgres import Database, fetch_one

PERIOD_S = 1.0
# From here on somebody is called (docs/alerts.yml), and health says so.
EVENTS_MAX = 10_000
# A count costs the more the more there is; beyond this it is the same news.
COUNTED_MAX = 2 * EVENTS_MAX
# Events are shown within two seconds; a minute is no hiccup any more.
LAG_S_MAX = 60.0


class BehindError(Exception):
    """More waits than should."""


class Backlog:
    """Watches how much of a log is not published yet, whoever holds the relay's lease."""

    def __init__(
        self,
        database: Database,
        queries: Mapping[str, str],
        *,
        service: str,
        events_max: int = EVENTS_MAX,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._query = queries["backlog"]
        self._service = service
        self._events_max = events_max
        self._now = now
        self._events = 0

    async def run(self) -> None:
        """Measures every second until it is cancelled; what cannot be measured stays as it was."""
        while True:
            # Health and its log say so already.
            with contextlib.suppress(DependencyUnavailable, RequestInFlight):
                await self.measure()
            await asyncio.sleep(PERIOD_S)

    async def measure(self) -> None:
        """Counts once."""
        async with self._database.connection() as connection:
            row = await fetch_one(connection, self._query, COUNTED_MAX)
        self._events = row["events"]
        metrics.RELAY_PENDING.labels(self._service).set(self._events)
        age_s = self._now() - _written_s(row["oldest"]) if row["oldest"] else 0.0
        metrics.RELAY_OLDEST_AGE_SECONDS.labels(self._service).set(max(0.0, age_s))

    async def within_bounds(self) -> None:
        """For health.

        Raises:
            BehindError: more events wait than anybody should leave waiting.
        """
        if self._events >= self._events_max:
            raise BehindError(f"{self._events} events are not published")


def _written_s(event_id: UUID) -> float:
    """Event ids are UUIDv7: their first 48 bits are milliseconds since 1970."""
    return (event_id.int >> 80) / 1000


async def keeping_up(consumer: Consumer) -> None:
    """For health.

    Raises:
        BehindError: for too long it has not seen its stream's end.
    """
    if consumer.lag_s() > LAG_S_MAX:
        raise BehindError(f"{consumer.lag_s():.0f} s behind")
