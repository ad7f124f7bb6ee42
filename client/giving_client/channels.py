"""How both clients reach the mesh: one channel each, reconnecting by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from giving_client.retries import RetryPolicy

TIMEOUT_S = 5.0
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            # Below the client's own attempts: heals what another server of the same name can answer at once.
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # At most about one retry in ten calls once the mesh is in trouble.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
OPTIONS: Sequence[tuple[str, str | int]] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # The default back-off grows to two minutes; a restarted mesh has to be found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds every call of a client."""

    timeout_s: float
    policy: RetryPolicy

    def timeout_of(self, asked: float | None) -> float:
        """Seconds that one attempt may take."""
        return self.timeout_s if asked is None else asked
