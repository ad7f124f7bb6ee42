"""How the gateway serves, and in which stages it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.config import GatewaySettings
from gateway.connection import Connection
from mesh.http import serving_http

_KEEP_ALIVE_S = 10


@dataclass(frozen=True, slots=True)
class Stages:
    """The two stages of a stop: `drain` sends callers elsewhere, `close` ends what would otherwise never end."""

    drain: Callable[[], None]
    close: Callable[[], None]


@asynccontextmanager
async def serving(app: Any, settings: GatewaySettings, *, stages: Stages) -> AsyncIterator[int]:
    """Serves `app` while entered; yields the port.

    Leaving it, requests are still taken for `drain_s`, so that whoever sends them here can see that we go; then no more,
    and those in progress finish within `grace_s`.

    Raises:
        OSError: the port cannot be had; its text says why.
    """
    async with serving_http(
        app,
        host=settings.listen_host,
        port=settings.listen_port,
        connection=Connection,
        keep_alive_s=_KEEP_ALIVE_S,
        grace_s=settings.grace_s,
        connections_max=settings.connections_max,
    ) as port:
        try:
            yield port
        finally:
            stages.drain()
            await asyncio.sleep(settings.drain_s)
            stages.close()
