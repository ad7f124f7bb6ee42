"""What the service needs of payments, and what it makes of their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog
from giving.payment.v1.payment_service_pb2 import RefundPaymentRequest

from donation_svc.domain.donations import Donation
from donation_svc.domain.payments import PaymentWord
from donation_svc.service.settlement import Settlement
from mesh import crashpoints
from mesh.errors import Refusal

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PaymentAnswer:
    """Where a payment stands, and what the donor confirms it with; empty until the provider has answered."""

    word: PaymentWord
    client_secret: str


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """Where a payment stands after a refund, and whether an earlier call had asked for it."""

    word: PaymentWord
    replayed: bool


class Payments(Protocol):
    """The payment service."""

    async def create_payment(self, donation: Donation) -> PaymentAnswer:
        """The donation's payment, new or known.

        Raises:
            Refusal: the payment service said no, or did not answer.
        """
        ...

    async def abandon_payment(self, donation: Donation) -> PaymentWord:
        """The donation's payment, called off for ever.

        Raises:
            Refusal: it succeeded, or is not called off yet.
        """
        ...

    async def refund_payment(self, request: RefundPaymentRequest) -> RefundAnswer:
        """The payment after a refund, new or known by the request's key.

        Raises:
            Refusal: the payment service or the provider said no, or did not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """A promise after its payment was asked for; `refusal` says why there is nothing to confirm."""

    donation: Donation
    client_secret: str
    refusal: Refusal | None = None


class Readying:
    """Makes payments of promises ready; the same whoever asks, and however often."""

    def __init__(self, *, payments: Payments, settlement: Settlement) -> None:
        self._payments = payments
        self._settlement = settlement

    async def make_ready(self, donation: Donation) -> Readiness:
        """The promise with its payment.

        What the payment service refuses or does not answer leaves the promise as it is: it is recorded, and a caller who
        was told of an error would make a second one.
        """
        try:
            answer = await self._payments.create_payment(donation)
        except Refusal as refusal:
            _log.warning("payment not ready", donation_id=str(donation.id), reason=refusal.reason_name)
            return Readiness(donation, "", refusal)
        crashpoints.reach("donation.payment_made")
        after = await self._settlement.learn(donation, answer.word)
        return Readiness(after, answer.client_secret if after.is_confirmable else "")
