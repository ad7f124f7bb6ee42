"""Wiring: the one place that knows every part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.api import Edge, Handle
from gateway.cache import GET_TOTALS, TotalsCache
from gateway.clients import Clients, contract_methods
from gateway.config import GatewaySettings
from gateway.convert import Readers, Writers
from gateway.cors import Cors
from gateway.exchange import Answer, Exchange
from gateway.follow import FOLLOW_TOTALS, Follower, Sink
from gateway.identity import Doorkeeper
from gateway.metrics import SSE_READERS, TOTALS_CACHE_HITS, RequestCounter
from gateway.pages import Page, Pages, documents, giving_pages, readable, signs_of_life
from gateway.readiness import Readiness
from gateway.server import Stages, serving
from gateway.sse import WATCH_TOTALS, Streams, TotalsFeed
from gateway.sse.bridge import Bridge
from gateway.transcode import Renderer, Routes, Transcoder, routes_of
from gateway.transcode.routes import Match, Route
from gateway.webhooks import HANDLE_WEBHOOK, webhook
from mesh.errors import NotImplementedYet
from mesh.rpc.contract import Method
from mesh.tasks import background


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that serves."""

    port: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """What both roles are made of."""

    settings: GatewaySettings
    methods: Mapping[str, Method]
    clients: Clients
    readers: Readers
    writers: Writers
    readiness: Readiness
    cache: TotalsCache


@asynccontextmanager
async def application(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """Serves while entered.

    Raises:
        OSError: the port cannot be had.
    """
    parts = _parts(settings)
    try:
        async with _live(parts) if settings.gateway_role == "live" else _rest(parts) as gateway:
            yield gateway
    finally:
        await parts.clients.close()


@asynccontextmanager
async def _rest(parts: _Parts) -> AsyncIterator[Gateway]:
    transcoder = Transcoder(
        clients=parts.clients,
        doorkeeper=Doorkeeper(parts.settings),
        readers=parts.readers,
        renderer=Renderer(parts.writers),
        local={GET_TOTALS: parts.cache.answer},
    )
    live_url = parts.settings.live_url

    async def handle(match: Match, exchange: Exchange) -> Answer:
        if match.route.method.streams_out:
            return _redirect(match, exchange, live_url)
        return await transcoder(match, exchange)

    hook = webhook(parts.clients, parts.methods[HANDLE_WEBHOOK])
    pages = documents() | giving_pages(parts.settings)
    edge = _edge(parts, _routes(parts), handle, pages=pages, hooks={b"/webhooks/stripe": hook})
    stages = Stages(drain=parts.readiness.drain, close=lambda: None)
    async with _following(parts, [parts.cache]), serving(edge, parts.settings, stages=stages) as port:
        yield Gateway(port)


@asynccontextmanager
async def _live(parts: _Parts) -> AsyncIterator[Gateway]:
    feed = TotalsFeed(cache=parts.cache, writers=parts.writers)
    streams = Streams(
        doorkeeper=Doorkeeper(parts.settings),
        readers=parts.readers,
        bridge=Bridge(clients=parts.clients, writers=parts.writers),
        local={WATCH_TOTALS: feed.open},
        gauge=SSE_READERS,
        readers_max=parts.settings.readers_max,
    )
    routes = [route for route in _routes(parts) if route.method.streams_out]
    edge = _edge(parts, routes, streams, pages={}, hooks={})
    stages = Stages(drain=parts.readiness.drain, close=streams.close)
    async with _following(parts, [parts.cache, feed]), serving(edge, parts.settings, stages=stages) as port:
        yield Gateway(port)


def _parts(settings: GatewaySettings) -> _Parts:
    methods, clients, writers = contract_methods(), Clients(settings), Writers()
    cache = TotalsCache(
        caller=clients.caller(methods[GET_TOTALS]),
        method=methods[GET_TOTALS],
        renderer=Renderer(writers),
        on_hit=TOTALS_CACHE_HITS.inc,
    )
    return _Parts(settings, methods, clients, Readers(), writers, Readiness(clients), cache)


def _routes(parts: _Parts) -> list[Route]:
    routes = routes_of(parts.methods)
    for route in routes:  # compiled now, so that a contract that cannot be served fails at start
        parts.readers.of(route.method.descriptor.input_type)
        parts.writers.of(route.method.descriptor.output_type)
    return routes


def _edge(
    parts: _Parts, routes: list[Route], handle: Handle, *, pages: Mapping[bytes, Page], hooks: Mapping[bytes, Page]
) -> Edge:
    pages = {**pages, **signs_of_life(parts.readiness.page)}
    return Edge(
        pages=Pages({**{path: readable(page) for path, page in pages.items()}, **hooks}),
        routes=Routes(routes),
        handle=handle,
        cors=Cors(parts.settings.cors_origins),
        counter=RequestCounter(),
    )


@asynccontextmanager
async def _following(parts: _Parts, sinks: list[Sink]) -> AsyncIterator[None]:
    method = parts.methods[FOLLOW_TOTALS]
    follower = Follower(caller=parts.clients.caller(method), method=method, sinks=sinks)
    async with background(follower.run):
        yield


def _redirect(match: Match, exchange: Exchange, live_url: str) -> Answer:
    if not live_url:
        name = match.route.method.descriptor.full_name
        raise NotImplementedYet("this gateway runs without a live process", method=name)
    query = b"?" + exchange.query if exchange.query else b""
    headers = [(b"location", live_url.encode() + exchange.path + query), (b"cache-control", b"no-store")]
    return Answer(307, b"", b"text/plain", headers)
