"""Who watches donations in this process: each watcher holds the latest value of one, never a queue.

One poll asks for the versions of everything that is watched, so other replicas' changes are seen too; a commit of this
process is looked at once. Without watchers nothing is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

import structlog

from donation_svc.domain.donations import Donation
from mesh.errors import DependencyUnavailable, RequestInFlight

POLL_S = 0.25
_log = structlog.get_logger()


class Versions(Protocol):
    """Donations and how often they changed."""

    async def versions(self, donation_ids: Collection[UUID]) -> dict[UUID, int]:
        """The versions of donations."""
        ...

    async def get_many(self, donation_ids: Collection[UUID]) -> list[Donation]:
        """Donations by id."""
        ...


class Watcher:
    """The newest value of one donation that a stream has not sent yet."""

    def __init__(self, donation_id: UUID) -> None:
        self.donation_id = donation_id
        self.version = 0
        self._latest: Donation | None = None
        self._changed = asyncio.Event()

    def offer(self, donation: Donation) -> None:
        if donation.version > self.version:
            self.version, self._latest = donation.version, donation
            self._changed.set()

    async def take(self) -> Donation:
        """The newest value, as soon as there is one that was not taken."""
        while self._latest is None:
            self._changed.clear()
            await self._changed.wait()
        taken, self._latest = self._latest, None
        return taken


class DonationFeed:
    """All watchers of this process."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._watchers: dict[UUID, set[Watcher]] = {}
        self._wake = asyncio.Event()
        self._watched = asyncio.Event()

    @contextmanager
    def watch(self, donation_id: UUID) -> Iterator[Watcher]:
        """A watcher of one donation; offer it what is known already."""
        watcher = Watcher(donation_id)
        self._watchers.setdefault(donation_id, set()).add(watcher)
        self._watched.set()
        try:
            yield watcher
        finally:
            self._leave(watcher)

    def _leave(self, watcher: Watcher) -> None:
        others = self._watchers[watcher.donation_id]
        others.discard(watcher)
        if not others:
            del self._watchers[watcher.donation_id]
        if not self._watchers:
            self._watched.clear()

    def changed(self, donation_ids: Collection[UUID]) -> None:
        """Says that these may have changed just now."""
        if not self._watchers.keys().isdisjoint(donation_ids):
            self._wake.set()

    async def run(self) -> None:
        """Looks until it is cancelled, four times a second while somebody watches."""
        while True:
            await self._watched.wait()
            self._wake.clear()
            try:
                await self._look()
            except (DependencyUnavailable, RequestInFlight) as error:
                _log.warning("watching waits", error=type(error).__name__)
            await self._rest()

    async def _look(self) -> None:
        versions = await self._versions.versions(list(self._watchers))
        news = [some_id for some_id, version in versions.items() if self._is_news(some_id, version)]
        for donation in await self._versions.get_many(news) if news else ():
            for watcher in self._watchers.get(donation.id, ()):
                watcher.offer(donation)

    def _is_news(self, donation_id: UUID, version: int) -> bool:
        return any(watcher.version < version for watcher in self._watchers.get(donation_id, ()))

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            return
