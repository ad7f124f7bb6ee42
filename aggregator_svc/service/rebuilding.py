"""Rebuilding totals from the donation service's tallies while traffic runs on.

A base is what the log's snapshot sees; a total is the base and every applied event that the snapshot does not see. What the
snapshot sees and has not arrived yet is in the base already: when it arrives it is noted and not counted. So a rebuild waits
for nothing, and may be killed and repeated at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

import structlog
from giving.aggregate.v1 import aggregate_service_pb2 as messages
from uuid_utils.compat import uuid7

from aggregator_svc.domain.rebuilding import Base, Complete, Course, Progress, Sums, Tally
from aggregator_svc.refusals import CampaignNotFound
from aggregator_svc.service.totals import Totals
from aggregator_svc.service.verification import Tallies, differing
from aggregator_svc.store.rebuilds import Earlier, RebuildStore
from aggregator_svc.store.verification import VerificationStore
from mesh import crashpoints
from mesh.clock import Clock
from mesh.errors import RequestInFlight
from mesh.fence import Fence, make_fence
from mesh.rpc.call import mark_replayed
from mesh.tasks import TaskSet, cancel

PROGRESS_S = 0.5
# Campaigns that are replaced in one transaction: whoever counts waits for that long.
CHUNK = 50
_RETRY_S = 5
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Running:
    """A rebuild that runs in this process."""

    key: UUID
    progress: Progress
    task: asyncio.Task[None]


class Rebuilds:
    """Rebuilds of all totals, or of one campaign's."""

    def __init__(
        self,
        *,
        store: RebuildStore,
        comparing: VerificationStore,
        donations: Tallies,
        totals: Totals,
        clock: Clock,
    ) -> None:
        self._store = store
        self._comparing = comparing
        self._donations = donations
        self._totals = totals
        self._clock = clock
        self._tasks = TaskSet()
        self._running: _Running | None = None

    async def rebuild_totals(self, request: messages.RebuildTotalsRequest) -> AsyncGenerator[Progress, None]:
        """The progress of a rebuild, twice a second, and its end. It goes on when nobody asks any more.

        Raises:
            IdempotencyKeyReused: the request id was used for other content.
            RequestInFlight: another rebuild runs.
            CampaignNotFound: nobody knows the campaign.
            DependencyUnavailable: the donation service does not answer; a repeat begins again.
        """
        fence = make_fence(request, method="RebuildTotals", key_field="request_id", tenant_id="")
        campaign_id = UUID(request.campaign_id) if request.campaign_id else None
        if request.dry_run:
            await self._demand_unused(fence)
            async for progress in self._rehearse(campaign_id):
                yield progress
            return
        running = self._joined(fence)
        earlier = await self._store.begin(fence, campaign_id=campaign_id, reason=request.reason, now=self._clock.now())
        ended = _ended(fence, earlier)
        if ended:
            mark_replayed(replayed=True)
            yield ended
            return
        running = running or self._joined(fence) or self._start(fence, campaign_id)
        while not running.task.done():
            yield running.progress
            await asyncio.wait({running.task}, timeout=PROGRESS_S)
        running.task.result()
        yield running.progress

    async def rebuild(self, campaign_id: UUID | None) -> int:
        """Rebuilds one campaign's totals, or all, for nobody in particular; returns how many changed.

        Raises:
            Refusal: the donation service does not answer.
        """
        return await self._rebuild(Progress(), campaign_id)

    async def close(self) -> None:
        """Ends what runs: a repeat begins it again."""
        if self._running and not self._running.task.done():
            await cancel(self._running.task)

    async def _demand_unused(self, fence: Fence) -> None:
        earlier = await self._store.find(fence.key)
        if earlier:
            fence.demand_same(earlier.digest)

    def _joined(self, fence: Fence) -> _Running | None:
        """The rebuild of this request, if it runs here.

        Raises:
            RequestInFlight: another one runs here. In other processes some may: they are in nobody's way.
        """
        running = self._running
        if running is None or running.task.done():
            return None
        if running.key != fence.key:
            raise RequestInFlight("another rebuild runs", retry_after_s=_RETRY_S)
        return running

    def _start(self, fence: Fence, campaign_id: UUID | None) -> _Running:
        progress = Progress()
        task = self._tasks.start(self._rebuild_and_note(fence.key, progress, campaign_id))
        self._running = _Running(fence.key, progress, task)
        return self._running

    async def _rebuild_and_note(self, key: UUID, progress: Progress, campaign_id: UUID | None) -> None:
        repaired = await self._rebuild(progress, campaign_id)
        await self._store.end(key, done=progress.done, repaired=repaired, now=self._clock.now())
        progress.repaired = repaired
        _log.info("totals were rebuilt", donations=progress.done, repaired=repaired)

    async def _rebuild(self, progress: Progress, campaign_id: UUID | None) -> int:
        base_id, course = uuid7(), Course()
        base = await self._stage(base_id, course, progress, campaign_id)
        crashpoints.reach("aggregator.rebuild_read")
        repaired = 0
        for chunk in _chunks(await self._campaigns(course, campaign_id)):
            replaced = await self._store.replace(base_id, base, chunk)
            repaired += replaced.totals
            await self._totals.show(replaced.campaigns)
            crashpoints.reach("aggregator.rebuild_replaced")
        return repaired

    async def _stage(self, base_id: UUID, course: Course, progress: Progress, campaign_id: UUID | None) -> Base:
        base = Base(0, "", 0)
        async with aclosing(self._donations.tallies(campaign_id)) as portions:
            async for portion in portions:
                if isinstance(portion, Base):
                    base, progress.estimated = portion, portion.estimated
                    await self._store.begin_base(base_id, base)
                elif not isinstance(portion, Complete):
                    await self._store.stage(base_id, course.page(portion))
                    progress.done = course.donations
        await self._store.stage(base_id, course.rest(self._clock.now()))
        return base

    async def _campaigns(self, course: Course, campaign_id: UUID | None) -> Mapping[str, str | None]:
        """Which campaigns are replaced, in order: those without donations too, which may have had some by mistake."""
        known = await self._store.campaign_ids()
        if campaign_id:
            if str(campaign_id) not in known | course.charities.keys():
                raise CampaignNotFound("no such campaign", campaign_id=campaign_id)
            return {str(campaign_id): course.charities.get(str(campaign_id))}
        return {one: course.charities.get(one) for one in sorted(known | course.charities.keys())}

    async def _rehearse(self, campaign_id: UUID | None) -> AsyncGenerator[Progress, None]:
        """What would change; nothing is written."""
        base, sums, progress = Base(0, "", 0), Sums(_by_currency), Progress()
        async with aclosing(self._donations.tallies(campaign_id)) as portions:
            async for portion in portions:
                if isinstance(portion, Base):
                    base, progress.estimated = portion, portion.estimated
                elif not isinstance(portion, Complete):
                    sums.take(portion)
                    progress.done = sums.donations
                yield progress
        books = await self._comparing.books(base, campaign_id)
        progress.repaired = len(differing(books, sums.found))
        yield progress


def _by_currency(tally: Tally) -> tuple[str, str]:
    return tally.campaign_id, tally.currency


def _ended(fence: Fence, earlier: Earlier | None) -> Progress | None:
    """The end of an earlier call, if it came to one."""
    if earlier is None:
        return None
    fence.demand_same(earlier.digest)
    if earlier.done is None or earlier.repaired is None:
        return None
    return Progress(earlier.done, earlier.done, earlier.repaired)


def _chunks(campaigns: Mapping[str, str | None]) -> list[Mapping[str, str | None]]:
    left = iter(campaigns.items())
    return list(iter(lambda: dict(islice(left, CHUNK)), {}))
