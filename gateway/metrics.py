"""What a gateway process counts. Routes are templates, never paths: no ids become labels."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from gateway.exchange import Exchange

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

HTTP_REQUESTS = Counter("http_requests_total", "Answered requests", ["route", "method", "status"])
HTTP_SECONDS = Histogram(
    "http_request_duration_seconds",
    "From the request's head to the end of its answer",
    ["route", "method"],
    buckets=_BUCKETS_S,
)
SSE_READERS = Gauge("sse_readers", "Open event streams")
TOTALS_CACHE_HITS = Counter("totals_cache_hits_total", "Totals answered from memory")


class RequestCounter:
    """Counts answered requests."""

    def __init__(self) -> None:
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, exchange: Exchange, *, status: int, seconds: float | None = None) -> None:
        """Counts an answered request; streams have no time to observe."""
        # Callers may invent methods; labels must not grow with them.
        method = exchange.method if exchange.method in _METHODS else "other"
        key = (exchange.route, method, status)
        # Looking a child up costs more than counting in it.
        requests, durations = self._children.get(key) or self._child(key)
        requests.inc()
        if seconds is not None:
            durations.observe(seconds)

    def _child(self, key: tuple[str, str, int]) -> tuple[Counter, Histogram]:
        route, method, status = key
        child = HTTP_REQUESTS.labels(route, method, status), HTTP_SECONDS.labels(route, method)
        self._children[key] = child
        return child
