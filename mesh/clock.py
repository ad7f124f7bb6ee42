"""Time as a parameter: services read it here, tests jump it."""

from __future__ import annotations

import datetime
import time
from typing import Protocol


class Clock(Protocol):
    """A source of wall-clock time."""

    def now(self) -> datetime.datetime:
        """The time in UTC, with its zone."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)


class ManualClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: datetime.datetime | None = None) -> None:
        self._now = start or datetime.datetime.fromtimestamp(int(time.time()), datetime.UTC)

    def now(self) -> datetime.datetime:
        return self._now

    def advance(self, step: datetime.timedelta) -> None:
        """Moves the clock by `step`, also backwards."""
        self._now += step
