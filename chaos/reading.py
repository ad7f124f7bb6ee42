"""Rows that are held against the journal and the displays: read past every proxy, with the role that only reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from chaos.books import Row
from cli.places import Places

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

READ_S_MAX = 5.0
_ROWS = """
SELECT id::text AS donation_id, coalesce(payment_ref, metadata->>'operation', '') AS name, campaign_id::text, currency,
       amount, gross, refunded, disputed
FROM donation.donation WHERE charity_id = $1::text::uuid
"""
_GROSS = """
SELECT campaign_id::text, currency, sum(gross)::bigint AS gross FROM donation.donation
WHERE charity_id = $1::text::uuid GROUP BY 1, 2
"""
_COUNTS = {
    "donation": "SELECT (SELECT count(*) FROM donation.donation) + (SELECT count(*) FROM donation.reversal)",
    "payment": "SELECT count(*) FROM payment.attempt WHERE kind = 5",
}
_HEALS = {"donation": "SELECT heals FROM donation.relay", "payment": "SELECT heals FROM payment.relay"}


@asynccontextmanager
async def _connected(places: Places, service: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(places.databases[service], timeout=READ_S_MAX, command_timeout=READ_S_MAX)
    try:
        yield connection
    finally:
        await connection.close(timeout=READ_S_MAX)


async def rows(places: Places, charity_id: str) -> list[Row]:
    """Every donation of the charity."""
    async with _connected(places, "donation") as connection:
        return [Row(**record) for record in await connection.fetch(_ROWS, charity_id)]


async def gross(places: Places, charity_id: str) -> dict[tuple[str, str], int]:
    """What is committed, by campaign and currency."""
    async with _connected(places, "donation") as connection:
        records = await connection.fetch(_GROSS, charity_id)
    return {(record["campaign_id"], record["currency"]): record["gross"] for record in records}


async def effects(places: Places) -> list[int]:
    """How many donations and reversals there are, and how many refunds.

    Payments may become more: a repeated promise is made ready where the provider was away the first time.
    """
    return [await _value(places, service, statement) for service, statement in _COUNTS.items()]


async def repairs(places: Places) -> int:
    """How often a relay has published its log again because its stream had lost messages."""
    return sum([await _value(places, service, statement) for service, statement in _HEALS.items()])


async def _value(places: Places, service: str, statement: str) -> int:
    async with _connected(places, service) as connection:
        return int(await connection.fetchval(statement))
