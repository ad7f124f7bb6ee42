"""Charities and the fence of commands."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from uuid import UUID

from donation_svc.domain.causes import Charity, CharityState
from donation_svc.store import rows
from mesh.events.log import EventLog, NewEvent
from mesh.fence import Fence
from mesh.postgres import Connection, Database, fetch_one


class CharityStore:
    """Charities in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str], log: EventLog) -> None:
        self._database = database
        self._queries = queries
        self._log = log

    async def insert(self, charity: Charity, fence: Fence, event: NewEvent) -> tuple[Charity, int] | None:
        """Stores and announces a new charity; otherwise the earlier one and the digest of its request."""
        async with self._database.transaction() as connection:
            created = await connection.fetchval(
                self._queries["insert_charity"],
                charity.id,
                charity.display_name,
                charity.state,
                charity.mode,
                charity.default_currency,
                charity.time_zone,
                fence.key,
                fence.digest,
                fence.caller,
                fence.correlation_id,
                charity.create_time,
            )
            if created:
                await self._log.append(connection, [event])
                return None
            earlier = await fetch_one(connection, self._queries["charity_by_request"], fence.key)
        return rows.charity(earlier), earlier["request_digest"]

    async def get(self, charity_id: UUID) -> Charity | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["charity"], charity_id)
        return rows.charity(row) if row else None

    async def lock(self, connection: Connection, charity_id: UUID) -> Charity | None:
        row = await connection.fetchrow(self._queries["charity_for_update"], charity_id)
        return rows.charity(row) if row else None

    async def set_state(
        self, connection: Connection, charity_id: UUID, state: CharityState, fence: Fence, *, now: datetime.datetime
    ) -> None:
        await connection.execute(
            self._queries["set_charity_state"], charity_id, state, fence.caller, fence.correlation_id, now
        )


class CommandStore:
    """The fence of commands that create nothing."""

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._queries = queries

    async def is_new(
        self,
        connection: Connection,
        fence: Fence,
        *,
        charity_id: UUID,
        method: str,
        subject_id: UUID,
        reason: str,
        now: datetime.datetime,
    ) -> bool:
        """Whether the command is given for the first time.

        Raises:
            IdempotencyKeyReused: its key was used for another one.
        """
        inserted = await connection.fetchval(
            self._queries["insert_command"],
            charity_id,
            fence.key,
            fence.digest,
            method,
            subject_id,
            reason,
            fence.caller,
            fence.correlation_id,
            now,
        )
        if inserted is not None:
            return True
        fence.demand_same(await connection.fetchval(self._queries["command_digest"], charity_id, fence.key))
        return False
