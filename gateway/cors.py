"""Cross-origin requests: an exact list of origins, never credentials."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.exchange import Answer, Exchange

_ALLOWED_HEADERS = b"authorization, content-type, idempotency-key, if-none-match, last-event-id, traceparent, x-request-id"
_EXPOSED_HEADERS = b"etag, idempotent-replayed, location, retry-after, x-request-id"
_PREFLIGHT_AGE_S = b"600"


class Cors:
    """Answers preflights and marks answers to listed origins."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(self, exchange: Exchange, methods: Sequence[str]) -> Answer | None:
        """The answer to an OPTIONS request that is a preflight of a listed origin; None for anything else."""
        if not exchange.header(b"access-control-request-method"):
            return None
        if exchange.header(b"origin") not in self._origins or not methods:
            return None
        headers = [
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", _ALLOWED_HEADERS),
            (b"access-control-max-age", _PREFLIGHT_AGE_S),
        ]
        return Answer(204, b"", b"", headers)

    def headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        """What an answer to this request carries."""
        if not self._origins:
            return []
        origin = exchange.header(b"origin")
        if origin not in self._origins:
            return [(b"vary", b"origin")]
        return [
            (b"vary", b"origin"),
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        ]
