"""What is written down of a donation beyond how it stands: what was asked for, what went back, what changed."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from donation_svc.domain.donations import Donation, Reversal


@dataclass(frozen=True, slots=True)
class Origin:
    """Who had the donation recorded, and in which call."""

    actor: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A command about the donation."""

    time: datetime.datetime
    method: str
    actor: str
    reason: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A reversal, and who made it in which call."""

    reversal: Reversal
    actor: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the audit trail: the columns that changed, as JSON holds them. `by_hand`: past every line of ours."""

    time: datetime.datetime
    object: str
    object_id: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    actor: str
    correlation_id: str
    reason: str
    database_role: str
    by_hand: bool


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of a donation, oldest first. `cut`: lists whose oldest items are missing."""

    donation: Donation
    origin: Origin
    asked: tuple[Asked, ...] = ()
    taken_back: tuple[TakenBack, ...] = ()
    changes: tuple[Change, ...] = ()
    cut: tuple[str, ...] = ()
