"""What the service counts beyond what every server does."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

REPAIRS = Counter(
    "totals_repairs", "What the verifier put right: totals, displays in Redis, events that never arrived", ["cause"]
)
DRIFTS = Gauge(
    "totals_drifts_open", "What the verifier found wrong and could not put right: an operator's matter", ["cause"]
)
VERIFIED_TIME = Gauge("totals_verified_timestamp_seconds", "When the last round of the verifier ended")
