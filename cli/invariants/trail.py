"""P25 as far as it is kept: the audit trail is only ever added to, and ends where the rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cli.invariants.invariant import Findings
from cli.invariants.rows import CHANGING, collect, collect_pages, forbid
from cli.invariants.view import Reading, View

# service → tables whose changes are written down, as docs/audit.md has them.
AUDITED: Mapping[str, Sequence[str]] = {
    "donation": ("donation", "reversal", "personal", "donor_key", "campaign", "campaign_currency", "charity"),
    "payment": ("payment", "attempt", "dispute"),
}
# Of these P2 tells.
_ONCE = ("donation", "reversal")
_OF_THE_TRAIL = ("audit_written_by_triggers", "audit_append_only")
_OF_A_TABLE = ("audit_update", "audit_delete", "audit_truncate")


async def trail_is_whole(view: View, findings: Findings) -> None:
    """Triggers and rights are as they must be; the last entry of a figure is what its row has."""
    for service, tables in AUDITED.items():
        async with view.snapshot(service) as reading:
            findings.checked += await reading.value("audit_entries")
            await _demand_append_only(findings, reading, tables)
            kept = [table for table in tables if table not in (*_ONCE, "personal", "donor_key")]
            await collect_pages(findings, reading, "audit_removed", kept, bound="audit_bound")
            await collect_pages(findings, reading, f"{service}s_unlike_trail", bound=f"{service}_bound")


async def _demand_append_only(findings: Findings, reading: Reading, tables: Sequence[str]) -> None:
    guards = [("audit", trigger) for trigger in _OF_THE_TRAIL]
    guards += [(table, trigger) for table in tables for trigger in _OF_A_TABLE]
    await collect(findings, reading, "audit_guards_missing", *map(list, zip(*guards, strict=True)))
    await forbid(findings, reading, ("INSERT", *CHANGING), "audit")
