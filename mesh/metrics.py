"""Prometheus metrics that every service shares; names after gRFC A66 and Prometheus' own conventions."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RPC_SECONDS = Histogram(
    "grpc_server_call_duration_seconds", "Time to answer a call", ["grpc_method", "grpc_status"], buckets=_SECONDS
)
RELAY_PUBLISHED = Counter("relay_published_events_total", "Events that the broker acknowledged", ["service"])
RELAY_REPUBLISHED = Counter("relay_republished_events_total", "Events that were published again to heal", ["service"])
RELAY_PENDING = Gauge("relay_pending", "Events that are not published yet, counted up to a bound", ["service"])
RELAY_OLDEST_AGE_SECONDS = Gauge("relay_oldest_age_seconds", "Age of the oldest unpublished event", ["service"])
CONSUMER_EVENTS = Counter("consumer_events_total", "Events by what became of them", ["consumer", "result"])
CONSUMER_LAG_SECONDS = Gauge(
    "consumer_lag_seconds",
    "Time since all that its stream held had been applied",
    ["consumer"],
)
CONSUMER_PENDING = Gauge("consumer_pending", "Messages that the consumer has not seen yet", ["consumer"])
