"""Totals in Redis: absolute, versioned, disposable.

An older version never replaces a newer one, so writing is repeatable and needs no order. Each write that changes something
is announced on a channel, so that other replicas can push it to their watchers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from giving.aggregate.v1 import totals_pb2
from google.protobuf.message import DecodeError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from aggregator_svc import convert
from aggregator_svc.domain.totals import CampaignTotals

CHANNEL = "giving:totals"
TIMEOUT_S = 0.2
# After a failure readers go to PostgreSQL at once for this long.
REST_S = 1.0
_NO_VERSION = 2**63
_SET_IF_NEWER = """
local held = redis.call('HGET', KEYS[1], 'v')
if held and tonumber(held) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'p', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[2])
return 1
"""


class CacheUnavailable(Exception):  # noqa: N818 - normal while Redis is away
    """Redis does not answer."""


@dataclass(frozen=True, slots=True)
class Held:
    """What Redis holds of a campaign: under which version, and what; None for what nobody of ours writes."""

    version: int
    totals: CampaignTotals | None


class TotalsCache:
    """Totals by campaign."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._rests_until = 0.0

    async def put(self, totals: Sequence[CampaignTotals]) -> None:
        """Writes values that are newer than what is held.

        Raises:
            CacheUnavailable: nothing is known about what was written; writing again is harmless.
        """
        pipe = self._redis.pipeline(transaction=False)
        for item in totals:
            payload = convert.totals_message(item).SerializeToString()
            pipe.eval(_SET_IF_NEWER, 1, _key(item.campaign_id), item.version, payload, CHANNEL)
        try:
            await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise CacheUnavailable from error

    async def get(self, campaign_id: UUID) -> CampaignTotals | None:
        """What is held; None where nothing is, which is not zero.

        Raises:
            CacheUnavailable: Redis does not answer, or did not a moment ago.
        """
        if time.monotonic() < self._rests_until:
            raise CacheUnavailable
        try:
            payload: Any = await self._redis.hget(_key(campaign_id), "p")
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = time.monotonic() + REST_S
            raise CacheUnavailable from error
        return _read(payload) if payload else None

    async def held(self, campaign_ids: Sequence[UUID]) -> dict[UUID, Held]:
        """What is held of campaigns, past every rest; those of which nothing is are missing.

        Raises:
            CacheUnavailable: Redis does not answer.
        """
        if not campaign_ids:
            return {}
        pipe = self._redis.pipeline(transaction=False)
        for campaign_id in campaign_ids:
            pipe.hmget(_key(campaign_id), "v", "p")
        try:
            rows: Any = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise CacheUnavailable from error
        found = zip(campaign_ids, rows, strict=True)
        return {campaign_id: _held(version, payload) for campaign_id, (version, payload) in found if version or payload}

    async def forget(self, campaign_id: UUID) -> None:
        """Holds nothing of a campaign.

        Raises:
            CacheUnavailable: Redis does not answer.
        """
        try:
            await self._redis.delete(_key(campaign_id))
        except (RedisError, OSError, TimeoutError) as error:
            raise CacheUnavailable from error

    async def ping(self) -> None:
        """For health."""
        await self._redis.ping()


@asynccontextmanager
async def open_redis(url: str, *, timeout_s: float | None = TIMEOUT_S) -> AsyncIterator[Redis]:
    """A client that never repeats a command by itself."""
    redis = Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=TIMEOUT_S,
        # A connection that only listens asks now and then whether the other side is still there.
        health_check_interval=5 if timeout_s is None else 0,
    )
    try:
        yield redis
    finally:
        await redis.aclose()


async def announcements(redis: Redis) -> AsyncIterator[CampaignTotals]:
    """What other replicas wrote, as it comes.

    Raises:
        CacheUnavailable: the connection broke; what was announced meanwhile is lost.
    """
    async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        try:
            await pubsub.subscribe(CHANNEL)
            while True:
                message = await pubsub.get_message(timeout=1)
                totals = _read(message["data"]) if message else None
                if totals:
                    yield totals
        except (RedisError, OSError, TimeoutError) as error:
            raise CacheUnavailable from error


def _read(payload: bytes) -> CampaignTotals | None:
    """What was written; None for what nobody of ours writes."""
    try:
        return convert.totals_from(totals_pb2.CampaignTotals.FromString(payload))
    except (DecodeError, ValueError):
        return None


def _held(version: bytes | None, payload: bytes | None) -> Held:
    """A version that is none is above all: nothing would ever replace what stands under it."""
    try:
        number = int(version or b"")
    except ValueError:
        number = _NO_VERSION
    return Held(number, _read(payload) if payload else None)


def _key(campaign_id: UUID) -> str:
    return f"giving:totals:{campaign_id}"
