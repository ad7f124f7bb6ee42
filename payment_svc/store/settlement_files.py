"""Settlement files: staged while they are read, then taken as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mesh import crashpoints
from mesh.money import Money
from mesh.postgres import Connection, Database
from payment_svc.domain.reconciliation import Tally
from payment_svc.domain.settlement import Item, ItemClass
from payment_svc.domain.settlement_files import SettlementFile
from payment_svc.store.payments import Stamp
from payment_svc.store.settlement import movement_row, ours_row

# The driver's own bound, a little above that of `settle_at_length`: the database's answer says more.
_LONG_S = 610
_COLUMNS = (
    "line", "id", "category", "source_id", "charge_id", "intent_id", "payout_id", "currency", "amount", "fee",
    "converted", "provider_time", "available_time", "payment_id", "charity_id", "campaign_id", "our_currency",
    "our_amount", "class",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: its rows by class and currency. `replayed`: it had been taken before."""

    tallies: tuple[Tally, ...]
    rows: int
    replayed: bool = False


class SettlementFiles:
    """Settlement files in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def taken(self, sha256: bytes) -> Outcome | None:
        """What became of a file when it was taken; None where it was not."""
        async with self._database.connection() as connection:
            return await _taken(connection, self._queries, sha256)

    @asynccontextmanager
    async def staging(self) -> AsyncIterator[Staging]:
        """A place for one file's rows, on a connection of its own; nothing is left there."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["stage_settlement_rows"])
            try:
                yield Staging(connection, self._queries)
            finally:
                if not connection.is_closed():
                    await connection.execute(self._queries["clear_staged_rows"], timeout=_LONG_S)


class Staging:
    """The rows of one file, before they count."""

    def __init__(self, connection: Connection, queries: Mapping[str, str]) -> None:
        self.connection = connection
        self._queries = queries

    async def add(self, items: Sequence[Item]) -> None:
        """More rows, each as it was taken for by itself."""
        rows = [(item.line, *movement_row(item.movement), *ours_row(item.ours), item.item_class.value) for item in items]
        await self.connection.copy_records_to_table("staged_row", schema_name="pg_temp", records=rows, columns=_COLUMNS)

    async def differing_payout(self) -> int | None:
        """Marks rows that repeat others; the line of a payout that its contents do not add up to, if there is one."""
        await self._run("analyse_staged_rows")
        async with self._at_length():
            await self._run("mark_repeated_rows")
            line: int | None = await self.connection.fetchval(self._queries["payout_that_differs"], timeout=_LONG_S)
        return line

    async def judge(self, *, rows: int) -> Outcome:
        """What would become of the file."""
        async with self._at_length():
            await self._run("mark_known_rows")
            return Outcome(await _tallies(self.connection, self._queries["staged_tallies"]), rows)

    async def take(self, file: SettlementFile, *, rows: int, stamp: Stamp) -> Outcome:
        """Takes the whole file in one transaction, unless it was taken meanwhile; what became of it."""
        async with self._at_length():
            if not await self._is_new(file, rows, stamp):
                taken = await _taken(self.connection, self._queries, file.sha256)
                if taken is None:
                    raise AssertionError("files are never deleted")
                return taken
            await self._run("insert_staged_movements", file.sha256, stamp.now)
            # After them: a walker may have been told of one otherwise in the meantime.
            await self._run("mark_known_rows")
            await self._run("insert_staged_findings", file.sha256, stamp.now)
            await self._run("insert_staged_lines", file.sha256)
            # Last: payments that change wait for the movements that it holds.
            await self._run("name_payouts_of_staged_rows")
            crashpoints.reach("settlement.file_written")
            return Outcome(await _tallies(self.connection, self._queries["settlement_lines"], file.sha256), rows)

    async def _is_new(self, file: SettlementFile, rows: int, stamp: Stamp) -> bool:
        inserted = await self.connection.fetchval(
            self._queries["insert_settlement_file"],
            file.sha256,
            file.name,
            file.size_bytes,
            rows,
            stamp.actor,
            stamp.correlation_id,
            stamp.now,
        )
        return inserted is not None

    async def _run(self, query: str, *given: object) -> None:
        await self.connection.execute(self._queries[query], *given, timeout=_LONG_S)

    @asynccontextmanager
    async def _at_length(self) -> AsyncIterator[None]:
        """One transaction that may take long."""
        async with self.connection.transaction():
            await self.connection.execute(self._queries["settle_at_length"])
            yield


async def _taken(connection: Connection, queries: Mapping[str, str], sha256: bytes) -> Outcome | None:
    rows = await connection.fetchval(queries["settlement_file"], sha256)
    if rows is None:
        return None
    return Outcome(await _tallies(connection, queries["settlement_lines"], sha256), rows, replayed=True)


async def _tallies(connection: Connection, statement: str, *given: object) -> tuple[Tally, ...]:
    rows = await connection.fetch(statement, *given, timeout=_LONG_S)
    return tuple(Tally(ItemClass(row["class"]), row["count"], Money(row["net"], row["currency"])) for row in rows)
