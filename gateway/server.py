"""uvicorn inside of a process that has its own signals and its own life."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from gateway.config import GatewaySettings
from gateway.connection import Connection

_BACKLOG = 2048
_KEEP_ALIVE_S = 10


class _Server(uvicorn.Server):
    """Says when it listens and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # mesh.process owns them
        yield


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
    listener = _listen(settings.listen_host, settings.listen_port)
    server = _Server(_config(app, settings))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        stages.drain()
        await asyncio.sleep(settings.drain_s)
        stages.close()
        server.should_exit = True
        await task


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from None


def _config(app: Any, settings: GatewaySettings) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whatever a caller says about where he comes from is not believed.
        proxy_headers=False,
        backlog=_BACKLOG,
        limit_concurrency=settings.connections_max,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.grace_s)),
    )
