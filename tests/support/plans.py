"""How a statement would be carried out on tables that have grown, as our sessions plan it: once, for any arguments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from mesh.postgres import PLANNING

# The planner multiplies rows per page by the pages that it finds: with one row in a table it finds one.
_GROWN = "UPDATE pg_class SET relpages = 1, reltuples = $2 WHERE relnamespace = $1::regnamespace AND relkind = 'r'"


@asynccontextmanager
async def grown(admin: asyncpg.Connection, schema: str, *, rows: int = 1_000_000) -> AsyncIterator[asyncpg.Connection]:
    """A transaction, undone at its end, in which each table of a schema that has a row seems to have so many."""
    transaction = admin.transaction()
    await transaction.start()
    try:
        for name, value in PLANNING.items():
            await admin.execute(f"SET LOCAL {name} = {value}")
        await admin.execute(_GROWN, schema, rows)
        yield admin
    finally:
        await transaction.rollback()


async def plan(connection: asyncpg.Connection, statement: str, *, parameters: int) -> str:
    """The plan of a statement with so many parameters."""
    await connection.execute(f"PREPARE planned AS {statement}")
    nothing = ", ".join(["NULL"] * parameters)
    rows = await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE planned ({nothing})")
    await connection.execute("DEALLOCATE planned")
    return "\n".join(row[0] for row in rows)
