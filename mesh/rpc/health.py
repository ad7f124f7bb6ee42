"""Health that tells the truth: the standard service, per service and per dependency."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from grpc_health.v1 import health, health_pb2

_log = structlog.get_logger()
PROBE_PERIOD_S = 1.0
PROBE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to a dependency; `required`: the service cannot work without it."""

    ask: Callable[[], Awaitable[object]]
    required: bool


class _EndingHealth(health.aio.HealthServicer):
    """The standard servicer, whose watches can be ended."""

    def __init__(self) -> None:
        super().__init__()
        self._lives: set[asyncio.Timeout] = set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802 - the contract's
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as life:
                self._lives.add(life)
                try:
                    await super().Watch(request, context)
                finally:
                    self._lives.discard(life)

    def end_watches(self) -> None:
        for life in self._lives:
            if not life.expired():
                life.reschedule(asyncio.get_running_loop().time())


class HealthBoard:
    """Asks dependencies every second and answers for `""`, each service and `dependency.<name>`."""

    def __init__(self, *, services: Iterable[str], probes: Mapping[str, Probe]) -> None:
        self.servicer = _EndingHealth()
        self._services = ("", *services)
        self._probes = probes
        self._leaving = False
        self._known: dict[str, bool] = {}

    async def watch(self) -> None:
        """Asks until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PROBE_PERIOD_S)

    async def look(self) -> None:
        """Asks every dependency once."""
        answers = await asyncio.gather(*(self._healthy(name, probe) for name, probe in self._probes.items()))
        serving = not self._leaving
        for (name, probe), healthy in zip(self._probes.items(), answers, strict=True):
            await self._set(f"dependency.{name}", healthy)
            serving = serving and (healthy or not probe.required)
        for name in self._services:
            await self._set(name, serving)

    async def leave(self) -> None:
        """NOT_SERVING from now on, before the server stops listening."""
        self._leaving = True
        for name in self._services:
            await self._set(name, False)

    def end_watches(self) -> None:
        """Ends what watches health; callers' channels do, all their life long, and would hold the server's end up."""
        self.servicer.end_watches()

    async def _healthy(self, name: str, probe: Probe) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await probe.ask()
        except Exception as error:  # noqa: BLE001 - any failure means: not healthy
            healthy, cause = False, type(error).__name__
        else:
            healthy, cause = True, ""
        if self._known.get(name) != healthy:
            self._known[name] = healthy
            _log.info("dependency", dependency=name, healthy=healthy, cause=cause)
        return healthy

    async def _set(self, name: str, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        await self.servicer.set(name, status.SERVING if serving else status.NOT_SERVING)
