"""What the service counts beyond what every server does."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WEBHOOK_EVENTS = Counter(
    "webhook_events",
    "Events of the provider by what became of them after a look: applied, parked, quarantined, repeated, refused",
    ["type", "result"],
)
WEBHOOK_EVENTS_WAITING = Gauge("webhook_events_waiting", "Events that are parked or quarantined", ["state"])
MISSING_AT_PROVIDER = Gauge(
    "settlement_missing_at_provider",
    "Payments of which the provider's balance has shown too little or too much for too long",
)
MISSING_AT_PROVIDER_AGE = Gauge("settlement_missing_at_provider_seconds", "How long the oldest of them has been missing")
