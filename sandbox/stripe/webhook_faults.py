"""Faults between an event and its delivery: doubled, late, withheld, out of order, announced twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox.stripe.faults import Fault, taken

if TYPE_CHECKING:
    from sandbox.stripe.work import Work

# How long the first of reordered events waits for the others.
_REORDER_S = 5.0


def publish(work: Work, kind: str, announce: Callable[[], int]) -> None:
    """Announces the event as often, and delivers it as late, as the faults that were asked for say."""
    event = announce()
    if not work.delivers(kind):
        return
    fault = taken(work, "webhook", lambda fault: fault.covers(kind) and fault.fault != "before_answer")
    if fault is None:
        work.deliver(event)
    else:
        _DELIVERIES[fault.fault](work, event, fault, announce)


def _duplicate(work: Work, event: int, fault: Fault, _: Any) -> None:
    for _copy in range(fault.copies + 1):
        work.deliver(event)


def _two_events(work: Work, event: int, fault: Fault, announce: Callable[[], int]) -> None:
    work.deliver(event)
    for _copy in range(fault.copies):
        work.deliver(announce())


def _delay(work: Work, event: int, fault: Fault, _: Any) -> None:
    work.deliver(event, delay_s=fault.seconds or 1.0)


def _withhold(work: Work, event: int, _fault: Fault, _: Any) -> None:
    work.deliver(event, state="held")


def _reorder(work: Work, event: int, fault: Fault, _: Any) -> None:
    """Keeps events back until the last of them comes, then lets them go one after the other, the last one first."""
    work.deliver(event, delay_s=fault.seconds or _REORDER_S, fault=fault.id)
    if fault.remaining is None or fault.remaining > 1:
        return
    before = None
    for (delivery,) in work.ask("reordered", fault.id).fetchall():
        work.ask("chain_delivery", time.time(), before, delivery)
        before = delivery


_DELIVERIES: dict[str, Callable[[Work, int, Fault, Callable[[], int]], None]] = {
    "duplicate": _duplicate,
    "two_events": _two_events,
    "delay": _delay,
    "withhold": _withhold,
    "reorder": _reorder,
}
