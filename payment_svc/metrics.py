"""What the service counts beyond what every server does."""

from __future__ import annotations

from prometheus_client import Counter

WEBHOOK_EVENTS = Counter(
    "webhook_events", "Webhooks of the provider by where they stand after a look: applied, parked, quarantined", ["result"]
)
