"""P7: no webhook is lost after it was taken. What cannot be applied yet, or ever, is in a list that operators read."""

from __future__ import annotations

from collections import Counter

from cli.invariants.invariant import Findings
from cli.invariants.rows import REMOVING, collect_pages, demand_guards, forbid
from cli.invariants.view import THEIRS, View

_APPLIED = 1
_STATES = {2: "parked", 3: "quarantined", 4: "skipped"}
_LETTERS = {1: "being tried again", 2: "dead", 4: "given up"}


async def taken_is_kept(view: View, findings: Findings) -> None:
    """Webhooks are applied, and show in their payments, or listed; how many stand where."""
    async with view.snapshot("payment") as reading:
        states = {row["state"]: row["events"] for row in await reading.all("webhooks")}
        findings.checked = sum(states.values())
        await collect_pages(findings, reading, "webhooks_lost", bound="webhook_bound", ids=THEIRS)
        await demand_guards(findings, reading, "provider_event_pkey")
        await forbid(findings, reading, REMOVING, "provider_event")
    if listed := [f"{states[state]} {name}" for state, name in _STATES.items() if state in states]:
        findings.note(f"{states.get(_APPLIED, 0)} applied, {', '.join(listed)}")
    for words in await _letters(view):
        findings.note(words)


async def _letters(view: View) -> list[str]:
    """Events of ours that a consumer could not apply."""
    found: Counter[tuple[str, str]] = Counter()
    for service in view.services:
        async with view.snapshot(service) as reading:
            for row in await reading.all("letters"):
                if row["state"] in _LETTERS:
                    found[row["consumer"], _LETTERS[row["state"]]] += row["letters"]
    return [f"{count} of our own events {state} at {consumer}" for (consumer, state), count in sorted(found.items())]
