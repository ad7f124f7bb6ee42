"""Fetches what was never delivered: walks the provider's list of events from a checkpoint, one replica at a time.

A delivery may fail for days, or be lost for good. What is fetched is taken exactly as if it had been delivered, so that it
does not matter which of the two comes first, or whether a round is walked twice.
"""

from __future__ import annotations

import asyncio
import datetime
import secrets
from collections.abc import Collection, Sequence
from typing import Protocol

import structlog

from mesh.clock import Clock
from mesh.errors import Refusal
from mesh.tasks import background
from payment_svc.domain.inbound import EventPage, ListedEvent, NotListed
from payment_svc.domain.walks import Checkpoint, begun_anew, walk_from, walked
from payment_svc.store.checkpoints import Checkpoints

CHECKPOINT = "provider_events"
# As much as is kept in memory at once: 1,000 events. What is left is the next round's, which follows at once.
PAGES_MAX = 10
# A holder that died is followed after this; longer than a request to the provider may take.
LEASE = datetime.timedelta(seconds=30)
_LOOK_S = 0.5
_log = structlog.get_logger()


class EventList(Protocol):
    """The provider's list of events."""

    async def list_events(self, *, since: datetime.datetime, after: str) -> EventPage | NotListed:
        """A page of events that were not delivered, newest first, after an event."""
        ...


class Taking(Protocol):
    """Where events are taken."""

    async def known(self, event_ids: Collection[str]) -> set[str]:
        """Which of these came before."""
        ...

    async def take_polled(self, body: bytes) -> None:
        """Takes an event; a known one changes nothing."""
        ...


class Poller:
    """Walks in rounds, every `period_s` seconds of the clock. Any number may run: the checkpoint is held by one."""

    def __init__(
        self, *, provider: EventList, taking: Taking, checkpoints: Checkpoints, clock: Clock, period_s: float
    ) -> None:
        self._provider = provider
        self._taking = taking
        self._checkpoints = checkpoints
        self._clock = clock
        self._period = datetime.timedelta(seconds=period_s)
        self._holder = secrets.token_hex(8)
        self._silent = False

    async def run(self) -> None:
        """Walks whenever a round is due, until it is cancelled."""
        while True:
            try:
                walked_on = await self.walk()
            except Refusal as error:
                # The round is walked again by whoever holds the checkpoint next.
                _log.warning("the walk through the provider's events was interrupted", error=error.reason_name)
                walked_on = False
            if not walked_on:
                await asyncio.sleep(_LOOK_S)

    async def walk(self) -> bool:
        """Walks one round where one is due; whether it did.

        The checkpoint moves on only after everything was taken that was listed.
        """
        now = self._clock.now()
        checkpoint = await self._checkpoints.claim(CHECKPOINT, holder=self._holder, now=now, until=now + LEASE)
        if checkpoint is None:
            return False
        async with background(self._keep):
            after, listed = await self._list(checkpoint)
            # Each page shows the newest event first; what is oldest of all is taken first.
            await self._take(listed[::-1])
        goes_on = bool(after.cursor) and not self._silent
        await self._checkpoints.store(
            CHECKPOINT,
            after,
            holder=self._holder,
            next_time=now if goes_on else now + self._period,
            now=self._clock.now(),
        )
        return True

    async def _keep(self) -> None:
        """Prolongs the lease until it is cancelled."""
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            await self._checkpoints.prolong(CHECKPOINT, holder=self._holder, until=self._clock.now() + LEASE)

    async def _list(self, checkpoint: Checkpoint) -> tuple[Checkpoint, list[ListedEvent]]:
        """Where the walk has come to in this round, and the events on its way."""
        oldest = None if checkpoint.position else await self._checkpoints.oldest_payment_time()
        since = walk_from(checkpoint, oldest=oldest, now=self._clock.now())
        listed: list[ListedEvent] = []
        for _ in range(PAGES_MAX):
            page = await self._provider.list_events(since=since, after=checkpoint.cursor)
            self._say(page)
            if isinstance(page, NotListed):
                return (begun_anew(checkpoint) if page.cursor_lost else checkpoint), listed
            listed += page.events
            last_id = page.events[-1].event_id if page.events else ""
            checkpoint = walked(checkpoint, last_id=last_id, more=page.more, time=page.time)
            if not checkpoint.cursor:
                break
        return checkpoint, listed

    def _say(self, page: EventPage | NotListed) -> None:
        """Logs that the provider falls silent, or speaks again: once, not each round."""
        if isinstance(page, NotListed) and not self._silent:
            _log.warning("the provider does not list its events; it is asked again and again", why=page.why)
        elif isinstance(page, EventPage) and self._silent:
            _log.info("the provider lists its events again")
        self._silent = isinstance(page, NotListed)

    async def _take(self, listed: Sequence[ListedEvent]) -> None:
        known = await self._taking.known([event.event_id for event in listed]) if listed else set()
        for event in listed:
            if event.event_id not in known:
                await self._taking.take_polled(event.body)
