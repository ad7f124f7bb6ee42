"""The verifier: looks all the time whether totals, what is shown of them and what they were made of are right.

Three looks a round. Totals against their courses, which the same transactions wrote: what was changed by hand is rebuilt
from the donation service. Redis against the totals: what is older, newer or otherwise than it can be is written over under
a version above it. The log of the donation service against what was applied: an event that the broker acknowledged and the
consumer was never given is fetched and applied. Everything found is a row in `drift` until it is right again; what stays
open alarms.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog
from giving.common.v1.event_pb2 import Event
from giving.donation.v1.donation_operations_service_pb2 import ListChangesResponse, LogPosition

from aggregator_svc import metrics
from aggregator_svc.cache import CacheUnavailable, TotalsCache
from aggregator_svc.domain.totals import CampaignTotals
from aggregator_svc.service.rebuilding import Rebuilds
from aggregator_svc.service.totals import Totals
from aggregator_svc.store.verification import VerificationStore
from mesh.clock import Clock
from mesh.errors import Refusal

CAUSES = ("total", "display", "event")
PAGE = 1_000
# Replicas write to Redis right after their commit; later than this nothing is under way.
SETTLED_S = 1.0
# Above this nothing of ours has counted, and Redis compares no more exactly.
VERSION_MAX = 2**52
# Above this one rebuild of everything is cheaper than one for each.
REBUILDS_MAX = 20
_LOOK_AGAIN_S = 0.1
_EPOCH_DAY = datetime.date(1970, 1, 1)
_log = structlog.get_logger()


class ChangesLog(Protocol):
    """The donation service's log."""

    async def changes(self, position: LogPosition | None, *, limit: int, with_events: bool = False) -> ListChangesResponse:
        """A page of changes after a position.

        Raises:
            Refusal: the donation service does not answer.
        """
        ...


class Deliveries(Protocol):
    """What the consumer of the donation service's events is given."""

    async def end(self) -> int:
        """Where the stream ends now."""
        ...

    async def acknowledged(self, up_to: int) -> bool:
        """Whether the consumer is done with everything up to there."""
        ...

    async def apply(self, events: Sequence[Event]) -> None:
        """Applies events that were not delivered; those that cannot be applied become dead letters."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How much the verifier does. `period_s` 0: nothing. `changes_max`: of the log, in one round."""

    period_s: float
    changes_max: int
    patience_s: float

    @property
    def lease(self) -> datetime.timedelta:
        """How long another replica waits before it takes over."""
        return datetime.timedelta(seconds=max(30.0, 3 * self.period_s))


