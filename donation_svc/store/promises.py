"""Promises: donations whose payment we take, and what is personal of them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from donation_svc.domain.donations import Donation
from donation_svc.store import rows
from mesh.fence import Fence
from mesh.postgres import Connection, Database


@dataclass(frozen=True, slots=True)
class Change:
    """A donation after its change, and in which call it changed."""

    donation: Donation
    correlation_id: str


class PromiseStore:
    """Promises in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def insert(self, connection: Connection, promise: Donation, fence: Fence, *, recent_id: UUID) -> Donation | None:
        """Records a promise; returns it with its hint to a possible duplicate, or None where its fence exists."""
        row = await connection.fetchrow(
            self._queries["insert_promise"],
            promise.id,
            promise.charity_id,
            promise.campaign_id,
            promise.donor_id,
            promise.origin,
            promise.state,
            promise.amount.currency,
            promise.amount.minor_units,
            promise.fee_cover,
            promise.anonymous,
            fence.key,
            fence.digest,
            fence.caller,
            json.dumps(dict(promise.metadata)),
            promise.next_attempt_time,
            promise.version,
            fence.correlation_id,
            promise.create_time,
            recent_id,
            promise.manual_capture,
        )
        return replace(promise, possible_duplicate_of=row["possible_duplicate_of"]) if row else None

    async def keep_key(self, connection: Connection, owner_id: UUID, sealed_key: bytes, *, now: datetime.datetime) -> bytes:
        """The donor's sealed key: the given one unless there is one already."""
        await connection.execute(self._queries["insert_donor_key"], owner_id, sealed_key, now)
        kept: bytes = await connection.fetchval(self._queries["donor_key"], owner_id)
        return kept

    async def keep_personal(self, connection: Connection, donation: Donation, owner_id: UUID, sealed: bytes) -> None:
        await connection.execute(self._queries["insert_personal"], donation.id, donation.charity_id, owner_id, sealed)

    async def by_fence(self, charity_id: UUID, fence: Fence) -> tuple[Donation, int] | None:
        """What an earlier request recorded, and the digest of that request."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["donations_by_request"], [charity_id], [fence.key])
        return (rows.donation(row), row["request_digest"]) if row else None

    async def lock_many(self, connection: Connection, donation_ids: Collection[UUID]) -> dict[UUID, Donation]:
        """Donations by id, locked until the transaction ends; unknown ones are missing."""
        records = await connection.fetch(self._queries["lock_donations"], list(donation_ids))
        return {record["id"]: rows.donation(record) for record in records}

    async def update(self, connection: Connection, changes: Sequence[Change], *, actor: str) -> None:
        """Stores donations that the transaction has locked."""
        *columns, correlation_ids = _columns(changes)
        await connection.execute(self._queries["update_promises"], *columns, actor, correlation_ids)

    async def claim_due(self, *, now: datetime.datetime, until: datetime.datetime, limit: int) -> list[Donation]:
        """Open donations whose time has come; nobody else gets them before `until`."""
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries["claim_due"], now, until, limit)
        return [rows.donation(record) for record in records]

    async def postpone(self, donation: Donation, *, until: datetime.datetime, waiting_for: str) -> None:
        """Looks at an open donation later, unless it has changed meanwhile."""
        async with self._database.connection() as connection:
            await connection.execute(
                self._queries["postpone"], donation.id, donation.charity_id, donation.version, until, waiting_for
            )

    async def versions(self, donation_ids: Collection[UUID]) -> dict[UUID, int]:
        """The versions of donations."""
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries["donation_versions"], list(donation_ids))
        return {record["id"]: record["version"] for record in records}

    async def get_many(self, donation_ids: Collection[UUID]) -> list[Donation]:
        """Donations by id; unknown ones are missing."""
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries["donations_by_id"], list(donation_ids))
        return [rows.donation(record) for record in records]

    async def open_page(self, *, before: datetime.datetime, after: UUID, limit: int) -> list[Donation]:
        """Open donations that were recorded before a moment, oldest first, whose id is above `after`."""
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries["open_donations"], before, after, limit)
        return [rows.donation(record) for record in records]


def _columns(changes: Sequence[Change]) -> tuple[list[Any], ...]:
    """One array per column, in the order of `update_promises`; correlation ids last."""
    return tuple(
        list(column) for column in zip(*((*_row(change.donation), change.correlation_id) for change in changes), strict=True)
    )


def _row(donation: Donation) -> tuple[Any, ...]:
    return (
        donation.id,
        donation.charity_id,
        donation.state,
        donation.tally.gross,
        donation.tally.refunded,
        donation.tally.disputed,
        donation.failure_code,
        donation.retryable,
        donation.payment_id,
        donation.payment_version,
        donation.next_attempt_time,
        donation.attempts,
        donation.waiting_for,
        donation.version,
        donation.update_time,
        donation.settle_time,
        donation.hold_end_time,
    )
