"""What operators decide about the circuit breaker."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from mesh.fence import Fence
from mesh.postgres import Connection, fetch_one
from payment_svc.domain.breaker import Decision


class BreakerStore:
    """The last decision in PostgreSQL."""

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._queries = queries

    async def get(self, connection: Connection) -> Decision:
        """What holds now."""
        return _decision(await fetch_one(connection, self._queries["breaker"]))

    async def decide(
        self, connection: Connection, *, held: bool, reason: str, fence: Fence, now: datetime.datetime
    ) -> Decision:
        """Stores a decision; returns it as it holds then."""
        row = await fetch_one(
            connection, self._queries["set_breaker"], held, reason, fence.caller, fence.correlation_id, now
        )
        return _decision(row)


def _decision(row: Any) -> Decision:
    return Decision(held=row["held"], reason=row["reason"], actor=row["actor"], version=row["version"])
