"""What is written down of a donation, read as it stood at one moment."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sized
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from donation_svc.domain.history import Asked, Change, History, Origin, TakenBack
from donation_svc.domain.trace import LISTED_MAX, OTHERS_MAX
from donation_svc.store import rows
from mesh.postgres import Connection, Database, fetch_one

# One more than is shown says that there are more.
_LIMIT = LISTED_MAX + 1


class HistoryStore:
    """Histories in PostgreSQL: one snapshot, and a number of statements that no history changes."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def named(self, reference: str) -> list[UUID]:
        """Donations by any id that the donation service knows, newest first; one more than is named beside the first."""
        async with self._database.connection() as connection:
            found = await connection.fetch(self._queries["traced_donations"], reference, _uuid(reference), OTHERS_MAX + 2)
        return [row["id"] for row in found]

    async def read(self, donation_id: UUID) -> History | None:
        """What is known of a donation; None: there is none."""
        async with self._reading() as connection:
            row = await connection.fetchrow(self._queries["donation"], donation_id)
            return await self._of_donation(connection, row) if row else None

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def _of_donation(self, connection: Connection, row: Any) -> History:
        donation = rows.donation(row)
        origin = await fetch_one(connection, self._queries["traced_origin"], donation.id)
        asked = await connection.fetch(self._queries["traced_commands"], donation.id, _LIMIT)
        reversals = await connection.fetch(self._queries["traced_reversals"], donation.id, _LIMIT)
        changes = await connection.fetch(self._queries["traced_changes"], donation.id, _LIMIT)
        lists: dict[str, Sized] = {"commands": asked, "reversals": reversals, "changes": changes}
        return History(
            donation=donation,
            origin=Origin(origin["actor"], origin["correlation_id"]),
            asked=tuple(map(_asked, reversed(asked[:LISTED_MAX]))),
            taken_back=tuple(map(_taken_back, reversed(reversals[:LISTED_MAX]))),
            changes=tuple(map(_change, reversed(changes[:LISTED_MAX]))),
            cut=tuple(name for name, found in lists.items() if len(found) > LISTED_MAX),
        )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _asked(row: Any) -> Asked:
    return Asked(
        time=row["create_time"],
        method=row["method"],
        actor=row["actor"],
        reason=row["reason"],
        correlation_id=row["correlation_id"],
    )


def _taken_back(row: Any) -> TakenBack:
    return TakenBack(rows.reversal(row), actor=row["caller"], correlation_id=row["correlation_id"])


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
