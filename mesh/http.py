"""uvicorn inside of a process that has its own signals and its own life."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

_BACKLOG = 2048


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


@asynccontextmanager
async def serving_http(
    app: Any,
    *,
    host: str,
    port: int,
    connection: type[asyncio.Protocol],
    keep_alive_s: int,
    grace_s: float,
    connections_max: int | None = None,
    dated: bool = True,
) -> AsyncIterator[int]:
    """Serves an ASGI application while entered; yields the port. Requests in progress finish within `grace_s`.

    `connection` is the protocol of one connection; above `connections_max` the next gets 503. `dated`: answers carry the
    machine's time; otherwise the application says when it answers.

    Raises:
        OSError: the port cannot be had; its text says why.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=dated,
        # Whatever a caller says about where he comes from is not believed.
        proxy_headers=False,
        backlog=_BACKLOG,
        limit_concurrency=connections_max,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    listener = _listen(host, port)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await server.listening.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from None
