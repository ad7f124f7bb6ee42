"""What matches between the provider's balance and our books, and what does not."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import asyncpg

from mesh.money import Money
from mesh.pages import Position
from mesh.postgres import Connection, Database
from payment_svc.domain.reconciliation import Finding, Footing, Report, Tally
from payment_svc.domain.settlement import ItemClass

# A day may have a million movements; the report's method ends at 60 s.
_READ_ALL_S = 57
# Which findings stand with movements, and which with the rows of files.
_OF_MOVEMENTS = frozenset(ItemClass) - {ItemClass.DUPLICATE, ItemClass.FEE_MISMATCH, ItemClass.MISSING_AT_PROVIDER}
_OF_FILES = frozenset({ItemClass.DUPLICATE, ItemClass.FEE_MISMATCH, ItemClass.AMOUNT_MISMATCH})


class ReconciliationStore:
    """Reads settlement in PostgreSQL. `missing_since`: what our books say moved later is not missing yet."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def page(
        self,
        classes: Collection[ItemClass],
        *,
        day: datetime.date | None,
        before: Position,
        limit: int,
        missing_since: datetime.datetime,
    ) -> list[Finding]:
        """Findings of some classes, of a day or of any, newest first, before a position."""
        narrowed = before.time, before.name, day, limit
        found: list[Finding] = []
        async with self._database.connection() as connection:
            if named := [one.value for one in _OF_MOVEMENTS.intersection(classes)]:
                found += map(_of_movement, await self._read(connection, "items_of_movements", named, *narrowed))
            if named := [one.value for one in _OF_FILES.intersection(classes)]:
                found += map(_of_file, await self._read(connection, "items_of_findings", named, *narrowed))
            if ItemClass.MISSING_AT_PROVIDER in classes:
                rows = await self._read(connection, "items_of_clearing", missing_since, *narrowed)
                found += map(_of_clearing, rows)
        return sorted(found, key=lambda one: (one.time, one.name), reverse=True)[:limit]

    async def report(self, day: datetime.date, *, missing_since: datetime.datetime) -> Report:
        """How a day stands, in one snapshot."""
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(self._queries["read_at_length"])
            movements = await self._read(connection, "movements_of_day", day)
            findings = await self._read(connection, "findings_of_day", day)
            posted = await self._read(connection, "posted_for_day", day)
            outstanding = await self._read(connection, "outstanding_of_day", day)
            missing = await self._read(connection, "missing_of_day", day, missing_since)
        tallies = [_tally(row, ItemClass(row["class"])) for row in (*movements, *findings)]
        tallies += [_tally(row, ItemClass.MISSING_AT_PROVIDER) for row in missing]
        return Report(
            tallies=_together(tallies),
            footings=_footings(
                provider=_sums(movements, "moved"), ledger=_sums(posted, "net"), outstanding=_sums(outstanding, "amount")
            ),
            unposted=sum(row["unposted"] for row in movements),
        )

    async def _read(self, connection: Connection, query: str, *given: object) -> list[asyncpg.Record]:
        return await connection.fetch(self._queries[query], *given, timeout=_READ_ALL_S)


def _of_movement(row: Any) -> Finding:
    ours = None if row["our_amount"] is None else Money(row["our_amount"], row["our_currency"])
    return Finding(
        item_class=ItemClass(row["class"]),
        time=row["provider_time"],
        name=row["id"],
        movement_id=row["id"],
        source_id=row["source_id"],
        payment_id=str(row["payment_id"] or ""),
        provider_amount=Money(row["amount"], row["currency"]),
        our_amount=ours,
    )


def _of_file(row: Any) -> Finding:
    return Finding(
        item_class=ItemClass(row["class"]),
        time=row["provider_time"],
        name=row["name"],
        movement_id=row["id"],
        source_id=row["source_id"],
        payment_id=str(row["payment_id"] or ""),
        provider_amount=Money(row["amount"], row["currency"]),
        our_amount=Money(row["our_amount"], row["our_currency"]),
    )


def _of_clearing(row: Any) -> Finding:
    return Finding(
        item_class=ItemClass.MISSING_AT_PROVIDER,
        time=row["since"],
        name=row["name"],
        movement_id="",
        source_id=row["source_id"],
        payment_id=str(row["payment_id"]),
        provider_amount=None,
        our_amount=Money(row["amount"], row["currency"]),
    )


def _tally(row: Any, item_class: ItemClass) -> Tally:
    return Tally(item_class, row["count"], Money(row["net"], row["currency"]))


def _together(tallies: Collection[Tally]) -> tuple[Tally, ...]:
    """One per class and currency: a mismatch may be a movement's, or a row's of a file."""
    sums: dict[tuple[ItemClass, str], Tally] = {}
    for tally in tallies:
        place = tally.item_class, tally.net.currency
        known = sums.get(place)
        sums[place] = Tally(tally.item_class, known.count + tally.count, known.net + tally.net) if known else tally
    return tuple(sums[place] for place in sorted(sums))


def _sums(rows: Collection[Any], column: str) -> Counter[str]:
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["currency"]] += row[column]
    return sums


def _footings(*, provider: Counter[str], ledger: Counter[str], outstanding: Counter[str]) -> tuple[Footing, ...]:
    currencies = sorted({*provider, *ledger, *outstanding})
    return tuple(Footing(code, provider[code], ledger[code], outstanding[code]) for code in currencies)
