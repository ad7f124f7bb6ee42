"""Walks the provider's list of movements on our balance from a checkpoint, one replica at a time.

Fees are known from there, and so is whatever moved that nobody told us of. A page is taken in one transaction; a round that
is walked twice changes nothing.
"""

from __future__ import annotations

import asyncio
import datetime
import secrets
from collections.abc import Collection
from typing import Protocol

import structlog

from mesh.clock import Clock
from mesh.errors import Refusal
from mesh.tasks import background
from payment_svc import metrics
from payment_svc.domain.inbound import NotListed
from payment_svc.domain.settlement import Movement, MovementPage
from payment_svc.domain.walks import Checkpoint, begun_anew, walked
from payment_svc.store.checkpoints import Checkpoints
from payment_svc.store.settlement import SettlementStore

CHECKPOINT = "balance_transactions"
# 1,000 movements; what is left is the next round's, which follows at once.
PAGES_MAX = 10
# A holder that died is followed after this; longer than a request to the provider may take.
LEASE = datetime.timedelta(seconds=30)
# How late the provider may list what it booked; by its own clock, so that no other clock matters.
OVERLAP = datetime.timedelta(minutes=2)
_LOOK_S = 0.25
_log = structlog.get_logger()


class MovementList(Protocol):
    """The provider's list of movements."""

    async def list_movements(self, *, since: datetime.datetime, after: str) -> MovementPage | NotListed:
        """A page of movements, newest first, after one of them."""
        ...


class Taking(Protocol):
    """Where movements are taken."""

    async def take(self, movements: Collection[Movement]) -> int:
        """Stores those that are not known; how many."""
        ...


class SettlementWalker:
    """Walks in rounds, at its start and every `period_s` seconds of the clock. Any number may run: one holds the checkpoint.

    `missing_after`: what our books say moved is missing at the provider when its balance has not shown it for so long.
    """

    def __init__(
        self,
        *,
        provider: MovementList,
        taking: Taking,
        checkpoints: Checkpoints,
        store: SettlementStore,
        clock: Clock,
        period_s: float,
        missing_after: datetime.timedelta,
    ) -> None:
        self._provider = provider
        self._taking = taking
        self._checkpoints = checkpoints
        self._store = store
        self._clock = clock
        self._period = datetime.timedelta(seconds=period_s)
        self._missing_after = missing_after
        self._holder = secrets.token_hex(8)
        self._silent = False
        self._begun = False

    async def run(self) -> None:
        """Walks at once, then whenever a round is due, until it is cancelled."""
        while True:
            try:
                walked_on = await self._walk_on()
            except Refusal as error:
                # The round is walked again by whoever holds the checkpoint next.
                _log.warning("the walk through the provider's balance was interrupted", error=error.reason_name)
                walked_on = False
            if not walked_on:
                await asyncio.sleep(_LOOK_S)

    async def _walk_on(self) -> bool:
        if not self._begun:
            await self._checkpoints.hasten(CHECKPOINT)
            self._begun = True
        return await self.walk()

    async def walk(self) -> bool:
        """Walks one round where one is due; whether it did. The checkpoint moves on only after what was listed was taken."""
        now = self._clock.now()
        checkpoint = await self._checkpoints.claim(CHECKPOINT, holder=self._holder, now=now, until=now + LEASE)
        if checkpoint is None:
            return False
        async with background(self._keep):
            after = await self._take_listed(checkpoint)
        goes_on = bool(after.cursor) and not self._silent
        await self._checkpoints.store(
            CHECKPOINT,
            after,
            holder=self._holder,
            next_time=now if goes_on else now + self._period,
            now=self._clock.now(),
        )
        await self._alert()
        return True

    async def _keep(self) -> None:
        """Prolongs the lease until it is cancelled."""
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            await self._checkpoints.prolong(CHECKPOINT, holder=self._holder, until=self._clock.now() + LEASE)

    async def _take_listed(self, checkpoint: Checkpoint) -> Checkpoint:
        """Where the walk has come to in this round."""
        since = await self._since(checkpoint)
        for _ in range(PAGES_MAX):
            page = await self._provider.list_movements(since=since, after=checkpoint.cursor)
            self._say(page)
            if isinstance(page, NotListed):
                return begun_anew(checkpoint) if page.cursor_lost else checkpoint
            await self._taking.take(page.movements)
            last_id = page.movements[-1].id if page.movements else ""
            checkpoint = walked(checkpoint, last_id=last_id, more=page.more, time=page.time)
            if not checkpoint.cursor:
                break
        return checkpoint

    async def _since(self, checkpoint: Checkpoint) -> datetime.datetime:
        """How far back the walk goes. The provider forgets no movement: the first walk looks as far as our payments go."""
        if checkpoint.position:
            return checkpoint.position - OVERLAP
        return (await self._checkpoints.oldest_payment_time() or self._clock.now()) - OVERLAP

    def _say(self, page: MovementPage | NotListed) -> None:
        """Logs that the provider falls silent, or speaks again: once, not each round."""
        if isinstance(page, NotListed) and not self._silent:
            _log.warning("the provider does not list its balance; it is asked again and again", why=page.why)
        elif isinstance(page, MovementPage) and self._silent:
            _log.info("the provider lists its balance again")
        self._silent = isinstance(page, NotListed)

    async def _alert(self) -> None:
        """Says how much our books say moved and the provider's balance does not show, for too long already."""
        now = self._clock.now()
        missing = await self._store.missing_at_provider(before=now - self._missing_after)
        metrics.MISSING_AT_PROVIDER.set(missing.count)
        metrics.MISSING_AT_PROVIDER_AGE.set((now - missing.since).total_seconds() if missing.since else 0)
        if missing.count:
            _log.warning("the provider's balance does not show what our books say", count=missing.count, since=missing.since)
