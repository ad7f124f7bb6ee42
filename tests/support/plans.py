"""How a statement would be carried out on tables that have grown, as our sessions plan it: once, for any arguments."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from mesh.postgres import PLANNING

_SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan")
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


async def read_through(connection: asyncpg.Connection, statement: str, *arguments: Any) -> list[str]:
    """The tables and indexes that a statement would read from one end to the other; at least one scan there is."""
    async with connection.transaction():
        # Whatever is small is read through otherwise; the service's own statements are planned without their arguments.
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments))
    scans = [node for node in _nodes(plan[0]["Plan"]) if node["Node Type"] in _SCANS]
    assert scans
    return [node.get("Relation Name") or node["Index Name"] for node in scans if "Index Cond" not in node]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
