"""The HTTP edge: one ASGI application around every route. It decides nothing about donations."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import structlog

from gateway.cors import Cors
from gateway.exchange import Answer, Exchange, Receive, Scope, Send
from gateway.metrics import RequestCounter
from gateway.pack import pack
from gateway.pages import Pages
from gateway.problems import problem
from gateway.transcode.routes import Match, Routes
from mesh.errors import Internal, Refusal

_PAGE_METHODS = ("GET", "HEAD")
_SECURITY = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_log = structlog.get_logger()


class Stream(Protocol):
    """An answer without a known end."""

    async def serve(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        """Sends it all; returns when it is over."""
        ...


Handle: TypeAlias = Callable[[Match, Exchange], Awaitable[Answer | Stream]]


class Edge:
    """Turns every request into exactly one answer, every failure into a problem document."""

    def __init__(self, *, pages: Pages, routes: Routes, handle: Handle, cors: Cors, counter: RequestCounter) -> None:
        self._pages = pages
        self._routes = routes
        self._handle = handle
        self._cors = cors
        self._counter = counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        exchange = Exchange(scope, receive)
        answer = await self._answer(exchange)
        headers = self._headers(exchange)
        if isinstance(answer, Answer):
            await _send(answer, exchange, send, headers)
            self._counter.count(exchange, status=answer.status, seconds=time.perf_counter() - started)
        else:
            self._counter.count(exchange, status=200)
            await answer.serve(send, headers)

    async def _answer(self, exchange: Exchange) -> Answer | Stream:
        try:
            return await self._route(exchange)
        except Refusal as refusal:
            return problem(refusal, request_id=exchange.correlation_id)
        except Exception:  # noqa: BLE001 - the last line: the cause stays in our logs, the caller learns its id
            _log.exception("unexpected", correlation_id=exchange.correlation_id, route=exchange.route)
            return problem(Internal("internal error"), request_id=exchange.correlation_id)

    async def _route(self, exchange: Exchange) -> Answer | Stream:
        found = self._pages.find(exchange.path)
        if exchange.method == "OPTIONS" and (preflight := self._preflight(exchange, is_page=bool(found))):
            return preflight
        if found:
            exchange.route, page = found
            return await page(exchange)
        match = self._routes.find(exchange)
        exchange.route = match.route.template.text
        return await self._handle(match, exchange)

    def _preflight(self, exchange: Exchange, *, is_page: bool) -> Answer | None:
        return self._cors.preflight(exchange, _PAGE_METHODS if is_page else self._routes.methods(exchange.path))

    def _headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        return [(b"x-request-id", exchange.correlation_id.encode()), *_SECURITY, *self._cors.headers(exchange)]


async def _send(answer: Answer, exchange: Exchange, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    packed = pack(answer, exchange.header(b"accept-encoding"))
    headers = [*headers, *packed.headers, *([(b"connection", b"close")] if exchange.unread else [])]
    if packed.content_type:
        headers += [(b"content-type", packed.content_type), (b"content-length", b"%d" % len(packed.body))]
    await send({"type": "http.response.start", "status": packed.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else packed.body})
