"""What readers are shown of campaigns: REST, gRPC and Redis, of those campaigns that changed last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import aiohttp
import grpc
from giving.aggregate.v1.aggregate_service_pb2 import GetTotalsRequest, GetTotalsResponse
from giving.aggregate.v1.aggregate_service_pb2_grpc import AggregateServiceStub
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from google.protobuf import json_format
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cli.invariants.view import View

# Each is a call; all campaigns of a large mesh would be load.
CAMPAIGNS_MAX = 500
_IN_FLIGHT = 8
_ANSWER_S_MAX = 5.0
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Figures:
    """One campaign in one currency, in minor units; None is what a book does not hold."""

    gross: int
    refunded: int
    disputed: int
    donations: int | None = None
    donors: int | None = None

    def differs_from(self, other: Figures) -> bool:
        """In anything that both hold."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in self.__slots__]
        return any(mine != theirs for mine, theirs in pairs if mine is not None and theirs is not None)


NOTHING = Figures(0, 0, 0, 0, 0)
# (campaign, currency) → figures.
Book: TypeAlias = Mapping[tuple[str, str], Figures]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a display showed. `versions`: by campaign; a campaign that it did not have is missing."""

    book: Book
    versions: Mapping[str, int]


Ask = Callable[[str], Awaitable[CampaignTotals | None]]


async def shown(view: View, campaigns: Sequence[str]) -> dict[str, Shown]:
    """What each display that is known here shows, by its name. A campaign that nobody knows yet is shown by none."""
    found = {}
    if view.places.rest_url:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S_MAX)
        async with aiohttp.ClientSession(view.places.rest_url, timeout=timeout) as session:
            found["REST"] = await _ask_all(lambda campaign: _rest(session, campaign), campaigns)
    if view.places.aggregator:
        async with grpc.aio.insecure_channel(view.places.aggregator) as channel:
            stub = AggregateServiceStub(channel)
            found["gRPC"] = await _ask_all(lambda campaign: _grpc(stub, campaign), campaigns)
    if view.places.redis_url:
        retry = Retry(NoBackoff(), 0)
        async with Redis.from_url(view.places.redis_url, retry=retry, socket_timeout=_ANSWER_S_MAX) as client:
            found["Redis"] = await _ask_all(lambda campaign: _redis(client, campaign), campaigns)
    return found


async def _ask_all(ask: Ask, campaigns: Sequence[str]) -> Shown:
    """A bounded number at a time."""
    answers: list[CampaignTotals] = []
    for first in range(0, len(campaigns), _IN_FLIGHT):
        asked = await asyncio.gather(*map(ask, campaigns[first : first + _IN_FLIGHT]))
        answers += [answer for answer in asked if answer is not None]
    book = {(answer.campaign_id, share.currency): _figures(share) for answer in answers for share in answer.currencies}
    return Shown(book, {answer.campaign_id: answer.version for answer in answers})


def _figures(share: Any) -> Figures:
    return Figures(share.gross, share.refunded, share.disputed, share.donations, share.donors)


async def _rest(session: aiohttp.ClientSession, campaign: str) -> CampaignTotals | None:
    async with session.get(f"/v1/campaigns/{campaign}/totals") as answer:
        if answer.status == _NOT_FOUND:
            return None
        answer.raise_for_status()
        return json_format.ParseDict(await answer.json(), GetTotalsResponse(), ignore_unknown_fields=True).totals


async def _grpc(stub: Any, campaign: str) -> CampaignTotals | None:
    try:
        answer = await stub.GetTotals(GetTotalsRequest(campaign_id=campaign), timeout=_ANSWER_S_MAX)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    totals: CampaignTotals = answer.totals
    return totals


async def _redis(client: Redis, campaign: str) -> CampaignTotals | None:
    """Nothing is held where Redis has been emptied; that is not zero."""
    stored = await client.hget(f"giving:totals:{campaign}", "p")
    return CampaignTotals.FromString(stored) if isinstance(stored, bytes) else None
