"""P17: every change has its event, every event is taken once by everyone whom it concerns, and none is skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from uuid import UUID

from cli.invariants import pairs
from cli.invariants.changes import compare_changes
from cli.invariants.flows import FLOWS, Flow, Missing, Settled, add_event, look_closer, taken
from cli.invariants.invariant import Findings
from cli.invariants.lateness import Late, judge, waits
from cli.invariants.log import Change, Sums
from cli.invariants.rows import CHANGING, collect, forbid
from cli.invariants.view import LAST, Reading, View

# While money moves, what is younger is on its way: it is not compared with what consumers took. No clock is so far ahead.
_YOUNG_S = 60
_AHEAD_S = 600


async def events_are_complete(view: View, findings: Findings) -> None:
    """Rows against their logs, the donations' log against what its consumers took, donations against their payments."""
    told = {flow.consumer: Sums() for flow in FLOWS}
    settled = _settled() if await waits(view) else Settled(upto=LAST, above=LAST)
    held = {flow.consumer: await taken(view, flow, settled) for flow in FLOWS}
    async with view.snapshot("donation") as reading:
        await compare_changes(findings, reading, "donation", see=_seer(told, settled))
        await _demand_append_only(findings, reading)
    async with view.snapshot("payment") as reading:
        await compare_changes(findings, reading, "payment")
        await _demand_append_only(findings, reading)
    late = Late(
        events=[(flow, await _missing(view, findings, flow, told=told, held=held, settled=settled)) for flow in FLOWS],
        donations=(await view.once(pairs.walk)).behind,
        campaigns=await _campaigns_behind(view, findings),
    )
    await judge(view, findings, late)


def _settled() -> Settled:
    """All but what may be on its way: ids begin with the milliseconds since 1970, by a clock that may be wrong."""
    now = time.time()
    return Settled(upto=_first_id(now - _YOUNG_S), above=_first_id(now + _AHEAD_S))


def _first_id(second: float) -> UUID:
    return UUID(int=int(second * 1000) << 80)


def _seer(told: Mapping[str, Sums], settled: Settled) -> Callable[[object, Change], None]:
    """Counts what each consumer has to take of what it is shown."""

    def see(day: object, change: Change) -> None:
        if settled.holds(change.event_id):
            for flow in FLOWS:
                add_event(told[flow.consumer], flow, day, change)

    return see


async def _demand_append_only(findings: Findings, reading: Reading) -> None:
    await forbid(findings, reading, CHANGING, "event")
    await collect(findings, reading, "rights_on_partitions", ["event"])


async def _missing(
    view: View, findings: Findings, flow: Flow, *, told: Mapping[str, Sums], held: Mapping[str, Sums], settled: Settled
) -> Missing:
    cells = [cell for cell, _, _ in told[flow.consumer].differing(held[flow.consumer])]
    return await look_closer(view, findings, flow, cells, settled)


async def _campaigns_behind(view: View, findings: Findings) -> dict[UUID, int]:
    """Campaigns of which the aggregator does not know the newest version. What it knows is read first."""
    async with view.snapshot("aggregator") as reading:
        known = {row["id"]: row["campaign_version"] async for row in reading.rows("campaign_words")}
    async with view.snapshot("donation") as reading:
        versions = {row["id"]: row["version"] async for row in reading.rows("campaigns")}
    for campaign_id, version in known.items():
        if campaign_id not in versions:
            findings.add(campaign_id, "the aggregator counts for a campaign that does not exist")
        elif version > versions[campaign_id]:
            findings.add(campaign_id, f"the aggregator knows version {version} of a campaign at {versions[campaign_id]}")
    return {campaign_id: version for campaign_id, version in versions.items() if known.get(campaign_id, 0) < version}
