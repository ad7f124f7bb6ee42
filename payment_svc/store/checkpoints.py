"""How far lists of the provider have been walked, and who walks."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from mesh.postgres import Database
from payment_svc.domain.walks import Checkpoint


class Checkpoints:
    """Checkpoints in PostgreSQL, each held by one walker at a time."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def claim(self, name: str, *, holder: str, now: datetime.datetime, until: datetime.datetime) -> Checkpoint | None:
        """Takes the checkpoint of a list for one round; None where none is due, or somebody else walks."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["claim_checkpoint"], name, holder, now, until)
        return Checkpoint(row["position"], row["cursor"], row["target"]) if row else None

    async def hasten(self, name: str) -> None:
        """The list is due at once, unless somebody walks it."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["hasten_checkpoint"], name)

    async def prolong(self, name: str, *, holder: str, until: datetime.datetime) -> None:
        """Keeps a checkpoint for its holder."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["prolong_checkpoint"], name, holder, until)

    async def store(
        self, name: str, checkpoint: Checkpoint, *, holder: str, next_time: datetime.datetime, now: datetime.datetime
    ) -> bool:
        """Stores how far the holder has walked and lets go; False where somebody else has taken over."""
        async with self._database.connection() as connection:
            stored = await connection.fetchval(
                self._queries["store_checkpoint"],
                name,
                holder,
                checkpoint.position,
                checkpoint.cursor,
                checkpoint.target,
                next_time,
                now,
            )
        return stored is not None

    async def oldest_payment_time(self) -> datetime.datetime | None:
        """When the oldest payment was recorded."""
        async with self._database.connection() as connection:
            time: datetime.datetime | None = await connection.fetchval(self._queries["oldest_payment_time"])
        return time
