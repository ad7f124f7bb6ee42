"""Donations and reversals."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from donation_svc.domain.donations import Donation, Reversal
from donation_svc.store import rows
from mesh.events.log import NewEvent
from mesh.fence import Fence
from mesh.postgres import Connection, Database


@dataclass(frozen=True, slots=True)
class NewDonation:
    """A donation that is about to be recorded, with its fence and its announcement."""

    donation: Donation
    fence: Fence
    event: NewEvent


class DonationStore:
    """Donations in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def record(self, new: Sequence[NewDonation], *, recent_id: UUID) -> dict[UUID, UUID | None]:
        """Records and announces what is new, in one statement; returns the new ids, each with its duplicate hint."""
        first = new[0]
        async with self._database.connection() as connection:
            records = await connection.fetch(
                self._queries["record_donations"],
                *_columns(new),
                first.fence.caller,
                recent_id,
                first.fence.correlation_id,
                first.donation.create_time,
            )
        return {record["id"]: record["possible_duplicate_of"] for record in records}

    async def by_fences(self, new: Sequence[NewDonation]) -> dict[tuple[UUID, UUID], tuple[Donation, int]]:
        """What earlier requests recorded, with the digests of those requests, by charity and key."""
        charities = [item.donation.charity_id for item in new]
        keys = [item.fence.key for item in new]
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries["donations_by_request"], charities, keys)
        return {
            (record["charity_id"], record["request_key"]): (rows.donation(record), record["request_digest"])
            for record in records
        }

    async def get(self, donation_id: UUID) -> Donation | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["donation"], donation_id)
        return rows.donation(row) if row else None

    async def lock(self, connection: Connection, *, charity_id: UUID, request_key: UUID) -> Donation | None:
        """The donation that a request made, locked until the transaction ends."""
        row = await connection.fetchrow(self._queries["donation_for_update"], charity_id, request_key)
        return rows.donation(row) if row else None

    async def update_tally(self, connection: Connection, donation: Donation, fence: Fence) -> None:
        await connection.execute(
            self._queries["update_tally"],
            donation.id,
            donation.charity_id,
            donation.state,
            donation.tally.gross,
            donation.tally.refunded,
            donation.tally.disputed,
            donation.version,
            donation.update_time,
            fence.caller,
            fence.correlation_id,
        )

    async def page(self, query: str, owner_id: UUID, *, before: UUID, limit: int, charity_id: UUID | None) -> list[Donation]:
        """Donations of a donor or campaign (`query` says which), newest first, whose id is below `before`."""
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries[query], owner_id, before, limit, charity_id)
        return [rows.donation(record) for record in records]

    async def insert_reversal(self, connection: Connection, reversal: Reversal, fence: Fence) -> bool:
        """Stores a reversal; False where another donation's has its key."""
        stored = await connection.fetchval(
            self._queries["insert_reversal"],
            reversal.id,
            reversal.charity_id,
            reversal.donation_id,
            reversal.amount.minor_units,
            reversal.amount.currency,
            fence.caller,
            reversal.refund_ref,
            fence.key,
            fence.digest,
            fence.correlation_id,
            reversal.create_time,
        )
        return stored is not None

    async def reversal_by_fence(
        self, connection: Connection, *, charity_id: UUID, request_key: UUID
    ) -> tuple[Reversal, int] | None:
        """What an earlier request reversed, and the digest of that request."""
        row = await connection.fetchrow(self._queries["reversal_by_request"], charity_id, request_key)
        return (rows.reversal(row), row["request_digest"]) if row else None


def recent_id(now: datetime.datetime, within: datetime.timedelta) -> UUID:
    """The smallest UUIDv7 of a moment: ids above it were made since."""
    return UUID(int=int((now - within).timestamp() * 1000) << 80)


def _columns(new: Sequence[NewDonation]) -> tuple[list[Any], ...]:
    """One array per column, in the order of `record_donations`."""
    return tuple(
        list(column)
        for column in zip(
            *(
                (
                    item.donation.id,
                    item.donation.charity_id,
                    item.donation.campaign_id,
                    item.donation.donor_id,
                    item.donation.amount.currency,
                    item.donation.amount.minor_units,
                    item.donation.anonymous,
                    item.fence.key,
                    item.fence.digest,
                    item.donation.payment_ref,
                    json.dumps(dict(item.donation.metadata)),
                    item.event.event_id,
                    item.event.payload,
                )
                for item in new
            ),
            strict=True,
        )
    )
