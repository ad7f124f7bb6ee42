"""How the sandbox serves: with connections that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mesh.http import serving_http
from sandbox.config import SandboxSettings

_KEEP_ALIVE_S = 60


class Connection(HttpToolsProtocol):
    """Lets an answer be lost: whoever answers may cut the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["sandbox.transport"] = self.transport  # type: ignore[typeddict-unknown-key] # read by stripe.api


@asynccontextmanager
async def serving(app: ASGIApp, settings: SandboxSettings) -> AsyncIterator[int]:
    """Serves `app` while entered; yields the port.

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
        dated=False,
    ) as port:
        yield port
