"""uvicorn inside of a process that has its own signals, with connections that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.config import SandboxSettings

_BACKLOG = 2048
_KEEP_ALIVE_S = 60


class Connection(HttpToolsProtocol):
    """Lets an answer be lost: whoever answers may cut the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["sandbox.transport"] = self.transport  # type: ignore[typeddict-unknown-key] # read by stripe.api


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
async def serving(app: ASGIApp, settings: SandboxSettings) -> AsyncIterator[int]:
    """Serves `app` while entered; yields the port.

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
        server.should_exit = True
        await task


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from None


def _config(app: ASGIApp, settings: SandboxSettings) -> uvicorn.Config:
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
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.grace_s)),
    )
