"""What the service counts beyond what every server does."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WEBHOOK_EVENTS = Counter(
    "webhook_events",
    "Events of the provider by what became of them after a look: applied, parked, quarantined, repeated, refused",
    ["type", "result"],
)
WEBHOOK_EVENTS_WAITING = Gauge("webhook_events_waiting", "Events that are parked or quarantined", ["state"])
