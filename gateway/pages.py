"""What the gateway serves besides the contract's routes: documents, health, metrics."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import giving
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.clients import Clients, Upstream
from gateway.convert import to_json
from gateway.exchange import Answer, Exchange
from gateway.metrics import Metrics
from gateway.problems import MethodNotAllowed

Page: TypeAlias = Callable[[Exchange], Awaitable[Answer]]

NO_STORE = [(b"cache-control", b"no-store")]
_READY_DEADLINE_S = 1.0
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    b"/docs": ("docs.html", b"text/html; charset=utf-8"),
    b"/docs/docs.css": ("docs.css", b"text/css; charset=utf-8"),
    b"/docs/docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
}


def documents() -> dict[bytes, Page]:
    """The pages for people and the contract for programs."""
    web = resources.files("gateway") / "web"
    pages = {path: _fixed((web / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
    # Generated beside the Python modules: gen/openapi.json next to gen/giving.
    contract = Path(next(iter(giving.__path__))).parent / "openapi.json"
    return pages | {b"/openapi.json": _fixed(contract.read_bytes(), b"application/json"), b"/": _redirect_to_docs}


def operations(clients: Clients, metrics: Metrics) -> dict[bytes, Page]:
    """Health and metrics."""

    async def ready(_: Exchange) -> Answer:
        found = await readiness(clients)
        return _state(200 if all(state == "SERVING" for state in found.values()) else 503, found)

    async def numbers(_: Exchange) -> Answer:
        return Answer(200, metrics.text(), b"text/plain; version=0.0.4; charset=utf-8", NO_STORE)

    return {b"/healthz": _alive, b"/readyz": ready, b"/metrics": numbers}


def readable(page: Page) -> Page:
    """The page for GET and HEAD only."""

    async def read(exchange: Exchange) -> Answer:
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(allow="GET, HEAD")
        return await page(exchange)

    return read


async def readiness(clients: Clients) -> Mapping[str, str]:
    """What each configured upstream says about its health, by its name."""
    upstreams = list(clients.by_package.values())
    states = await asyncio.gather(*(_health(upstream) for upstream in upstreams))
    return {upstream.name: state for upstream, state in zip(upstreams, states, strict=True)}


async def _health(upstream: Upstream) -> str:
    stub: Any = health_pb2_grpc.HealthStub(upstream.channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_READY_DEADLINE_S)
    except grpc.aio.AioRpcError:
        return "NOT_REACHED"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _state(status: int, upstreams: Mapping[str, str]) -> Answer:
    word = "ready" if status == 200 else "not ready"  # noqa: PLR2004 - the status this function is given
    return Answer(status, to_json({"status": word, "upstreams": upstreams}), b"application/json", NO_STORE)


async def _alive(_: Exchange) -> Answer:
    return Answer(200, b'{"status":"alive"}', b"application/json", NO_STORE)


async def _redirect_to_docs(_: Exchange) -> Answer:
    return Answer(307, b"", b"text/plain", [(b"location", b"/docs"), *NO_STORE])


def _fixed(content: bytes, content_type: bytes) -> Page:
    etag = b'"%s"' % hashlib.sha256(content).hexdigest()[:16].encode()
    headers = [(b"cache-control", b"no-cache"), (b"etag", etag), (b"content-security-policy", _POLICY)]

    async def page(exchange: Exchange) -> Answer:
        if exchange.header(b"if-none-match").removeprefix("W/").encode("latin-1") == etag:
            return Answer(304, b"", b"", headers)
        return Answer(200, content, content_type, headers)

    return page
