"""Totals in memory, kept fresh by a stream.

An entry enters on a miss by GetTotals and is replaced only by a higher version, wherever that comes from: an answer
that was on its way while the stream already brought a newer state changes nothing. Without the stream nothing is known
to be fresh: everything is forgotten and calls go through.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from giving.aggregate.v1.aggregate_service_pb2 import GetTotalsRequest, GetTotalsResponse
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from google.protobuf.message import Message

from gateway.transcode.answers import Rendered, Renderer
from mesh.rpc.call import Call
from mesh.rpc.channel import Caller
from mesh.rpc.contract import Method

GET_TOTALS = "/giving.aggregate.v1.AggregateService/GetTotals"
# The stream gives a sign of life each second; two may be lost.
SILENCE_S_MAX = 3.0
_ENTRIES_MAX = 100_000


@dataclass(slots=True)
class _Entry:
    totals: CampaignTotals
    rendered: Rendered | None = None


class TotalsCache:
    """A bounded memory of campaigns' totals; least recently read leaves first."""

    def __init__(
        self,
        *,
        caller: Caller,
        method: Method,
        renderer: Renderer,
        on_hit: Callable[[], Any],
        monotonic: Callable[[], float] = time.monotonic,
        entries_max: int = _ENTRIES_MAX,
    ) -> None:
        self._caller = caller
        self._method = method
        self._renderer = renderer
        self._on_hit = on_hit
        self._monotonic = monotonic
        self._entries_max = entries_max
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._loading: Counter[str] = Counter()
        self._sign_at = float("-inf")
        self._lives = 0

    @property
    def live(self) -> bool:
        """Whether the stream has shown life lately, so that what is remembered is fresh."""
        return self._monotonic() - self._sign_at <= SILENCE_S_MAX

    def sign(self) -> None:
        """The stream lives."""
        if not self.live:
            self.lost()
        self._sign_at = self._monotonic()

    def followed(self, totals: CampaignTotals) -> None:
        """The stream brought a state; what nobody has asked for is not kept."""
        if totals.campaign_id in self._entries or self._loading[totals.campaign_id]:
            self._offer(totals)

    def lost(self) -> None:
        """The stream broke: forgets everything, also what calls in flight will bring."""
        self._entries.clear()
        self._sign_at = float("-inf")
        self._lives += 1

    async def answer(self, request: Message, make_call: Callable[[], Call]) -> Rendered | None:
        """The answer to GetTotals from memory, through a call on a miss; None while the stream is not live."""
        if not self.live:
            return None
        campaign_id: str = request.campaign_id  # type: ignore[attr-defined] # the one method that this is hooked to
        entry = self._entries.get(campaign_id)
        if entry is None:
            return self._render(await self.load(campaign_id, make_call()))
        self._entries.move_to_end(campaign_id)
        self._on_hit()
        entry.rendered = entry.rendered or self._render(entry.totals)
        return entry.rendered

    async def read(self, campaign_id: str, call: Call) -> CampaignTotals:
        """The totals from memory or by a call.

        Raises:
            Refusal: the service refuses.
        """
        entry = self._entries.get(campaign_id) if self.live else None
        return entry.totals if entry else await self.load(campaign_id, call)

    async def load(self, campaign_id: str, call: Call) -> CampaignTotals:
        """The totals by a call, remembered while the stream that was live then still is."""
        lives = self._lives
        self._loading[campaign_id] += 1
        try:
            response = await self._caller.unary(self._method, GetTotalsRequest(campaign_id=campaign_id), call)
        finally:
            self._stop_loading(campaign_id)
        loaded: CampaignTotals = response.totals
        # An id in another spelling would never be updated: the stream names campaigns in theirs.
        if not self.live or lives != self._lives or loaded.campaign_id != campaign_id:
            return loaded
        return self._offer(loaded)

    def _stop_loading(self, campaign_id: str) -> None:
        self._loading[campaign_id] -= 1
        if not self._loading[campaign_id]:
            del self._loading[campaign_id]

    def _offer(self, totals: CampaignTotals) -> CampaignTotals:
        """Remembers a state unless a newer one is known; returns the newest."""
        known = self._entries.get(totals.campaign_id)
        if known and known.totals.version >= totals.version:
            return known.totals
        self._entries[totals.campaign_id] = _Entry(totals)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
        return totals

    def _render(self, totals: CampaignTotals) -> Rendered:
        return self._renderer.render(self._method, GetTotalsResponse(totals=totals))
