"""What a call carries from hop to hop: who calls, which correlation id and trace, how long it may take."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from giving.common.v1.identity_pb2 import Identity

IDENTITY_KEY = "giving-identity-bin"
CORRELATION_KEY = "giving-correlation-id"
TRACE_KEY = "traceparent"
REPLAYED_TRAILER = "idempotent-replayed"

_CORRELATION = re.compile(r"[A-Za-z0-9._-]{8,128}", re.ASCII)
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


@dataclass(slots=True)
class Call:
    """One call in progress."""

    method: str
    identity: Identity
    correlation_id: str
    traceparent: str
    deadline: float  # of time.monotonic()
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def remaining_s(self) -> float:
        """Seconds that are left."""
        return self.deadline - time.monotonic()

    def mark_replayed(self) -> None:
        """Tells the caller that this answer repeats an earlier one."""
        self.trailers.append((REPLAYED_TRAILER, "true"))

    @property
    def is_replayed(self) -> bool:
        """Whether the answer repeats an earlier one."""
        return (REPLAYED_TRAILER, "true") in self.trailers


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call | None:
    """The call that this task works for; None outside of calls."""
    return _current.get()


def enter_call(call: Call) -> None:
    """Makes `call` the current one of this task and of the tasks that it starts."""
    _current.set(call)


def correlation_id_from(metadata: Mapping[str, str | bytes]) -> str:
    """The caller's correlation id where it has the right form, otherwise a new one."""
    given = metadata.get(CORRELATION_KEY)
    return given if isinstance(given, str) and _CORRELATION.fullmatch(given) else secrets.token_hex(16)


def traceparent_from(metadata: Mapping[str, str | bytes]) -> str:
    """The caller's W3C trace context, continued with a new span; otherwise a new trace."""
    given = metadata.get(TRACE_KEY)
    trace_id = given[3:35] if isinstance(given, str) and _TRACE.fullmatch(given) else secrets.token_hex(16)
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"


def caller_identity() -> Identity:
    """Who makes the current call; nobody outside of calls."""
    call = _current.get()
    return call.identity if call else Identity()


def mark_replayed(*, replayed: bool) -> None:
    """Tells the current caller, where it is so, that this answer repeats an earlier one."""
    call = _current.get()
    if call and replayed:
        call.mark_replayed()
