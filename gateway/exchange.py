"""One HTTP request in progress, and what answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mesh.errors import MalformedRequest, RequestTooLarge
from mesh.rpc.call import CORRELATION_KEY, correlation_id_from

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Who sends slower than this is cut: bodies that trickle in would hold connections for ever.
BODY_DEADLINE_S = 15.0
DISCARD_BYTES_MAX = 8 * 1024 * 1024


@dataclass(slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes
    content_type: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Exchange:
    """A request as routes and handlers see it."""

    __slots__ = ("_headers", "correlation_id", "method", "path", "query", "receive", "route", "scope", "unread")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self.correlation_id = correlation_id_from({CORRELATION_KEY: self.header(b"x-request-id")})
        self.route = "unmatched"
        self.unread = False  # of the body: the connection cannot carry another request

    def header(self, name: bytes) -> str:
        """A request header; empty where it is absent."""
        value = self._headers.get(name)
        return value.decode("latin-1") if value else ""

    async def body(self, *, bytes_max: int) -> bytes:
        """The whole body.

        Raises:
            RequestTooLarge: it is, or says that it is, longer than `bytes_max`.
            MalformedRequest: it did not arrive in time or ended early.
        """
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                if int(self.header(b"content-length") or 0) <= bytes_max:
                    return await self._read(bytes_max)
                await self._discard()
        except TimeoutError:
            self.unread = True
            raise MalformedRequest(f"the body did not arrive within {BODY_DEADLINE_S:g} s") from None
        raise _too_large(bytes_max)

    async def _read(self, bytes_max: int) -> bytes:
        body = bytearray()
        more = True
        while more:
            part, more = await self._part()
            body += part
            if len(body) > bytes_max:
                await self._discard(more=more)
                raise _too_large(bytes_max)
        return bytes(body)

    async def _discard(self, *, more: bool = True) -> None:
        """Takes the rest of a body that is too large: a caller who is cut while he writes never sees why."""
        left = DISCARD_BYTES_MAX
        while more and left > 0:
            part, more = await self._part()
            left -= len(part)
        self.unread = more

    async def _part(self) -> tuple[bytes, bool]:
        event = await self.receive()
        if event["type"] == "http.disconnect":
            raise MalformedRequest("the body ended early")
        return event.get("body", b""), event.get("more_body", False)


def _too_large(bytes_max: int) -> RequestTooLarge:
    return RequestTooLarge(f"the body is larger than {bytes_max} bytes", max_request_bytes=bytes_max)
