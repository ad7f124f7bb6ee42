"""Waiting for the provider on behalf of a caller: not longer than he does, and never instead of the reconciler."""

from __future__ import annotations

import datetime
from typing import Protocol
from uuid import UUID

from mesh.rpc.call import current_call
from payment_svc.domain.payments import Outcome, Payment
from payment_svc.service.changes import Desk

# How long a caller waits for the provider before it gets the payment as it stands; the asking goes on without it.
PATIENCE_S = 6.0
# What is kept back from the caller's deadline for the answer itself.
_MARGIN_S = 1.0


class Asking(Protocol):
    """Asks the provider."""

    def lease_until(self) -> datetime.datetime:
        """Until when a payment is held that is taken now."""
        ...

    async def ask(self, payment_id: UUID, *, patience_s: float, held: bool = False) -> None:
        """Asks what has to be asked about a payment; waits at most `patience_s`."""
        ...


class Waits:
    """Lets a caller wait."""

    def __init__(self, desk: Desk, *, asking: Asking) -> None:
        self._desk = desk
        self._asking = asking

    def lease_until(self) -> datetime.datetime:
        """Until when a payment is held that its caller has just taken."""
        return self._asking.lease_until()

    async def asked(self, payment: Payment, *, held: bool = False) -> Payment:
        """The payment after the provider was asked what has to be asked, or when the caller's patience ends.

        `held`: the caller has just taken the payment.
        """
        self._desk.wake()
        call = current_call()
        patience_s = min(PATIENCE_S, call.remaining_s() - _MARGIN_S) if call else PATIENCE_S
        await self._asking.ask(payment.id, patience_s=patience_s, held=held)
        return await self._desk.payments.get(payment.id) or payment

    async def proven(self, payment: Payment) -> Payment:
        """The payment, after the provider was asked about what is unproven of it."""
        unproven = any(attempt.outcome is Outcome.UNKNOWN for attempt in payment.attempts)
        return await self.asked(payment) if unproven else payment
