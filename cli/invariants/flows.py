"""The donations' log beside what each consumer took of it: two databases, compared by counts and sums, then event by event.

What a consumer took is read first and the log afterwards: an event that was taken is in the log, always. One that was not
taken yet may be under way.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cli.invariants.invariant import Findings
from cli.invariants.log import Change, Sums, Unreadable, read
from cli.invariants.view import View

# Parts of days that are looked into event by event, each 1/256 of a day.
_CELLS_MAX = 64
_TAIL = 2**48 - 1


@dataclass(frozen=True, slots=True)
class Flow:
    """A consumer that keeps what it took. `takes`: which figures of a change it takes; `cells`, `events`: statements."""

    consumer: str
    service: str
    takes: str
    cells: str
    events: str

    def figures(self, change: Change) -> tuple[int, ...] | None:
        found: tuple[int, ...] | None = getattr(change, self.takes)
        return found


FLOWS = (
    Flow("aggregator-totals", "aggregator", "counted", "counted_cells", "counted_events"),
    Flow("payment-ledger", "payment", "posted", "posted_cells", "posted_events"),
)


@dataclass(frozen=True, slots=True)
class Settled:
    """Which events are compared: those with ids up to one, or above another. What lies between may be on its way."""

    upto: UUID
    above: UUID

    def holds(self, event_id: UUID) -> bool:
        return event_id <= self.upto or event_id > self.above


# Day and end of an event's id.
Cell = tuple[Any, str]
Missing = Mapping[datetime.date, Sequence[UUID]]


def cell_of(day: object, event_id: UUID) -> Cell:
    return day, event_id.hex[-2:]


def add_event(sums: Sums, flow: Flow, day: object, change: Change) -> None:
    """Counts what a consumer has to take of an event."""
    figures = flow.figures(change)
    if figures is not None:
        sums.add(cell_of(day, change.event_id), 1, change.event_id.int & _TAIL, *figures)


async def taken(view: View, flow: Flow, settled: Settled) -> Sums:
    """What a consumer took: how many events, their ids and figures summed."""
    sums = Sums()
    async with view.snapshot(flow.service) as reading:
        async for day in reading.days("applied_days"):
            for row in await reading.all(flow.cells, day, settled.upto, settled.above):
                slot, *figures = row
                sums.add((day, slot), *map(int, figures))
    return sums


async def look_closer(view: View, findings: Findings, flow: Flow, cells: Iterable[Cell], settled: Settled) -> Missing:
    """Adds what was taken otherwise than the log has it, or is in no log; returns what was not taken, by day."""
    by_day: defaultdict[Any, list[str]] = defaultdict(list)
    known = list(cells)
    for day, slot in known[:_CELLS_MAX]:
        by_day[day].append(slot)
    if len(known) > _CELLS_MAX:
        findings.note(f"{len(known)} parts of days differ at {flow.consumer}; {_CELLS_MAX} were looked into")
    return {
        day: await _compare_day(view, findings, flow, day, slots=slots, settled=settled) for day, slots in by_day.items()
    }


async def _compare_day(
    view: View, findings: Findings, flow: Flow, day: datetime.date, *, slots: list[str], settled: Settled
) -> list[UUID]:
    async with view.snapshot(flow.service) as reading:
        held = {row[0]: tuple(row[1:]) async for row in reading.rows(flow.events, day, settled.upto, settled.above, slots)}
    missing = []
    async with view.snapshot("donation") as reading:
        async for row in reading.rows("events_of_day", day):
            if not settled.holds(row["id"]) or cell_of(day, row["id"])[1] not in slots:
                continue
            wanted, found = _figures(flow, row), held.pop(row["id"], None)
            if wanted is not None and found is None:
                missing.append(row["id"])
            elif wanted != found:
                findings.add(row["id"], f"{flow.consumer} took {found}, the log says {wanted}")
    for event_id, found in held.items():
        findings.add(event_id, f"{flow.consumer} took {found}, and no log of {day} has this event")
    return missing


def _figures(flow: Flow, row: Any) -> tuple[int, ...] | None:
    try:
        change = read(row["id"], row["payload"])
    except Unreadable:
        return None
    return flow.figures(change) if change else None
