"""Faults that were asked for: each is used as often as was said, in the transaction that it strikes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sandbox.stripe.work import Work

# What may happen to a call. `error_500` has no effect, `error_500_after` had one; both are saved under the key.
API_FAULTS = (
    "answer_lost", "garbled", "truncated", "error_500", "error_500_after", "error_429", "slow", "hang", "refuse_connection",
)  # fmt: skip
WEBHOOK_FAULTS = ("duplicate", "reorder", "delay", "withhold", "before_answer", "two_events")
ANY_CALL = "*"


class Fault(NamedTuple):
    id: int
    fault: str
    call: str
    types: str | None
    remaining: int | None
    seconds: float | None
    copies: int

    def covers(self, kind: str) -> bool:
        return self.types is None or kind in json.loads(self.types)


def taken(work: Work, scope: str, matches: Callable[[Fault], bool]) -> Fault | None:
    """The first fault that matches, used once."""
    if not work.faulty:
        return None
    for row in work.ask("faults", scope):
        fault = Fault(*row)
        if matches(fault):
            use(work, fault)
            return fault
    return None


def use(work: Work, fault: Fault) -> None:
    if fault.remaining is not None:
        work.ask("use_fault", fault.id)
        work.ask("drop_used_faults")


def strikes(work: Work, call: str) -> Fault | None:
    """The fault that happens to a call of the API."""
    return taken(work, "api", lambda fault: fault.call in (call, ANY_CALL))


def before_answer(work: Work) -> bool:
    """Whether the webhooks of this call arrive before its answer."""
    return taken(work, "webhook", lambda fault: fault.fault == "before_answer" and _covers_any(fault, work)) is not None


def _covers_any(fault: Fault, work: Work) -> bool:
    return any(fault.covers(work.one("type_of_event", row)) for row in work.announced)


def ask_for(work: Work, scope: str, fault: str, **more: Any) -> None:
    """Switches one on; `times` None: until it is cleared."""
    types = more.get("types")
    work.ask_named(
        "add_fault",
        scope=scope,
        fault=fault,
        call=more.get("call", ANY_CALL),
        types=None if types is None else json.dumps(types),
        times=more.get("times", 1),
        seconds=more.get("seconds"),
        copies=more.get("copies", 1),
    )
