"""One timeline of everything that is known of a payment, and in words why it stands where it does."""

from __future__ import annotations

from typing import Protocol

from mesh.clock import Clock
from payment_svc.domain.explanation import Explanation, explain, explain_stray
from payment_svc.domain.history import History
from payment_svc.domain.trace import Trace, timeline
from payment_svc.refusals import PaymentNotFound


class Histories(Protocol):
    """What is written down of payments."""

    async def read(self, reference: str) -> History | None:
        """What is known of a payment by any id of it; None: nothing is."""
        ...


class Calls(Protocol):
    """Whether the provider may be called now."""

    @property
    def closed(self) -> bool:
        """Whether every call goes through."""
        ...


class Tracing:
    """Where money is, and why."""

    def __init__(self, *, histories: Histories, calls: Calls, clock: Clock) -> None:
        self._histories = histories
        self._calls = calls
        self._clock = clock

    async def trace_payment(self, reference: str) -> Trace:
        """Everything known of what the reference names.

        Raises:
            PaymentNotFound: nothing is.
        """
        history = await self._histories.read(reference)
        if history is None:
            raise PaymentNotFound("nothing is known under this reference", payment_id=reference)
        return Trace(history.payment, timeline(history, now=self._clock.now()), self._explained(history))

    def _explained(self, history: History) -> Explanation:
        if history.payment is None:
            return explain_stray(history.events, posted=bool(history.postings))
        paused = not self._calls.closed
        return explain(history.payment, now=self._clock.now(), events=history.events, moved=history.moved, paused=paused)
