"""The fence of commands."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from mesh.fence import Fence
from mesh.postgres import Connection
from payment_svc.domain.ledger import NOBODY


@dataclass(frozen=True, slots=True)
class Command:
    """What was asked for: `subject` is the id of what it is about."""

    method: str
    subject: str
    reason: str
    charity_id: UUID = NOBODY


class CommandStore:
    """Commands in PostgreSQL: who asked for what, and why."""

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._queries = queries

    async def is_new(self, connection: Connection, command: Command, fence: Fence, *, now: datetime.datetime) -> bool:
        """Whether the command is given for the first time; it is recorded then.

        Raises:
            IdempotencyKeyReused: the key was used for another one.
        """
        inserted = await connection.fetchval(
            self._queries["insert_command"],
            command.charity_id,
            fence.key,
            fence.digest,
            command.method,
            command.subject,
            command.reason,
            fence.caller,
            fence.correlation_id,
            now,
        )
        if inserted is not None:
            return True
        fence.demand_same(await connection.fetchval(self._queries["command_digest"], command.charity_id, fence.key))
        return False

    async def demand_unused(self, connection: Connection, command: Command, fence: Fence) -> None:
        """Looks, for a rehearsal, whether the command could be given; records nothing.

        Raises:
            IdempotencyKeyReused: the key was used for another one.
        """
        digest = await connection.fetchval(self._queries["command_digest"], command.charity_id, fence.key)
        if digest is not None:
            fence.demand_same(digest)
