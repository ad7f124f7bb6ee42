"""One reader's connection: written to with a deadline, ended when he leaves, when its life is over, or at shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

from sse_starlette import ServerSentEvent

from gateway.exchange import Exchange, Send

PING_S = 10.0
# A reader who takes nothing for this long is dropped: what he does not read fills the kernel's buffers and ours.
_WRITE_S_MAX = 5.0
_LIFE_S_MIN, _LIFE_S_MAX = 13 * 60.0, 15 * 60.0
# Browsers come back spread over three seconds instead of all at once.
_RETRY_MS_MIN, _RETRY_MS_MAX = 1000, 4000
_PING = b": ping\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_random = random.SystemRandom()


class ReaderGoneError(Exception):
    """Nobody reads this stream any more."""


def frame(data: bytes, *, event_id: str | None = None, event: str | None = None) -> bytes:
    """One event in its wire form; made once, written to many."""
    return ServerSentEvent(data=data.decode(), id=event_id, event=event, sep="\n").encode()


class Outlet:
    """Writes to one reader."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange = exchange
        self._send = send
        self._ends_at = time.monotonic() + _random.uniform(_LIFE_S_MIN, _LIFE_S_MAX)
        self._closed = asyncio.Event()
        self.wake = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    @property
    def over(self) -> bool:
        """Whether this stream should end now."""
        return self._closed.is_set() or time.monotonic() >= self._ends_at

    def close(self) -> None:
        """Ends the stream as soon as its writer looks."""
        self._closed.set()
        self.wake.set()

    async def open(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Sends the head and how long to wait before coming back.

        Raises:
            ReaderGoneError: he left already.
        """
        self._watcher = asyncio.create_task(self._watch())
        await self._put({"type": "http.response.start", "status": 200, "headers": [*headers, *_HEADERS]})
        await self.write(b"retry: %d\n\n" % _random.randint(_RETRY_MS_MIN, _RETRY_MS_MAX))

    async def write(self, data: bytes) -> None:
        """Writes bytes of the stream.

        Raises:
            ReaderGoneError: he left, or took nothing for five seconds.
        """
        await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def ping(self) -> None:
        """Shows proxies and the reader that the stream lives."""
        await self.write(_PING)

    async def rest(self, seconds: float) -> None:
        """Waits; shorter if the stream is to end."""
        await _within(self._closed, seconds)

    async def woken(self) -> bool:
        """Waits for `wake` until a ping is due; False when it is."""
        return await _within(self.wake, PING_S)

    async def finish(self) -> None:
        """Ends the answer in good form, where anyone still listens."""
        if self._watcher:
            self._watcher.cancel()
        with contextlib.suppress(ReaderGoneError):
            await self._put({"type": "http.response.body", "body": b"", "more_body": False})

    async def _put(self, message: dict[str, Any]) -> None:
        if self._gone:
            raise ReaderGoneError
        try:
            async with asyncio.timeout(_WRITE_S_MAX):
                await self._send(message)
        except TimeoutError:
            self._abort()
            raise ReaderGoneError from None

    def _abort(self) -> None:
        # Closing would wait for a reader who does not read; the connection hands its transport's abort to the scope.
        self._exchange.scope.get("giving.abort", _nothing)()
        self._leave()

    async def _watch(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._gone = True
        self.close()


def _nothing() -> None:
    """Servers other than ours offer no abort."""


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
