"""Webhooks of the provider: raw, sealed, each once for ever."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.postgres import Connection
from mesh.seal import Seal, SealBroken
from payment_svc.domain.inbound import EventState, Place, ProviderEvent


@dataclass(frozen=True, slots=True)
class Unapplied:
    """A webhook without effect so far, such as one that waits for something that was not known when it came."""

    event_id: str
    type: str
    body: bytes
    attempts: int
    create_time: datetime.datetime


class Inbox:
    """Inbound events in PostgreSQL."""

    def __init__(self, queries: Mapping[str, str], seal: Seal) -> None:
        self._queries = queries
        self._seal = seal

    async def insert(
        self,
        connection: Connection,
        event: ProviderEvent,
        place: Place,
        *,
        body: bytes,
        signature: str,
        now: datetime.datetime,
    ) -> bool:
        """Stores a webhook where it stands; False where it came before. Without signature: we asked for it."""
        stored = await connection.fetchval(
            self._queries["insert_provider_event"],
            event.event_id,
            event.type,
            event.intent_id,
            place.state,
            place.reason,
            place.next_attempt_time,
            self._seal.close(body, belongs_to=event.event_id.encode()),
            signature,
            not signature,
            event.time,
            now,
        )
        return stored is not None

    async def settle(
        self, connection: Connection, event_id: str, place: Place, *, attempts: int, now: datetime.datetime
    ) -> None:
        """Moves a stored webhook to where it stands after so many looks."""
        await connection.execute(
            self._queries["settle_provider_event"],
            event_id,
            place.state,
            place.reason,
            place.next_attempt_time,
            attempts,
            now,
        )

    async def known(self, connection: Connection, event_ids: Collection[str]) -> set[str]:
        """Which of these came before."""
        rows = await connection.fetch(self._queries["known_provider_events"], list(event_ids))
        return {row["event_id"] for row in rows}

    async def next_parked(self, connection: Connection, *, now: datetime.datetime) -> Unapplied | None:
        """A parked webhook that is due, locked until the transaction ends."""
        return self._unapplied(await connection.fetchrow(self._queries["parked_provider_event"], now))

    async def lock(self, connection: Connection, event_id: str, *, states: Collection[EventState]) -> Unapplied | None:
        """A webhook in one of the states, none of which is applied, locked until the transaction ends."""
        return self._unapplied(await connection.fetchrow(self._queries["unapplied_provider_event"], event_id, list(states)))

    def _unapplied(self, row: Any) -> Unapplied | None:
        if row is None:
            return None
        return Unapplied(row["event_id"], row["type"], opened(self._seal, row), row["attempts"], row["create_time"])

    async def hasten(self, connection: Connection, intent_id: str, *, now: datetime.datetime) -> None:
        """What waited for an intent is due at once."""
        await connection.execute(self._queries["hasten_parked"], intent_id, now)


def opened(seal: Seal, row: Any) -> bytes:
    """The body of a stored webhook as it came; empty where our key does not open it."""
    try:
        return seal.open(row["body"], belongs_to=row["event_id"].encode())
    except SealBroken:
        return b""
