"""Batch postings of recorded donations beside the events of which they consist.

A posting may consist of events of several days, and an event may be posted days later: so no day can be compared by itself.
Both are summed up by parts of the postings' ids, and those that differ are looked into posting by posting.
"""

from __future__ import annotations

from collections.abc import Sequence

from cli.invariants.invariant import Findings
from cli.invariants.log import Sums
from cli.invariants.view import Reading

# Parts that are looked into. One is enough to know that something is wrong.
_SLOTS_MAX = 8


async def compare(findings: Findings, reading: Reading) -> None:
    """Adds the postings that say otherwise than their events."""
    posted = await _summed(reading, "posted_slots", ends="posting_days")
    heard = await _summed(reading, "heard_slots", ends="applied_days")
    differing = [slot for slot, _, _ in posted.differing(heard)]
    if differing:
        await _look_closer(findings, reading, differing[:_SLOTS_MAX])
    if len(differing) > _SLOTS_MAX:
        findings.note(f"{len(differing)} of 256 parts of batch postings differ; {_SLOTS_MAX} were looked into")


async def _look_closer(findings: Findings, reading: Reading, slots: Sequence[str]) -> None:
    posted = await _summed(reading, "postings_of_slots", slots, ends="posting_days")
    heard = await _summed(reading, "heard_of_slots", slots, ends="applied_days")
    for posting_id, says, said in posted.differing(heard):
        findings.add(posting_id, f"the posting says {says[0]}, its events say {said[0]}")


async def _summed(reading: Reading, statement: str, *arguments: object, ends: str) -> Sums:
    """What a statement says of each day, added up by the place that it names first."""
    sums = Sums()
    async for day in reading.days(ends):
        async for row in reading.rows(statement, day, *arguments):
            place, *figures = row
            sums.add(place, *map(int, figures))
    return sums