class Drifts:
    """What was found, counted and told."""

    def __init__(self, store: VerificationStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def found(self, cause: str, subject_id: UUID, words: str) -> None:
        """Notes it before anything is done about it."""
        _log.warning("totals drift", cause=cause, subject_id=str(subject_id), found=words)
        await self._store.note_drift(cause, subject_id, words, now=self._clock.now())

    async def repaired(self, cause: str, subject_id: UUID) -> None:
        """Notes that it is right again, by our doing."""
        metrics.REPAIRS.labels(cause).inc()
        _log.warning("totals drift was repaired", cause=cause, subject_id=str(subject_id))
        await self._store.note_repair(cause, subject_id, now=self._clock.now())

    async def still(self, cause: str, subject_ids: Collection[UUID]) -> None:
        """Notes that nothing else of the cause is wrong any more, by whomever it was put right."""
        await self._store.close_others(cause, subject_ids, now=self._clock.now())

    async def alarm(self) -> None:
        """Shows what is open."""
        drifts = await self._store.open_drifts()
        for cause in CAUSES:
            metrics.DRIFTS.labels(cause).set(drifts.get(cause, 0))
        if drifts:
            _log.error("totals drift is not repaired", **drifts)
        metrics.VERIFIED_TIME.set(self._clock.now().timestamp())


class TotalsLook:
    """Totals against their courses."""

    def __init__(self, store: VerificationStore, rebuilds: Rebuilds, drifts: Drifts) -> None:
        self._store = store
        self._rebuilds = rebuilds
        self._drifts = drifts

    async def look(self) -> set[UUID]:
        """Rebuilds what differs; returns the campaigns that are still wrong.

        Raises:
            Refusal: the database does not answer.
        """
        wrong: dict[UUID, str] = {}
        last = UUID(int=0)
        while page := await self._store.campaigns_after(last):
            wrong |= await self._store.unlike_course(page)
            last = page[-1]
        await self._drifts.still("total", wrong)
        for campaign_id, words in wrong.items():
            await self._drifts.found("total", campaign_id, words)
        await self._rebuild(wrong)
        return {campaign_id for campaign_id in wrong if not await self._is_right(campaign_id)}

    async def _is_right(self, campaign_id: UUID) -> bool:
        if await self._store.unlike_course([campaign_id]):
            return False
        await self._drifts.repaired("total", campaign_id)
        return True

    async def _rebuild(self, wrong: Collection[UUID]) -> None:
        try:
            if len(wrong) > REBUILDS_MAX:
                await self._rebuilds.rebuild(None)
                return
            for campaign_id in wrong:
                await self._rebuilds.rebuild(campaign_id)
        except Refusal as refusal:
            _log.error("drifted totals are not rebuilt", reason=refusal.reason_name)


class DisplaysLook:
    """Redis against totals."""

    def __init__(self, store: VerificationStore, cache: TotalsCache, totals: Totals, drifts: Drifts) -> None:
        self._store = store
        self._cache = cache
        self._totals = totals
        self._drifts = drifts

    async def look(self, *, beside: Collection[UUID]) -> None:
        """Writes the truth over what is wrong, but for campaigns of which the truth is not known now.

        Raises:
            Refusal: the database does not answer.
            CacheUnavailable: Redis does not; nothing wrong is shown either.
        """
        wrong: set[UUID] = set()
        last = UUID(int=0)
        while page := await self._store.campaigns_after(last):
            wrong |= await self._look_at([campaign_id for campaign_id in page if campaign_id not in beside])
            last = page[-1]
        await self._drifts.still("display", wrong)

    async def _look_at(self, page: Sequence[UUID]) -> set[UUID]:
        """Which of a page are still wrong."""
        behind, wrong = await self._compare(page)
        if behind:
            await asyncio.sleep(SETTLED_S)
            seen = {campaign_id: totals.version for campaign_id, totals in behind.items()}
            held = await self._cache.held(list(behind))
            late = {one: words for one, words in held.items() if words.version < seen[one]}
            wrong |= {one: f"Redis shows version {words.version}, {seen[one]} is known" for one, words in late.items()}
        for campaign_id, words in wrong.items():
            await self._drifts.found("display", campaign_id, words)
            await self._write_over(campaign_id)
        return {one for one in wrong if not await self._is_right(one)}

    async def _compare(self, page: Sequence[UUID]) -> tuple[dict[UUID, CampaignTotals], dict[UUID, str]]:
        """Which may only be late, and which cannot be right. Redis is read first: it follows the database."""
        held = await self._cache.held(page)
        known = {totals.campaign_id: totals for totals in await self._totals.known(list(held))}
        behind, wrong = {}, {}
        for campaign_id, shown in held.items():
            totals = known[campaign_id]
            if shown.version < totals.version:
                behind[campaign_id] = totals
            elif shown.version > totals.version:
                wrong[campaign_id] = f"Redis shows version {shown.version}, {totals.version} is the newest"
            elif shown.totals != totals:
                wrong[campaign_id] = f"Redis shows something else under version {totals.version}"
        return behind, wrong

    async def _write_over(self, campaign_id: UUID) -> None:
        """Shows the truth under a version above what is held, so that it replaces that wherever it was seen."""
        held = (await self._cache.held([campaign_id])).get(campaign_id)
        if held and held.version > VERSION_MAX:
            await self._cache.forget(campaign_id)
            held = None
        await self._totals.show(await self._store.outrank(campaign_id, held.version if held else 0))

    async def _is_right(self, campaign_id: UUID) -> bool:
        behind, wrong = await self._compare([campaign_id])
        if behind or wrong:
            return False
        await self._drifts.repaired("display", campaign_id)
        return True


class EventsLook:
    """The donation service's log against what was applied."""

    def __init__(
        self,
        store: VerificationStore,
        log: ChangesLog,
        deliveries: Deliveries,
        drifts: Drifts,
        *,
        pace: Pace,
        consumer: str,
        holder: str,
    ) -> None:
        self._store = store
        self._log = log
        self._deliveries = deliveries
        self._drifts = drifts
        self._pace = pace
        self._consumer = consumer
        self._holder = holder

    async def look(self, position: LogPosition) -> None:
        """Follows the log from a position; without one it begins where the log is now.

        Raises:
            Refusal: the database or the donation service does not answer.
        """
        for _ in range(0, self._pace.changes_max, PAGE):
            begun = position if position.epoch else None
            answer = await self._log.changes(begun, limit=PAGE)
            missing = await self._missing(answer)
            if missing is None:
                return
            if missing:
                await self._apply(_same_page(position, answer.position), missing)
            position = answer.position
            await self._store.store(self._holder, position)
            if not answer.more:
                return

    async def _missing(self, answer: ListChangesResponse) -> set[UUID] | None:
        """Which of the changes will never come; None while the consumer still has some of them before it."""
        events = [(_EPOCH_DAY + datetime.timedelta(days=one.day), UUID(bytes=one.event_id)) for one in answer.changes]
        missing = await self._store.not_applied(events, consumer=self._consumer)
        if not missing:
            return missing
        if not await self._delivered():
            return None
        return await self._store.not_applied([one for one in events if one[1] in missing], consumer=self._consumer)

    async def _delivered(self) -> bool:
        """Waits until the consumer is done with everything that the stream holds now."""
        end = await self._deliveries.end()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._pace.patience_s
        while not await self._deliveries.acknowledged(end):
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_AGAIN_S)
        return True

    async def _apply(self, position: LogPosition, missing: set[UUID]) -> None:
        for event_id in missing:
            await self._drifts.found("event", event_id, "the broker acknowledged it and never delivered it")
        answer = await self._log.changes(position, limit=PAGE, with_events=True)
        changes = [change for change in answer.changes if UUID(bytes=change.event_id) in missing]
        await self._deliveries.apply([change.event for change in changes])
        days = [(_EPOCH_DAY + datetime.timedelta(days=one.day), UUID(bytes=one.event_id)) for one in changes]
        left = await self._store.not_applied(days, consumer=self._consumer)
        for event_id in {event_id for _, event_id in days} - left:
            await self._drifts.repaired("event", event_id)


