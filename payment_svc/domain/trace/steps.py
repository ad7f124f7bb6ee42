"""A step, and how its details are written."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from mesh.money import Money

# As many of each kind as an answer holds, the newest: what is told of more is told by the lists themselves.
LISTED_MAX = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One moment: what happened, with ids and amounts as text."""

    time: datetime.datetime
    what: str
    details: Mapping[str, str]


def given(**details: object) -> dict[str, str]:
    """Those details that there are."""
    return {name: str(value) for name, value in details.items() if value not in (None, "")}


def of_amount(name: str, amount: Money) -> dict[str, str]:
    """An amount as people read it, and as the contract counts it."""
    return {name: str(amount), f"{name}_minor_units": str(amount.minor_units)}


def of_time(time: datetime.datetime | None) -> str:
    """RFC 3339 in UTC, as the contract writes times; empty where there is none."""
    return time.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z") if time else ""
