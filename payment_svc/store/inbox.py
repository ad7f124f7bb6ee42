"""Webhooks of the provider: raw, sealed, each once for ever."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.postgres import Connection
from mesh.seal import Seal, SealBroken
from payment_svc.domain.inbound import Place, ProviderEvent


@dataclass(frozen=True, slots=True)
class Parked:
    """A webhook that waits for something that was not known when it came."""

    event_id: str
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
        """Stores a webhook where it stands; False where it came before."""
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
            event.time,
            now,
        )
        return stored is not None

    async def settle(self, connection: Connection, event_id: str, place: Place, *, now: datetime.datetime) -> None:
        """Moves a stored webhook to where it stands now."""
        await connection.execute(
            self._queries["settle_provider_event"], event_id, place.state, place.reason, place.next_attempt_time, now
        )

    async def next_parked(self, connection: Connection, *, now: datetime.datetime) -> Parked | None:
        """A parked webhook that is due, locked until the transaction ends; without body where our key does not open it."""
        row = await connection.fetchrow(self._queries["parked_provider_event"], now)
        if row is None:
            return None
        return Parked(row["event_id"], self._opened(row), row["attempts"], row["create_time"])

    def _opened(self, row: Any) -> bytes:
        try:
            return self._seal.open(row["body"], belongs_to=row["event_id"].encode())
        except SealBroken:
            return b""

    async def hasten(self, connection: Connection, intent_id: str, *, now: datetime.datetime) -> None:
        """What waited for an intent is due at once."""
        await connection.execute(self._queries["hasten_parked"], intent_id, now)
