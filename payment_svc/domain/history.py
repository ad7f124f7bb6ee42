"""What is written down of a payment beyond how it stands: what was asked for, came in, was posted, changed."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mesh.money import Money
from payment_svc.domain.inbound import StoredEvent
from payment_svc.domain.payments import Payment
from payment_svc.domain.settlement import ItemClass, Movement


@dataclass(frozen=True, slots=True)
class Origin:
    """Who had the payment recorded, and in which call."""

    actor: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command: `subject` is the id of what it is about."""

    time: datetime.datetime
    method: str
    subject: str
    actor: str
    reason: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Posted:
    """A posting: what it moved in each currency, or of a batch the donation's own part."""

    time: datetime.datetime
    posting_id: UUID
    kind: str
    amounts: tuple[Money, ...]
    reverses: UUID | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A movement on our balance at the provider, since when it is known, and what it is beside our books."""

    time: datetime.datetime
    movement: Movement
    item_class: ItemClass


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
    """All that is known. `payment` is None of what no payment belongs to; `cut`: lists whose oldest items are missing."""

    payment: Payment | None
    origin: Origin = Origin()
    events: tuple[StoredEvent, ...] = ()
    asked: tuple[Asked, ...] = ()
    postings: tuple[Posted, ...] = ()
    moved: tuple[Moved, ...] = ()
    changes: tuple[Change, ...] = ()
    cut: tuple[str, ...] = ()
