"""What the database would do for a statement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asyncpg

_SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan")


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
