"""Rows beside the log of the same database, in one snapshot: each change has its event, and they sum to what the rows have.

Sums by a part of the ids that chance decides are compared first, then, where they differ, object by object: so the memory
that it takes does not grow with the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from cli.invariants.invariant import Findings
from cli.invariants.log import Change, Sums, Unreadable, read, slot_of
from cli.invariants.view import Reading

# Parts that are looked into object by object. One is enough to know that something is wrong.
_SLOTS_MAX = 8
# service → what sums its rows by part of their ids, and what reads the rows of some parts.
_STATEMENTS = {
    "donation": ("donation_slots", "donations_of_slots"),
    "payment": ("payment_slots", "payments_of_slots"),
}
See = Callable[[object, Change], None]


async def compare_changes(findings: Findings, reading: Reading, service: str, *, see: See | None = None) -> None:
    """Adds what differs between a service's rows and its log. `see` is shown every event, with its day."""
    slots, of_slots = _STATEMENTS[service]
    logged, stored = Sums(), Sums()
    async for day, change in _changes(reading, findings):
        logged.add((change.object, slot_of(change.object_id)), 1, *change.moved)
        if see:
            see(day, change)
    async for row in reading.rows(slots):
        name, slot, *figures = row
        stored.add((name, slot), *figures)
    differing = sorted({slot for (_, slot), _, _ in stored.differing(logged)})
    if differing:
        await _look_closer(findings, reading, of_slots, differing[:_SLOTS_MAX])
    if len(differing) > _SLOTS_MAX:
        findings.note(f"{len(differing)} of 256 parts of the log of {service} differ; {_SLOTS_MAX} were looked into")


async def _changes(reading: Reading, findings: Findings) -> AsyncIterator[tuple[object, Change]]:
    """Every event of the log; what cannot be read is a violation."""
    async for day in reading.days("event_days"):
        async for row in reading.rows("events_of_day", day):
            findings.checked += 1
            try:
                change = read(row["id"], row["payload"])
            except Unreadable as error:
                findings.add(row["id"], f"this event {error}")
                continue
            if change:
                yield day, change


async def _look_closer(findings: Findings, reading: Reading, of_slots: str, slots: list[str]) -> None:
    logged, stored = Sums(), Sums()
    # What cannot be read has been told.
    async for _, change in _changes(reading, Findings()):
        if slot_of(change.object_id) in slots:
            logged.add((change.object, change.object_id), 1, *change.moved)
    async for row in reading.rows(of_slots, slots):
        name, object_id, *figures = row
        stored.add((name, object_id), *figures)
    for (name, object_id), there, told in stored.differing(logged):
        words = f"{name} at version {there[0]} with {there[1:]}, the log has {told[0]} changes that sum to {told[1:]}"
        findings.add(object_id, words)
