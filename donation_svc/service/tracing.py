"""One timeline of a donation over all services, and in words why it stands where it does."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog
from giving.common.v1 import error_pb2

from donation_svc.domain.explanation import NoPart, PaymentPart, explain, explain_without
from donation_svc.domain.history import History
from donation_svc.domain.trace import Step, Trace, in_order, named_too, timeline
from donation_svc.refusals import DonationNotFound
from mesh.clock import Clock
from mesh.errors import Refusal

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PaymentTrace:
    """What the payment service tells; `donation_id` is None where it knows of money without a payment."""

    donation_id: UUID | None
    steps: Sequence[Step]
    part: PaymentPart


class PaymentTraces(Protocol):
    """The payment service."""

    async def trace_payment(self, reference: str) -> PaymentTrace:
        """Everything that it knows of a payment by any id of it.

        Raises:
            Refusal: it knows none, or did not answer.
        """
        ...


class Histories(Protocol):
    """What is written down of donations."""

    async def named(self, reference: str) -> Sequence[UUID]:
        """Donations by any id that the donation service knows, newest first, a few more than are told of."""
        ...

    async def read(self, donation_id: UUID) -> History | None:
        """What is known of a donation; None: there is none."""
        ...


class Tracing:
    """Where money is, and why."""

    def __init__(
        self, *, histories: Histories, payments: PaymentTraces, clock: Clock, confirm_within: datetime.timedelta
    ) -> None:
        self._histories = histories
        self._payments = payments
        self._clock = clock
        self._confirm_within = confirm_within

    async def trace_donation(self, reference: str) -> Trace:
        """Everything known of what the reference names.

        Raises:
            DonationNotFound: no service knows it.
            Refusal: this service does not know it, and the payment service does not answer.
        """
        named = await self._histories.named(reference)
        history = await self._histories.read(named[0]) if named else None
        if history is not None:
            told = await self._told(str(history.donation.id))
            return self._trace(history, told, others=named[1:])
        told = await self._told(reference)
        if isinstance(told, Refusal):
            raise _of_the_donation(told, reference)
        history = await self._histories.read(told.donation_id) if told.donation_id else None
        if history is None:
            return Trace(None, told.steps, explain_without(told.part))
        return self._trace(history, told, others=())

    async def _told(self, reference: str) -> PaymentTrace | Refusal:
        try:
            return await self._payments.trace_payment(reference)
        except Refusal as refusal:
            if not _knows_nothing(refusal):
                _log.warning("the payment service tells nothing", reference=reference, reason=refusal.reason_name)
            return refusal

    def _trace(self, history: History, told: PaymentTrace | Refusal, *, others: Sequence[UUID]) -> Trace:
        now = self._clock.now()
        steps = timeline(history, now=now)
        last = [named_too(others, now=now)] if others else []
        part: PaymentPart | NoPart = NoPart.UNKNOWN
        if isinstance(told, PaymentTrace):
            steps, part = in_order([*steps, *told.steps]), told.part
        elif not _knows_nothing(told):
            part = NoPart.SILENT
            last.append(Step(now, f"the payment service tells nothing: {told.reason_name}", {}, service="payment"))
        explanation = explain(history.donation, part, now=now, confirm_within=self._confirm_within)
        return Trace(history.donation, [*steps, *last], explanation)


def _knows_nothing(refusal: Refusal) -> bool:
    return refusal.reason_number == error_pb2.ERROR_REASON_PAYMENT_NOT_FOUND


def _of_the_donation(refusal: Refusal, reference: str) -> Refusal:
    if _knows_nothing(refusal):
        return DonationNotFound("no service knows this reference", donation_id=reference)
    return refusal
