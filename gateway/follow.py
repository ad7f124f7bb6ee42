"""Keeps FollowTotals open and tells those who depend on it: a sign of life, a state, or that it broke."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import NoReturn, Protocol

import grpc
import structlog
from giving.aggregate.v1.aggregate_service_pb2 import FollowTotalsRequest, FollowTotalsResponse
from giving.aggregate.v1.totals_pb2 import CampaignTotals

from gateway.cache import SILENCE_S_MAX
from gateway.identity import own_identity
from mesh.rpc.channel import Caller, own_call
from mesh.rpc.contract import Method

FOLLOW_TOTALS = "/giving.aggregate.v1.AggregateService/FollowTotals"
_BACKOFF_S_MIN = 0.1
# A restarted aggregator is followed again within two seconds, and many gateways do not return at once.
_BACKOFF_S_MAX = 2.0
_log = structlog.get_logger()
_random = random.SystemRandom()


class Sink(Protocol):
    """Who depends on the stream."""

    def sign(self) -> None:
        """The stream lives; the first sign after `lost` begins another stream."""
        ...

    def followed(self, totals: CampaignTotals) -> None:
        """The stream brought a state."""
        ...

    def lost(self) -> None:
        """The stream broke: states may have been missed."""
        ...


class Follower:
    """Follows every campaign's totals, for ever."""

    def __init__(self, *, caller: Caller, method: Method, sinks: Sequence[Sink]) -> None:
        self._caller = caller
        self._method = method
        self._sinks = sinks
        self._backoff_s = _BACKOFF_S_MIN

    async def run(self) -> NoReturn:
        """Follows until it is cancelled."""
        while True:
            try:
                await self._follow()
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                if self._backoff_s == _BACKOFF_S_MIN:  # once a break, not once a try
                    _log.warning("totals stream broke", cause=type(error).__name__)
            finally:
                self._lost()
            await asyncio.sleep(_random.uniform(0, self._backoff_s))
            self._backoff_s = min(self._backoff_s * 2, _BACKOFF_S_MAX)

    async def _follow(self) -> None:
        call = own_call(
            subject=self._method.path, identity=own_identity(), deadline=time.monotonic() + self._method.deadline_s
        )
        stream = self._caller.stream(self._method, FollowTotalsRequest(), call)
        try:
            while (message := await self._next(stream)) is not None:
                self._tell(message)
        finally:
            stream.cancel()

    async def _next(
        self, stream: grpc.aio.UnaryStreamCall[FollowTotalsRequest, FollowTotalsResponse]
    ) -> FollowTotalsResponse | None:
        async with asyncio.timeout(SILENCE_S_MAX):
            message = await stream.read()
        return message if isinstance(message, FollowTotalsResponse) else None

    def _tell(self, message: FollowTotalsResponse) -> None:
        self._backoff_s = _BACKOFF_S_MIN
        for sink in self._sinks:
            sink.sign()
            for totals in message.totals:
                sink.followed(totals)

    def _lost(self) -> None:
        for sink in self._sinks:
            sink.lost()
