"""Guests: a browser is known by a random number that it keeps, and by nothing else."""

from __future__ import annotations

import re
import uuid

from gateway.exchange import Exchange

COOKIE = "giving_client"
_AGE_S = 400 * 24 * 60 * 60  # as long as browsers keep any cookie
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def client_id_of(exchange: Exchange) -> str:
    """The browser's number; empty where it has none of the right form."""
    for pair in exchange.header(b"cookie").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and _UUID.fullmatch(value):
            return value.lower()
    return ""


def introduction(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The header that gives a browser its number; none where it has one."""
    if client_id_of(exchange):
        return []
    secure = "; Secure" if _came_by_https(exchange) else ""
    cookie = f"{COOKIE}={uuid.uuid4()}; Max-Age={_AGE_S}; Path=/; HttpOnly; SameSite=Lax{secure}"
    return [(b"set-cookie", cookie.encode())]


def is_foreign(exchange: Exchange, origins: frozenset[str]) -> bool:
    """Whether another site's page makes this request; programs and our own pages do not."""
    origin = exchange.header(b"origin")
    if not origin or origin in origins:
        return False
    # Hosts alone are compared: behind a proxy that ends TLS we do not learn the scheme.
    return origin.partition("://")[2] != exchange.header(b"host")


def _came_by_https(exchange: Exchange) -> bool:
    # Believed for this one purpose only: who lies about it loses nothing but his own cookie.
    return exchange.header(b"x-forwarded-proto") == "https" or exchange.scope.get("scheme") == "https"
