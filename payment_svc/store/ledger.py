"""The ledger in PostgreSQL. Statements stand in queries.sql."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from mesh.money import Money
from mesh.postgres import Connection, Database, fetch_one
from payment_svc.domain.ledger import Batch, DonationChange, Entry, Posting, Verification, Violation
from payment_svc.ledger import batch_of, owed_delta

# The driver's own bound, a little above that of `read_at_length`: the database's answer says more.
_READ_ALL_S = 57


class LedgerStore:
    """Postings, entries, and the events that they come from."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def apply(
        self, connection: Connection, changes: Collection[DonationChange], ids: Mapping[Batch, UUID]
    ) -> set[UUID]:
        """Takes events for posted under these posting ids; the ids of those that were new."""
        rows = [
            (
                change.day,
                change.event_id,
                change.tx,
                change.epoch,
                change.donation_id,
                ids[batch_of(change)],
                owed_delta(change),
            )
            for change in changes
        ]
        return {record["event_id"] for record in await connection.fetch(self._queries["apply"], *_columns(rows))}

    async def insert(self, connection: Connection, postings: Sequence[Posting], *, source: str) -> None:
        """Writes whole postings: all headers, then all entries in one statement."""
        headers = [
            (
                posting.id,
                posting.charity_id,
                posting.campaign_id,
                posting.kind,
                posting.payment_id,
                posting.reverses,
                posting.settlement_id,
            )
            for posting in postings
        ]
        entries = [row for posting in postings for row in _entry_rows(posting)]
        await connection.execute(self._queries["insert_postings"], *_columns(headers), source)
        await connection.execute(self._queries["insert_entries"], *_columns(entries))

    async def captured_posting(self, connection: Connection, payment_id: UUID) -> UUID | None:
        """The posting of what a payment took."""
        found: UUID | None = await connection.fetchval(self._queries["captured_posting"], payment_id)
        return found

    async def verify(self, *, violations_max: int) -> Verification:
        """Reads everything, in one snapshot."""
        async with self._reading() as connection:
            (sizes,) = await connection.fetch(self._queries["sizes"], timeout=_READ_ALL_S)
            found = await connection.fetch(self._queries["violations"], violations_max, timeout=_READ_ALL_S)
        return Verification(tuple(map(_violation, found)), sizes["postings"], sizes["entries"])

    async def has_account(self, account: str) -> bool:
        async with self._database.connection() as connection:
            return bool((await fetch_one(connection, self._queries["account_exists"], account))["exists"])

    async def balances(self, account: str, *, campaign_id: UUID | None, as_of: datetime.datetime | None) -> list[Money]:
        """One amount per currency, debit positive."""
        async with self._reading() as connection:
            # Two statements: one condition that may be absent is no index condition.
            query = self._queries["balance_of_campaign" if campaign_id else "balance"]
            asked = (account, as_of, campaign_id) if campaign_id else (account, as_of)
            found = await connection.fetch(query, *asked, timeout=_READ_ALL_S)
        return [Money(record["balance"], record["currency"]) for record in found]

    async def entries_of(self, reference_id: UUID) -> list[Entry]:
        """The entries of the postings of a donation or payment, oldest first."""
        async with self._database.connection() as connection:
            found = await connection.fetch(self._queries["entries_of_reference"], reference_id)
        return [_entry(record) for record in found]

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        """One snapshot that may be read for long."""
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(self._queries["read_at_length"])
            yield connection


def _entry_rows(posting: Posting) -> list[tuple[object, ...]]:
    return [
        (posting.id, number, line.account, posting.campaign_id, line.amount.currency, line.amount.minor_units)
        for number, line in enumerate(posting.lines, start=1)
    ]


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    """Rows as the arrays that SQL takes."""
    return [list(column) for column in zip(*rows, strict=True)]


def _violation(record: Any) -> Violation:
    total = None if record["currency"] is None else Money(int(record["total"]), record["currency"])
    return Violation(record["posting_id"], total)


def _entry(record: Any) -> Entry:
    return Entry(
        posting_id=record["posting_id"],
        account=record["account"],
        campaign_id=record["campaign_id"],
        amount=Money(record["amount"], record["currency"]),
        create_time=record["create_time"],
        kind=record["kind"],
        reverses=record["reverses"],
    )
