"""Who watches totals in this process: each watcher holds the latest value of a campaign, never a queue."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from aggregator_svc.domain.totals import CampaignTotals

VERSIONS_KEPT = 100_000


class Watcher:
    """What one stream has not sent yet."""

    def __init__(self, campaign_id: UUID | None) -> None:
        self._campaign_id = campaign_id
        self._latest: dict[UUID, CampaignTotals] = {}
        self._changed = asyncio.Event()

    def offer(self, totals: CampaignTotals) -> None:
        if self._campaign_id in (None, totals.campaign_id):
            self._latest[totals.campaign_id] = totals
            self._changed.set()

    async def take(self, *, timeout_s: float) -> list[CampaignTotals]:
        """The latest of each campaign that changed; nothing after `timeout_s` without a change."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return []
        self._changed.clear()
        taken, self._latest = self._latest, {}
        return list(taken.values())


class TotalsFeed:
    """Pushes changes to watchers, each version once and never an older one after a newer."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._versions: OrderedDict[UUID, int] = OrderedDict()

    @contextmanager
    def watch(self, campaign_id: UUID | None = None) -> Iterator[Watcher]:
        """A watcher of one campaign, or of all."""
        watcher = Watcher(campaign_id)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def publish(self, totals: Sequence[CampaignTotals]) -> None:
        """Offers what is newer than what was seen."""
        for item in totals:
            if item.version > self.version_seen(item.campaign_id):
                self._note(item)
                for watcher in self._watchers:
                    watcher.offer(item)

    def version_seen(self, campaign_id: UUID) -> int:
        """The newest version that this process has seen; 0 where it has seen none."""
        return self._versions.get(campaign_id, 0)

    def _note(self, totals: CampaignTotals) -> None:
        self._versions[totals.campaign_id] = totals.version
        self._versions.move_to_end(totals.campaign_id)
        if len(self._versions) > VERSIONS_KEPT:
            self._versions.popitem(last=False)