def _same_page(begun: LogPosition, ended: LogPosition) -> LogPosition:
    """Where a page begins that is read once more: it ends where it ended the first time."""
    page = LogPosition()
    page.CopyFrom(begun)
    if begun.epoch == ended.epoch:
        page.to_snapshot = ended.to_snapshot
    return page


class Verifier:
    """One round after the other, in one replica at a time."""

    def __init__(
        self,
        *,
        store: VerificationStore,
        totals: TotalsLook,
        displays: DisplaysLook,
        events: EventsLook,
        drifts: Drifts,
        pace: Pace,
        holder: str,
    ) -> None:
        self._store = store
        self._totals = totals
        self._displays = displays
        self._events = events
        self._drifts = drifts
        self._pace = pace
        self._holder = holder

    async def run(self) -> None:
        """Works until it is cancelled."""
        while self._pace.period_s:
            await asyncio.sleep(self._pace.period_s)
            await self.round()
        await asyncio.Event().wait()

    async def round(self) -> None:
        """Looks once at everything; what cannot be looked at now is looked at in the next round."""
        try:
            position = await self._store.take(self._holder, lease=self._pace.lease)
            if position is None:
                return
            await self._try(lambda: self._events.look(position))
            await self._try(self._look_at_totals)
            await self._drifts.alarm()
        except Refusal as refusal:
            _log.warning("the verifier waits", error=refusal.reason_name)

    async def _look_at_totals(self) -> None:
        await self._displays.look(beside=await self._totals.look())

    async def _try(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except (Refusal, CacheUnavailable, OSError, TimeoutError) as error:
            _log.warning("the verifier could not look", look=type(error).__name__)
