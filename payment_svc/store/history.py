"""What is written down of a payment, read as it stood at one moment."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence, Sized
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any
from uuid import UUID

from mesh.money import Money
from mesh.postgres import Connection, Database, fetch_one
from payment_svc.domain.history import Asked, Change, History, Moved, Origin, Posted
from payment_svc.domain.inbound import StoredEvent
from payment_svc.domain.payments import Payment
from payment_svc.domain.settlement import ItemClass
from payment_svc.domain.trace import LISTED_MAX
from payment_svc.store.inbound_events import event_from
from payment_svc.store.payments import PaymentStore
from payment_svc.store.settlement import movement_from

# One more than is shown says that there are more.
_LIMIT = LISTED_MAX + 1


class HistoryStore:
    """Histories in PostgreSQL: one snapshot, and a number of statements that no history changes."""

    def __init__(self, database: Database, payments: PaymentStore, queries: Mapping[str, str]) -> None:
        self._database = database
        self._payments = payments
        self._queries = queries

    async def read(self, reference: str) -> History | None:
        """What is known of a payment by any id of it, or of what no payment here belongs to; None: nothing is."""
        async with self._reading() as connection:
            payment_id = await connection.fetchval(self._queries["traced_payment"], reference, _uuid(reference))
            payment = await self._payments.read(connection, payment_id) if payment_id else None
            if payment is None:
                return await self._stray(connection, reference)
            return await self._of_payment(connection, payment)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def _of_payment(self, connection: Connection, payment: Payment) -> History:
        origin = await fetch_one(connection, self._queries["traced_origin"], payment.id)
        events = await self._events(connection, intent_id=payment.provider_id)
        subjects = [str(payment.id), *(event.event_id for event in events)]
        asked = await connection.fetch(self._queries["traced_commands"], subjects, _LIMIT)
        posted = _postings(await connection.fetch(self._queries["traced_postings"], payment.id, _LIMIT))
        moved = await connection.fetch(self._queries["traced_movements"], payment.id, _LIMIT)
        changes = await connection.fetch(self._queries["traced_changes"], payment.id, _LIMIT)
        lists: dict[str, Sized] = {
            "provider's events": events,
            "commands": asked,
            "postings": posted,
            "movements": moved,
            "changes": changes,
        }
        return History(
            payment=payment,
            origin=Origin(origin["actor"], origin["correlation_id"]),
            events=tuple(events[-LISTED_MAX:]),
            asked=tuple(map(_asked, reversed(asked[:LISTED_MAX]))),
            postings=tuple(posted[-LISTED_MAX:]),
            moved=tuple(map(_moved, reversed(moved[:LISTED_MAX]))),
            changes=tuple(map(_change, reversed(changes[:LISTED_MAX]))),
            cut=_cut(lists),
        )

    async def _stray(self, connection: Connection, reference: str) -> History | None:
        """Events about an intent that no payment has, or the postings of a donation that a checkout charged."""
        intent_id = await connection.fetchval(self._queries["traced_stray"], reference) or reference
        events = await self._events(connection, intent_id=intent_id, event_id=reference)
        rows = await connection.fetch(self._queries["traced_recorded"], _uuid(reference), _LIMIT)
        if not events and not rows:
            return None
        lists: dict[str, Sized] = {"provider's events": events, "postings": rows}
        return History(
            payment=None,
            events=tuple(events[-LISTED_MAX:]),
            postings=tuple(_postings(rows[-LISTED_MAX:])),
            cut=_cut(lists),
        )

    async def _events(self, connection: Connection, *, intent_id: str, event_id: str = "") -> list[StoredEvent]:
        """Oldest first."""
        rows = await connection.fetch(self._queries["traced_events"], intent_id, event_id, _LIMIT)
        return [event_from(row) for row in reversed(rows)]


def _cut(lists: Mapping[str, Sized]) -> tuple[str, ...]:
    return tuple(name for name, found in lists.items() if len(found) > LISTED_MAX)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _asked(row: Any) -> Asked:
    return Asked(
        time=row["create_time"],
        method=row["method"],
        subject=row["subject"],
        actor=row["actor"],
        reason=row["reason"],
        correlation_id=row["correlation_id"],
    )


def _postings(rows: Sequence[Any]) -> list[Posted]:
    """Postings of their rows, which have one currency each and stand together."""
    return [
        Posted(
            time=first["time"],
            posting_id=posting_id,
            kind=first["kind"],
            amounts=tuple(Money(row["amount"], row["currency"]) for row in (first, *others)),
            reverses=first.get("reverses"),
        )
        for posting_id, (first, *others) in groupby(rows, key=lambda row: row["id"])
    ]


def _moved(row: Any) -> Moved:
    return Moved(row["create_time"], movement_from(row), ItemClass(row["class"]))


def _change(row: Any) -> Change:
    return Change(
        time=row["time"],
        object=row["object"],
        object_id=row["object_id"],
        before=json.loads(row["before"] or "{}"),
        after=json.loads(row["after"] or "{}"),
        actor=row["actor"],
        correlation_id=row["correlation_id"],
        reason=row["reason"],
        database_role=row["database_role"],
        by_hand=row["by_hand"],
    )
