"""The labelled points of each role, with the passage at which a life ends there at the latest, and what was met of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

# Points that every batch passes come round many times a second.
_RELAY = {"relay.publishing": 20, "relay.published": 20}
_CONSUMER = {"consumer.applying": 12, "consumer.applied": 12}
POINTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "donation": {
            **_RELAY,
            **_CONSUMER,
            "donation.charged_recorded": 15,
            "donation.recorded": 5,
            "donation.payment_made": 5,
            "donation.awaiting": 5,
            "donation.settled": 5,
            "donation.refund_recorded": 1,
            "donation.refund_made": 1,
        },
        "payment": {
            **_RELAY,
            **_CONSUMER,
            "payment.recorded": 5,
            "payment.calling": 5,
            "payment.called": 5,
            "payment.learned": 5,
            "payment.wished": 1,
            "payment.refund_called": 1,
            "webhook.applied": 8,
            "webhook.committed": 8,
        },
        "aggregator": _CONSUMER,
        "gateway": {
            "gateway.CreateDonation": 5,
            "gateway.RefundDonation": 1,
            "gateway.webhook_taken": 8,
            "gateway.webhook_answered": 8,
        },
    }
)
_ON_SHARE = 0.25
_YOUNG_S = 3.0


def choose(seed: str) -> dict[str, Any]:
    """What processes are told: the points that are on with a seed, by role, and how long a life is spared."""
    on = {
        role: {label: last for label, last in points.items() if _source(seed, role, label).random() < _ON_SHARE}
        for role, points in POINTS.items()
    }
    return {"seed": seed, "young_s": _YOUNG_S, "points": on}


def _source(*words: str) -> random.Random:
    return random.Random(":".join(words))  # noqa: S311 - to be repeated


def coverage(lives: Path) -> dict[str, dict[str, int]]:
    """Of each point of a role: in how many lives it was passed, and how many ended there."""
    found: Counter[tuple[str, str]] = Counter(_met(lives))
    return {
        f"{role}/{label}": {"passed": found[f"{role}/{label}", "passed"], "ended": found[f"{role}/{label}", "ended"]}
        for role, points in POINTS.items()
        for label in points
    }


def _met(lives: Path) -> Iterator[tuple[str, str]]:
    for record in sorted(lives.glob("*.*")) if lives.exists() else ():
        role = record.name.partition(".")[0]
        for line in record.read_text().splitlines():
            what, _, label = line.partition(" ")
            yield f"{role}/{label}", what
