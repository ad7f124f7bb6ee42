"""Inbound events as operators see them: lists, one with its body, decisions."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from mesh.fence import Fence
from mesh.pages import Position
from mesh.postgres import Connection, Database, fetch_one
from mesh.seal import Seal
from payment_svc.domain.inbound import EventState, Place, StoredEvent
from payment_svc.store.inbox import opened


class InboundEvents:
    """Stored events of the provider in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str], seal: Seal) -> None:
        self._database = database
        self._queries = queries
        self._seal = seal

    async def get(self, event_id: str) -> tuple[StoredEvent, bytes] | None:
        """An event and its body as it came, empty where our key does not open it."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["provider_event"], event_id)
        return (event_from(row), opened(self._seal, row)) if row else None

    async def lock(self, connection: Connection, event_id: str) -> StoredEvent | None:
        """The event, locked until the transaction ends."""
        row = await connection.fetchrow(self._queries["provider_event_for_update"], event_id)
        return event_from(row) if row else None

    async def page(self, state: EventState | None, *, before: Position, limit: int) -> list[StoredEvent]:
        """Events in one state or any, newest first, before a position."""
        applied_too = state in (None, EventState.APPLIED)
        query = "provider_events_page" if applied_too else "unapplied_provider_events_page"
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries[query], before.time, before.name, state or 0, limit)
        return [event_from(row) for row in rows]

    async def named(self, connection: Connection, event_ids: Collection[str]) -> list[StoredEvent]:
        """The events with these ids that there are, oldest first."""
        return _events(await connection.fetch(self._queries["provider_events_named"], list(event_ids)))

    async def waiting(
        self,
        connection: Connection,
        *,
        event_type: str,
        since: datetime.datetime | None,
        until: datetime.datetime | None,
        limit: int,
    ) -> list[StoredEvent]:
        """What is parked or quarantined, of a type or of any (empty), that came in a time, oldest first."""
        rows = await connection.fetch(self._queries["waiting_provider_events"], event_type, since, until, limit)
        return _events(rows)

    async def of_command(self, connection: Connection, request_key: UUID) -> list[StoredEvent]:
        """The events that a command of an operator was about, oldest first."""
        return _events(await connection.fetch(self._queries["provider_events_of_command"], request_key))

    async def stamp(
        self, connection: Connection, event_ids: Collection[str], fence: Fence, *, reason: str, now: datetime.datetime
    ) -> None:
        """Says which command these events are part of; what is applied stays as it is."""
        await connection.execute(
            self._queries["stamp_provider_events"], list(event_ids), reason, fence.caller, fence.key, now
        )

    async def skip(
        self, connection: Connection, event_id: str, fence: Fence, *, reason: str, now: datetime.datetime
    ) -> None:
        """Gives an event up."""
        await connection.execute(self._queries["skip_provider_event"], event_id, reason, fence.caller, fence.key, now)

    async def count_waiting(self) -> Mapping[EventState, int]:
        """How many events are parked, and how many quarantined."""
        async with self._database.connection() as connection:
            row = await fetch_one(connection, self._queries["count_waiting_provider_events"])
        return {EventState.PARKED: row["parked"], EventState.QUARANTINED: row["quarantined"]}


def _events(rows: Sequence[Any]) -> list[StoredEvent]:
    return [event_from(row) for row in rows]


def event_from(row: Any) -> StoredEvent:
    return StoredEvent(
        event_id=row["event_id"],
        type=row["type"],
        intent_id=row["intent_id"],
        place=Place(EventState(row["state"]), row["reason"], row["next_attempt_time"]),
        attempts=row["attempts"],
        polled=row["polled"],
        operator_reason=row["operator_reason"],
        actor=row["actor"],
        provider_time=row["provider_time"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
