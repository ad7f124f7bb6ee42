"""Carries a schedule out: each fault at its time, each for as long as it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chaos.processes import PARTS, Mesh
from chaos.provider import Provider
from chaos.proxy import Mode
from chaos.schedule import EVERYTHING, Fault

_REDIS_S_MAX = 1.0
Tell = Callable[[str], None]


class Nemesis:
    """`tell` hears of each fault when it begins."""

    def __init__(self, mesh: Mesh, provider: Provider, *, tell: Tell) -> None:
        self._mesh = mesh
        self._provider = provider
        self._tell = tell
        self._redis_url = mesh.places.redis_url
        # Faults of one target wait for each other; different targets suffer at the same time.
        self._turns: dict[str, asyncio.Lock] = {}
        self.done = 0

    async def run(self, faults: Sequence[Fault]) -> None:
        """Returns when the last fault is over."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._at_its_time(fault, began))

    async def _at_its_time(self, fault: Fault, began: float) -> None:
        await asyncio.sleep(max(began + fault.at_s - asyncio.get_running_loop().time(), 0))
        async with self._turns.setdefault(fault.target, asyncio.Lock()):
            self._tell(f"{fault.target} {fault.kind}")
            await self._inflict(fault)
            self.done += 1

    async def _inflict(self, fault: Fault) -> None:
        if fault.target in ("webhooks", "provider"):
            # The sandbox itself may be down at the moment.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self._provider.disturb(fault)
        elif fault.target in self._mesh.proxies:
            proxy = self._mesh.proxies[fault.target]
            await proxy.turn(Mode(fault.kind), amount=fault.amount)
            await asyncio.sleep(fault.seconds)
            await proxy.turn(Mode.PASS)
        elif fault.target == EVERYTHING:
            await asyncio.gather(*(self._mesh.kill(name) for name in PARTS))
        elif fault.kind == "kill":
            await self._mesh.kill(fault.target)
        elif fault.kind == "pause":
            self._mesh.pause(fault.target)
            await asyncio.sleep(fault.seconds)
            self._mesh.resume(fault.target)
        elif fault.target == "nats":
            await self._lose_nats(fault)
        else:
            await self._lose_valkey(fault)

    async def _lose_nats(self, fault: Fault) -> None:
        copy = None
        if fault.kind == "rewind":
            copy = self._mesh.copy_nats()
            await asyncio.sleep(fault.seconds)
        await self._mesh.exchange_nats(copy)

    async def _lose_valkey(self, fault: Fault) -> None:
        with contextlib.suppress(RedisError, OSError):
            async with _redis(self._redis_url) as redis:
                held: dict[bytes, Any] = {key: await redis.hgetall(key) async for key in redis.scan_iter("giving:totals:*")}
                if fault.kind == "rewind":
                    await asyncio.sleep(fault.seconds)
                await redis.flushall()
                if fault.kind == "rewind":
                    for key, members in held.items():
                        await redis.hset(key, mapping=members)


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=_REDIS_S_MAX) as redis:
        yield redis
