"""What the service counts beyond what every server does."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WEBHOOK_EVENTS = Counter(
    "webhook_events",
    "Events of the provider by what became of them after a look: applied, parked, quarantined, repeated, refused",
    ["type", "result"],
)
WEBHOOK_EVENTS_WAITING = Gauge("webhook_events_waiting", "Events that are parked or quarantined", ["state"])
PROVIDER_FAILURES = Counter("provider_failures", "Requests to the provider that it did not answer, or answered with 5xx")
BREAKER_STATE = Gauge(
    "provider_breaker_state", "1 for where the breaker around the provider stands: closed, open, half_open, held", ["state"]
)
BREAKER_TRANSITIONS = Counter("provider_breaker_transitions", "How often the breaker came to stand there", ["state"])
MISSING_AT_PROVIDER = Gauge(
    "settlement_missing_at_provider",
    "Payments of which the provider's balance has shown too little or too much for too long",
)
MISSING_AT_PROVIDER_AGE = Gauge("settlement_missing_at_provider_seconds", "How long the oldest of them has been missing")
