"""Tallies and the log, read for whoever sums them up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from donation_svc.domain.tallies import DonationTally, LogPosition, Return, TallySnapshot
from mesh.events.relay import log_row
from mesh.events.stream import LogRow
from mesh.postgres import Connection, Database, fetch_one

# Rows of one message: some hundred kilobytes, an answer's bound is four megabytes.
PORTION = 2_000
# A reader who is slow for so long has gone; otherwise five seconds would end the transaction.
_PATIENCE = "SET LOCAL idle_in_transaction_session_timeout = '60s'"
# A whole log before the first position.
_NOTHING_SEEN = "3:3:"
ItemT = TypeVar("ItemT")


class TallyStore:
    """Tallies in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str], event_queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries
        self._read_page = event_queries["read_page"]

    async def stream(
        self, campaign_id: UUID | None
    ) -> AsyncGenerator[TallySnapshot | Sequence[DonationTally] | Sequence[Return], None]:
        """The snapshot, then all tallies, then all returns, in portions; of one campaign, or of all."""
        suffix, arguments = ("_of_campaign", [campaign_id]) if campaign_id else ("", [])
        async with self._reading() as connection:
            row = await fetch_one(connection, self._queries["tally_snapshot"], campaign_id)
            yield TallySnapshot(row["snapshot"], row["epoch"], row["estimated"])
            async for tallies in _portions(connection, self._queries[f"tallies{suffix}"], arguments, _tally):
                yield tallies
            async for returns in _portions(connection, self._queries[f"returns{suffix}"], arguments, _return):
                yield returns

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(_PATIENCE)
            yield connection

    async def changes(self, position: LogPosition | None, *, limit: int) -> tuple[list[LogRow], LogPosition, bool]:
        """A page of what the broker has acknowledged after a position, the position after it, and whether there is more."""
        async with self._database.connection() as connection:
            published = await fetch_one(connection, self._queries["published"])
            if position is None:
                snapshot = published["snapshot"]
                return [], LogPosition(published["epoch"], snapshot, snapshot, 0, published["day"]), False
            position = _going_on(position, published)
            day = published["day"] if position.to_snapshot == published["snapshot"] else position.day
            if position.from_snapshot == position.to_snapshot:
                return [], position, False
            records = await connection.fetch(
                self._read_page,
                position.from_snapshot,
                position.to_snapshot,
                position.day,
                position.last_seq,
                position.epoch,
                limit,
            )
        rows = [log_row(record) for record in records]
        if len(rows) == limit:
            return rows, replace(position, last_seq=rows[-1].seq), True
        return rows, replace(position, from_snapshot=position.to_snapshot, last_seq=0, day=day), False


def _going_on(position: LogPosition, published: Any) -> LogPosition:
    """The position with an end to read up to; both ends are the same where nothing was published since."""
    if position.epoch != published["epoch"]:
        # Transaction ids began again: everything of the new epoch is after it, and all older is published once more.
        epoch, day = published["epoch"], published["epoch_day"]
        return LogPosition(epoch, _NOTHING_SEEN, published["snapshot"], 0, day)
    if position.from_snapshot != position.to_snapshot or not position.lies_before(published["snapshot"]):
        return position
    # The day stays that of the end before: what lies between the two was written then or later.
    return replace(position, to_snapshot=published["snapshot"], last_seq=0)


async def _portions(
    connection: Connection, statement: str, arguments: Sequence[Any], convert: Callable[[Any], ItemT]
) -> AsyncIterator[Sequence[ItemT]]:
    cursor = await connection.cursor(statement, *arguments)
    while records := await cursor.fetch(PORTION):
        yield [convert(record) for record in records]


def _tally(record: Any) -> DonationTally:
    return DonationTally(
        record["id"],
        record["charity_id"],
        record["campaign_id"],
        record["donor_id"],
        record["currency"],
        record["gross"],
        record["refunded"],
        record["disputed"],
        record["settle_time"],
    )


def _return(record: Any) -> Return:
    return Return(
        record["id"], record["campaign_id"], record["currency"], record["refunded"], record["disputed"], record["time"]
    )
