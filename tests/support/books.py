"""Reading the database as its owner does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

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
