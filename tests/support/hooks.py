"""A webhook endpoint: takes what the sandbox sends, refuses when it is told to, and may pass things on."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.waiting import until


@dataclass(frozen=True)
class Hook:
    """What came, as it came, and the status that it was answered with."""

    body: bytes
    signature: str
    status: int

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class Hooks:
    """`refusals`: so many are answered with 500. `forward_to`: the URL that answers instead of us."""

    url: str
    came: list[Hook] = field(default_factory=list)
    refusals: int = 0
    forward_to: str = ""

    def taken(self, *, about: str = "", kind: str = "") -> list[dict[str, Any]]:
        """Events that were answered with 2xx, in the order of their coming; `about`: an id that they mention."""
        return [
            hook.event
            for hook in list(self.came)
            if hook.status < 300 and about.encode() in hook.body and kind in ("", hook.event["type"])
        ]

    async def kinds(self, *, about: str, count: int) -> list[str]:
        """Types of the events about something, once there are so many."""

        async def kinds() -> list[str]:
            return [event["type"] for event in self.taken(about=about)]

        return await until(kinds, holds=lambda found: len(found) >= count)

    async def _take(self, request: web.Request) -> web.Response:
        body, signature = await request.read(), request.headers["Stripe-Signature"]
        status = await self._status(body, signature)
        self.came.append(Hook(body, signature, status))
        return web.Response(status=status)

    async def _status(self, body: bytes, signature: str) -> int:
        if self.refusals:
            self.refusals -= 1
            return 500
        if not self.forward_to:
            return 200
        headers = {"Stripe-Signature": signature, "Content-Type": "application/json"}
        async with aiohttp.ClientSession() as session, session.post(self.forward_to, data=body, headers=headers) as answer:
            return answer.status


@asynccontextmanager
async def webhook_endpoint() -> AsyncIterator[Hooks]:
    """One that listens."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    hooks = Hooks(f"http://127.0.0.1:{listener.getsockname()[1]}/webhooks/stripe")
    application = web.Application()
    application.router.add_post("/webhooks/stripe", hooks._take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    try:
        yield hooks
    finally:
        await runner.cleanup()
