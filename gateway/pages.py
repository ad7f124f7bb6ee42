"""What the gateway serves besides the contract's routes: documents, and its signs of life."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TypeAlias

from gateway.exchange import Answer, Exchange
from gateway.problems import MethodNotAllowed

Page: TypeAlias = Callable[[Exchange], Awaitable[Answer]]

NO_STORE = [(b"cache-control", b"no-store")]
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
    contract = resources.files("giving") / "openapi.json"
    return pages | {b"/openapi.json": _fixed(contract.read_bytes(), b"application/json"), b"/": _redirect_to_docs}


def signs_of_life(ready: Page) -> dict[bytes, Page]:
    """Whether the process lives, and whether it takes requests."""
    return {b"/healthz": _alive, b"/readyz": ready}


def readable(page: Page) -> Page:
    """The page for GET and HEAD only."""

    async def read(exchange: Exchange) -> Answer:
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(allow="GET, HEAD")
        return await page(exchange)

    return read


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
