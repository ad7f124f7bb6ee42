"""Statements that return a row for each violation, run as they are, over pages, or day by day."""

from __future__ import annotations

from collections.abc import Sequence

from cli.invariants.invariant import Findings
from cli.invariants.view import OURS, Ids, Reading

# What no service may do to what is only ever added to.
CHANGING = ("UPDATE", "DELETE", "TRUNCATE")
REMOVING = ("DELETE", "TRUNCATE")


async def collect(findings: Findings, reading: Reading, name: str, *arguments: object) -> None:
    """Adds every row of a statement."""
    async for row in reading.rows(name, *arguments):
        findings.add(row["key"], row["words"])


async def collect_pages(
    findings: Findings, reading: Reading, name: str, *arguments: object, bound: str, ids: Ids = OURS
) -> None:
    """The same of a statement that looks at one page of ids at a time."""
    async for above, upto in reading.pages(bound, ids):
        await collect(findings, reading, name, above, upto, *arguments)


async def collect_days(findings: Findings, reading: Reading, name: str, *, ends: str) -> None:
    """The same of a statement that looks at one day at a time."""
    async for day in reading.days(ends):
        await collect(findings, reading, name, day)


async def demand_guards(findings: Findings, reading: Reading, *names: str) -> None:
    """Adds the constraints, unique indexes and triggers among `names` that do not work."""
    await collect(findings, reading, "guards_missing", list(names))


async def demand_filled(findings: Findings, reading: Reading, column: str, *tables: str) -> None:
    """Adds those of `tables` whose column may be empty."""
    await collect(findings, reading, "columns_optional", list(tables), column)


async def forbid(findings: Findings, reading: Reading, rights: Sequence[str], *tables: str) -> None:
    """Adds what of `rights` the service has on `tables`."""
    await collect(findings, reading, "rights_too_many", list(tables), list(rights))
