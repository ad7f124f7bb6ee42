"""Movements on our balance at the provider, and what our books say of them."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from mesh.money import Money
from mesh.postgres import Connection, Database, fetch_one
from payment_svc.domain.payments import Payment
from payment_svc.domain.settlement import Item, ItemClass, Movement, Origin, Ours


@dataclass(frozen=True, slots=True)
class Missing:
    """How much our books say moved, and has been missing at the provider `since`; None where nothing is."""

    count: int
    since: datetime.datetime | None


class SettlementStore:
    """Balance transactions in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def ours(self, connection: Connection, movements: Collection[Movement]) -> dict[str, Ours]:
        """What our books say of movements, by their ids; those of no payment of ours are absent."""
        asked = [
            (
                movement.id,
                movement.category,
                movement.source_id,
                movement.charge_id,
                movement.intent_id,
                movement.amount.minor_units,
                movement.amount.currency,
            )
            for movement in movements
        ]
        if not asked:
            return {}
        rows = await connection.fetch(self._queries["our_side_of_movements"], *columns(asked))
        return {
            row["id"]: Ours(row["payment_id"], row["charity_id"], row["campaign_id"], row["our_currency"], row["our_amount"])
            for row in rows
        }

    async def take(self, connection: Connection, items: Sequence[Item], *, now: datetime.datetime) -> set[str]:
        """Stores movements that were not known; their ids. They are due to be looked at."""
        rows = [(*movement_row(item.movement), *ours_row(item.ours), item.item_class.value) for item in items]
        if not rows:
            return set()
        taken = await connection.fetch(self._queries["insert_movements"], *columns(rows), now)
        return {row["id"] for row in taken}

    async def lock_told_by_files(self, connection: Connection, ids: Collection[str]) -> list[Item]:
        """Those that only a file has told of so far, locked until the transaction ends."""
        return [item_from(row) for row in await connection.fetch(self._queries["movements_of_files_among"], list(ids))]

    async def overrule(self, connection: Connection, movement: Movement, *, now: datetime.datetime) -> None:
        """What the provider itself says, in the place of what a file had said."""
        await connection.execute(self._queries["overrule_movement"], *movement_row(movement), now)

    async def keep_finding(
        self, connection: Connection, item: Item, item_class: ItemClass, *, now: datetime.datetime
    ) -> None:
        """What a file had said otherwise."""
        movement = item.movement
        await connection.execute(
            self._queries["insert_finding"],
            item.file,
            item.line,
            item_class.value,
            movement.id,
            movement.source_id,
            movement.amount.currency,
            movement.amount.minor_units,
            movement.fee,
            movement.provider_time,
            now,
        )

    async def missing_in_books(self, *, now: datetime.datetime, limit: int) -> list[UUID]:
        """Payments whose books lack a movement that is due to be looked at."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["payments_of_missing_movements"], now, limit)
        return [row["payment_id"] for row in rows]

    async def lock_due(self, connection: Connection, *, now: datetime.datetime, limit: int) -> list[Item]:
        """Movements that are to be looked at, locked until the transaction ends."""
        return [item_from(row) for row in await connection.fetch(self._queries["due_movements"], now, limit)]

    async def look(
        self, connection: Connection, items: Sequence[tuple[Item, UUID | None]], *, now: datetime.datetime
    ) -> None:
        """Stores what looks found, and the posting of each where it has a new one."""
        rows = [
            (
                item.movement.id,
                item.item_class.value,
                *ours_row(item.ours),
                item.looks,
                item.next_look_time,
                item.posted,
                posting_id,
            )
            for item, posting_id in items
        ]
        await connection.execute(self._queries["look_at_movements"], *columns(rows), now)

    async def hasten(self, connection: Connection, payment: Payment, *, now: datetime.datetime) -> None:
        """Movements with which a payment's books do not agree are due at once."""
        await connection.execute(self._queries["hasten_movements"], payment.id, payment.provider_id, now)

    async def missing_at_provider(self, *, before: datetime.datetime) -> Missing:
        """What has been missing there since before a time."""
        async with self._database.connection() as connection:
            row = await fetch_one(connection, self._queries["oldest_missing"], before)
        return Missing(row["count"], row["since"])


def columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    """Rows as the arrays that SQL takes."""
    return [list(column) for column in zip(*rows, strict=True)]


def movement_row(movement: Movement) -> tuple[object, ...]:
    """Its columns, from the id to the time at which it is available."""
    return (
        movement.id,
        movement.category,
        movement.source_id,
        movement.charge_id,
        movement.intent_id,
        movement.payout_id,
        movement.amount.currency,
        movement.amount.minor_units,
        movement.fee,
        movement.converted,
        movement.provider_time,
        movement.available_time,
    )


def ours_row(ours: Ours | None) -> tuple[object, ...]:
    """Its columns, from the payment to what moved there."""
    if ours is None:
        return (None,) * 5
    return ours.payment_id, ours.charity_id, ours.campaign_id, ours.currency, ours.minor_units


def item_from(row: asyncpg.Record) -> Item:
    return Item(
        movement=movement_from(row),
        item_class=ItemClass(row["class"]),
        origin=Origin(row["origin"]),
        ours=_ours(row),
        posted=row["posted"],
        looks=row["looks"],
        next_look_time=row["next_look_time"],
        file=row["file"],
        line=row["line"],
    )


def movement_from(row: Any) -> Movement:
    return Movement(
        id=row["id"],
        category=row["category"],
        amount=Money(row["amount"], row["currency"]),
        fee=row["fee"],
        provider_time=row["provider_time"],
        source_id=row["source_id"],
        charge_id=row["charge_id"],
        intent_id=row["intent_id"],
        payout_id=row["payout_id"],
        available_time=row["available_time"],
        converted=row["converted"],
    )


def _ours(row: Any) -> Ours | None:
    if row["payment_id"] is None:
        return None
    return Ours(row["payment_id"], row["charity_id"], row["campaign_id"], row["our_currency"], row["our_amount"])
