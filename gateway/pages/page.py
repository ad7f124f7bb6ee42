"""What a page is, how one is found, and how fixed bytes become one."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from gateway.exchange import Answer, Exchange
from gateway.problems import MethodNotAllowed

Page: TypeAlias = Callable[[Exchange], Awaitable[Answer]]

NO_STORE = [(b"cache-control", b"no-store")]
_CACHING = b"no-cache"  # keep it, but ask each time: the tag makes that cheap
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Pages:
    """Pages by path. A path whose last segment is {a variable} takes any one segment there."""

    def __init__(self, pages: Mapping[bytes, Page]) -> None:
        self._exact = {path: (path.decode(), page) for path, page in pages.items()}
        self._below = {_folder(path): found for path, found in self._exact.items() if path.endswith(b"}")}

    def find(self, path: bytes) -> tuple[str, Page] | None:
        """The page and the template of its path; None where no page has it."""
        return self._exact.get(path) or self._below.get(_folder(path))


def readable(page: Page) -> Page:
    """The page for GET and HEAD only."""

    async def read(exchange: Exchange) -> Answer:
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(allow="GET, HEAD")
        return await page(exchange)

    return read


def fixed(content: bytes, content_type: bytes, *, policy: bytes = _POLICY, caching: bytes = _CACHING) -> Page:
    """The same bytes for everyone, sent once to each."""
    etag = b'"%s"' % hashlib.sha256(content).hexdigest()[:16].encode()
    headers = [(b"cache-control", caching), (b"etag", etag), (b"content-security-policy", policy)]

    async def page(exchange: Exchange) -> Answer:
        if exchange.header(b"if-none-match").removeprefix("W/").encode("latin-1") == etag:
            return Answer(304, b"", b"", headers)
        return Answer(200, content, content_type, headers)

    return page


def _folder(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]
