"""Use cases: apply events, read totals, watch them, keep the copies right."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from aggregator_svc.cache import CacheUnavailable
from aggregator_svc.domain.totals import CampaignTotals, CampaignWord, Delta
from aggregator_svc.feed import TotalsFeed
from aggregator_svc.refusals import CampaignNotFound
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, RequestInFlight

WATCH_PERIOD_S = 0.25  # at most four updates a second for an outside reader
FOLLOW_PERIOD_S = 0.02  # at most fifty a second for a gateway
SIGN_OF_LIFE_S = 1.0
HEARTBEAT_S = 10.0
POLL_S = 0.1
POLL_BESIDE_REDIS_S = 1.0
# A change is dated by its transaction's begin and visible after its end; statements last three seconds at most.
POLL_OVERLAP = datetime.timedelta(seconds=10)
REPAIR_S = 0.5

_log = structlog.get_logger()


class Store(Protocol):
    """Totals in the database."""

    async def apply(self, deltas: Sequence[Delta], words: Sequence[CampaignWord]) -> list[CampaignTotals]:
        """Counts each event once; returns the totals of every campaign named."""
        ...

    async def read(self, campaign_ids: Iterable[UUID]) -> list[CampaignTotals]:
        """Totals of campaigns that are known."""
        ...

    def changed_since(self, moment: datetime.datetime) -> AsyncIterator[list[CampaignTotals]]:
        """Totals that changed since a moment, in pages."""
        ...

    async def page_after(self, campaign_id: UUID) -> list[CampaignTotals]:
        """A page of all totals by campaign id."""
        ...


class Cache(Protocol):
    """A fast, disposable copy."""

    async def put(self, totals: Sequence[CampaignTotals]) -> None:
        """Keeps what is newer.

        Raises:
            CacheUnavailable: it does not answer.
        """
        ...

    async def get(self, campaign_id: UUID) -> CampaignTotals | None:
        """What it holds.

        Raises:
            CacheUnavailable: it does not answer.
        """
        ...


class Totals:
    """Totals of campaigns."""

    def __init__(self, *, store: Store, cache: Cache, feed: TotalsFeed, clock: Clock) -> None:
        self._store = store
        self._cache = cache
        self._feed = feed
        self._clock = clock
        self._unwritten: dict[UUID, CampaignTotals] = {}

    async def apply(self, deltas: Sequence[Delta], words: Sequence[CampaignWord]) -> None:
        """Counts events once, then makes the totals visible. Returns when the database has them; Redis may follow."""
        if deltas or words:
            await self.show(await self._store.apply(deltas, words))

    async def show(self, totals: Sequence[CampaignTotals]) -> None:
        """Makes totals visible that the database has: to watchers at once, in Redis as soon as it takes them."""
        self._feed.publish(totals)
        try:
            await self._cache.put(totals)
        except CacheUnavailable:
            self._owe(totals)

    def _owe(self, totals: Iterable[CampaignTotals]) -> None:
        """Keeps the newest of what Redis could not take."""
        for item in totals:
            held = self._unwritten.get(item.campaign_id)
            if held is None or held.version < item.version:
                self._unwritten[item.campaign_id] = item

    async def get_totals(self, campaign_id: UUID) -> CampaignTotals:
        """The totals, from Redis; from the database where Redis has none, does not answer, or lags behind what we saw.

        Raises:
            CampaignNotFound: nothing is known of the campaign.
        """
        held = await self._held(campaign_id)
        if held and held.version >= self._feed.version_seen(campaign_id):
            return held
        found = await self._store.read([campaign_id])
        if not found:
            raise CampaignNotFound("no such campaign", campaign_id=campaign_id)
        await self.show(found)
        return found[0]

    async def known(self, campaign_ids: Sequence[UUID]) -> list[CampaignTotals]:
        """Totals of campaigns as the database has them; unknown ids are missing."""
        return await self._store.read(campaign_ids)

    async def _held(self, campaign_id: UUID) -> CampaignTotals | None:
        try:
            return await self._cache.get(campaign_id)
        except CacheUnavailable:
            return None

    async def watch_totals(self, campaign_id: UUID, *, after_version: int) -> AsyncIterator[CampaignTotals]:
        """The totals as they stand, then the latest after each change.

        Raises:
            CampaignNotFound: nothing is known of the campaign.
        """
        with self._feed.watch(campaign_id) as watcher:
            shown = await self.get_totals(campaign_id)
            if shown.version < after_version:
                # Redis may be behind what another replica sent; a version that the database does not know proves nothing.
                (shown,) = await self._store.read([campaign_id])
            if shown.version != after_version:
                yield shown
            sent = shown.version
            while True:
                for totals in await watcher.take(timeout_s=HEARTBEAT_S):
                    if totals.version > sent:
                        sent = totals.version
                        yield totals
                await asyncio.sleep(WATCH_PERIOD_S)

    async def follow_totals(self) -> AsyncIterator[list[CampaignTotals]]:
        """Everything that changes from now on; an empty list as a sign of life."""
        with self._feed.watch() as watcher:
            yield []
            while True:
                yield await watcher.take(timeout_s=SIGN_OF_LIFE_S)
                await asyncio.sleep(FOLLOW_PERIOD_S)

    async def hear_others(self, listen: Callable[[], AsyncIterator[CampaignTotals]]) -> None:
        """Shows what other replicas announce in Redis, until it is cancelled."""
        while True:
            try:
                async for totals in listen():
                    self._feed.publish([totals])
            except CacheUnavailable:
                await asyncio.sleep(REPAIR_S)

    async def look_at_others(self) -> None:
        """Shows what other replicas applied and did not announce, or we did not hear, until it is cancelled.

        Ten times a second while Redis is away, once a second otherwise: an announcement that is lost delays nobody more.
        """
        seen = self._clock.now() - POLL_OVERLAP
        while True:
            began = self._clock.now()
            try:
                async for page in self._store.changed_since(seen):
                    self._feed.publish(page)
                seen = began - POLL_OVERLAP
            except (DependencyUnavailable, RequestInFlight) as error:
                _log.warning("looking at other replicas waits", error=type(error).__name__)
            await asyncio.sleep(POLL_S if self._unwritten else POLL_BESIDE_REDIS_S)

    async def repair_cache(self) -> None:
        """Writes what Redis could not take, and at the start everything, until it is cancelled."""
        written = False
        while True:
            written = written or await self._write_everything()
            await self._write_unwritten()
            await asyncio.sleep(REPAIR_S)

    async def _write_unwritten(self) -> None:
        waiting, self._unwritten = self._unwritten, {}
        try:
            if waiting:
                await self._cache.put(list(waiting.values()))
        except CacheUnavailable:
            self._owe(waiting.values())

    async def _write_everything(self) -> bool:
        last = UUID(int=0)
        try:
            while page := await self._store.page_after(last):
                # Noted, so that an older copy that comes back later is not believed.
                self._feed.publish(page)
                await self._cache.put(page)
                last = page[-1].campaign_id
        except (CacheUnavailable, DependencyUnavailable, RequestInFlight):
            return False
        return True
