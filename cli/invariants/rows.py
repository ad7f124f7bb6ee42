"""Statements that return a row for each violation, run as they are, over pages, or day by day."""

from __future__ import annotations

from collections.abc import Sequence

from cli.invariants.invariant import Findings
from cli.invariants.view import Reading

# What no service may do to what is only ever added to.
CHANGING = ("UPDATE", "DELETE", "TRUNCATE")
REMOVING = ("DELETE", "TRUNCATE")


async def collect(findings: Findings, reading: Reading, name: str, *arguments: object) -> None:
    """Adds every row of a statement."""
    async for row in reading.rows(name, *arguments):
        findings.add(row["key"], row["words"])


async def collect_pages(findings: Findings, reading: Reading, name: str, *, bound: str) -> None:
    """The same of a statement that looks at one page of ids at a time."""
    async for above, upto in reading.pages(bound):
        await collect(findings, reading, name, above, upto)


async def demand_guards(findings: Findings, reading: Reading, *names: str) -> None:
    """Adds the constraints, unique indexes and triggers among `names` that do not work."""
    await collect(findings, reading, "guards_missing", list(names))


async def forbid(findings: Findings, reading: Reading, rights: Sequence[str], *tables: str) -> None:
    """Adds what of `rights` the service has on `tables`."""
    await collect(findings, reading, "rights_too_many", list(tables), list(rights))
