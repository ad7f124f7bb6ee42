"""Reading the books: databases as their owner does, the ledger as anybody may."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from giving.payment.v1.ledger_service_pb2 import GetBalanceRequest

from tests.support.schemas import Schemas


@asynccontextmanager
async def reading(schemas: Schemas, schema: str, *, role: str | None = None) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a service's schema: the administrator's, or that of one of the service's roles."""
    connection = await asyncpg.connect(schemas.dsn(schema, role) if role else schemas.admin_dsn)
    try:
        await connection.execute(f"SET search_path = {schema}")
        yield connection
    finally:
        await connection.close()


async def counted(schemas: Schemas, table: str) -> int:
    """How many rows the donation service's table has."""
    async with reading(schemas, "donation") as connection:
        return await connection.fetchval(f"SELECT count(*) FROM {table}")


# What a campaign is owed stands on these together: what arrived, less what went back, less what banks hold.
OWED = ("campaign_payable", "refunds", "disputes_held")


async def owed_over(balances: Callable[[str], Awaitable[Sequence[Any]]]) -> dict[str, int]:
    """What is owed per currency, by what reads an account's balances."""
    sums: Counter[str] = Counter()
    for account in OWED:
        for balance in await balances(account):
            sums[balance.currency] -= balance.minor_units
    return dict(sums)


async def owed(ledger: Any, campaign_id: str) -> dict[str, int]:
    """What a campaign is owed per currency, as the ledger's RPCs say."""

    async def balances(account: str) -> Sequence[Any]:
        request = GetBalanceRequest(account=account, campaign_id=campaign_id)
        return list((await ledger.GetBalance(request)).balances)

    return await owed_over(balances)
