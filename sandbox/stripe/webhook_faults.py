"""Faults between an event and its delivery: doubled, late, withheld, out of order, announced twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from sandbox.stripe.faults import Fault, taken
from sandbox.stripe.ids import new_id

if TYPE_CHECKING:
    from sandbox.stripe.work import Work

# How long the first of reordered events waits for the others.
_REORDER_S = 5.0


class Event(NamedTuple):
    """`created`: when what it tells happened."""

    id: str
    type: str
    created: int
    body: str


def publish(work: Work, event: Event) -> None:
    """Announces the event as often, and delivers it as late, as the faults that were asked for say."""
    row, kind = work.publish(event), event.type
    if not work.delivers(kind):
        return
    fault = taken(work, "webhook", lambda fault: fault.covers(kind) and fault.fault != "before_answer")
    if fault is None:
        work.deliver(row)
    else:
        _DELIVERIES[fault.fault](work, row, fault, event)


def _duplicate(work: Work, row: int, fault: Fault, _: Event) -> None:
    for _copy in range(fault.copies + 1):
        work.deliver(row)


def _two_events(work: Work, row: int, fault: Fault, event: Event) -> None:
    """As Stripe now and then does: another event with another id for the same fact."""
    work.deliver(row)
    for _copy in range(fault.copies):
        body = {**json.loads(event.body), "id": new_id("event")}
        work.deliver(work.publish(event._replace(id=body["id"], body=json.dumps(body))))


def _delay(work: Work, row: int, fault: Fault, _: Event) -> None:
    work.deliver(row, delay_s=fault.seconds or 1.0)


def _withhold(work: Work, row: int, _fault: Fault, _: Event) -> None:
    work.deliver(row, state="held")


def _reorder(work: Work, row: int, fault: Fault, _: Event) -> None:
    """Keeps events back until the last of them comes, then lets them go one after the other, the last one first."""
    work.deliver(row, delay_s=fault.seconds or _REORDER_S, fault=fault.id)
    if fault.remaining is None or fault.remaining > 1:
        return
    before = None
    for (delivery,) in work.ask("reordered", fault.id).fetchall():
        work.ask("chain_delivery", time.time(), before, delivery)
        before = delivery


_DELIVERIES: Mapping[str, Callable[[Work, int, Fault, Event], None]] = {
    "duplicate": _duplicate,
    "two_events": _two_events,
    "delay": _delay,
    "withhold": _withhold,
    "reorder": _reorder,
}
