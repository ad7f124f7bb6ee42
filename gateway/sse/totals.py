"""WatchTotals for any number of readers from one followed stream.

A campaign that is read has one topic: its latest state, rendered once. Readers keep no queue; each compares the version
that he has with the latest and takes that, at most four times a second.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field

import structlog
from giving.aggregate.v1.aggregate_service_pb2 import WatchTotalsResponse
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from google.protobuf.message import Message

from gateway.cache import GET_TOTALS, TotalsCache
from gateway.convert import Writers
from gateway.identity import own_identity
from gateway.sse.outlet import Outlet, frame
from mesh.errors import Refusal
from mesh.rpc.call import Call
from mesh.rpc.channel import own_call

WATCH_TOTALS = "/giving.aggregate.v1.AggregateService/WatchTotals"
# TOT-8: at most four updates a second to an outside reader.
_INTERVAL_S = 0.25
_REFRESH_DEADLINE_S = 5.0
_REFRESHES_MAX = 16
_log = structlog.get_logger()


@dataclass(slots=True)
class _Topic:
    """What readers of one campaign share. `claims` counts readers that have it or are about to."""

    version: int = -1
    data: bytes = b""
    claims: int = 0
    readers: set[Outlet] = field(default_factory=set)


class TotalsFeed:
    """Feeds readers; a sink of the followed stream."""

    def __init__(self, *, cache: TotalsCache, writers: Writers) -> None:
        self._cache = cache
        self._writers = writers
        self._topics: dict[str, _Topic] = {}
        self._stale = False
        self._refreshing: asyncio.Task[None] | None = None

    def sign(self) -> None:
        """The stream lives; after a break every open topic may have missed something."""
        if self._stale:
            self._stale = False
            self._refreshing = asyncio.create_task(self._refresh())

    def lost(self) -> None:
        """The stream broke; readers keep what they have until it lives again."""
        self._stale = True

    def followed(self, totals: CampaignTotals) -> None:
        """A state for those who read the campaign."""
        topic = self._topics.get(totals.campaign_id)
        if topic is None or totals.version <= topic.version:
            return
        body = self._writers.render(WatchTotalsResponse(totals=totals))
        topic.version, topic.data = totals.version, frame(body, event_id=str(totals.version))
        for reader in topic.readers:
            reader.wake.set()

    async def open(self, request: Message, call: Call) -> TotalsReading:
        """A reading that can begin: its snapshot is known. Close it when done.

        Raises:
            Refusal: the campaign is unknown or the service does not answer.
        """
        campaign_id = _canonical(request.campaign_id)  # type: ignore[attr-defined] # WatchTotalsRequest
        # Claimed before the snapshot is asked for, so that no state falls in between.
        topic = self._topics.setdefault(campaign_id, _Topic())
        topic.claims += 1
        try:
            if topic.version < 0:
                self.followed(await self._cache.read(campaign_id, call))
        except BaseException:
            self.release(campaign_id)
            raise
        return TotalsReading(self, campaign_id, topic, after=request.after_version)  # type: ignore[attr-defined]

    def release(self, campaign_id: str) -> None:
        """Gives a claim back; a topic without any is dropped."""
        topic = self._topics[campaign_id]
        topic.claims -= 1
        if not topic.claims:
            del self._topics[campaign_id]

    async def _refresh(self) -> None:
        turns = asyncio.Semaphore(_REFRESHES_MAX)
        await asyncio.gather(*(self._refresh_one(campaign_id, turns) for campaign_id in list(self._topics)))

    async def _refresh_one(self, campaign_id: str, turns: asyncio.Semaphore) -> None:
        async with turns:
            deadline = time.monotonic() + _REFRESH_DEADLINE_S
            try:
                call = own_call(subject=GET_TOTALS, identity=own_identity(), deadline=deadline)
                self.followed(await self._cache.read(campaign_id, call))
            except Refusal as refusal:
                _log.info("a topic was not refreshed", reason=refusal.reason_name)


class TotalsReading:
    """One reader of one campaign."""

    def __init__(self, feed: TotalsFeed, campaign_id: str, topic: _Topic, *, after: int) -> None:
        self._feed = feed
        self._campaign_id = campaign_id
        self._topic = topic
        self._after = after

    async def run(self, outlet: Outlet) -> None:
        """Writes the snapshot and then the latest, until the stream is over.

        Raises:
            ReaderGoneError: he left.
        """
        topic = self._topic
        topic.readers.add(outlet)
        # A version that we do not have yet proves nothing: such a reader gets the snapshot.
        sent = self._after if self._after <= topic.version else -1
        try:
            while not outlet.over:
                sent = await _step(topic, outlet, sent)
        finally:
            topic.readers.discard(outlet)

    def close(self) -> None:
        """Lets go of the campaign."""
        self._feed.release(self._campaign_id)


async def _step(topic: _Topic, outlet: Outlet, sent: int) -> int:
    """One turn of a reader: the latest if it is newer, otherwise a wait and perhaps a ping."""
    if topic.version > sent:
        version = topic.version
        await outlet.write(topic.data)
        await outlet.rest(_INTERVAL_S)
        return version
    outlet.wake.clear()
    if not await outlet.woken():
        await outlet.ping()
    return sent


def _canonical(campaign_id: str) -> str:
    """The id as the stream spells it."""
    try:
        return str(uuid.UUID(campaign_id))
    except ValueError:
        return campaign_id
