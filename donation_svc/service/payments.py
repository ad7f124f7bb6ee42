"""What the service needs of payments, and what it makes of their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from donation_svc.domain.donations import Donation
from donation_svc.domain.payments import PaymentWord, WordRefused
from donation_svc.service.settlement import Heard, Settlement
from mesh import crashpoints
from mesh.errors import Refusal
from mesh.rpc.call import current_call

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PaymentAnswer:
    """Where a payment stands, and what the donor confirms it with; empty until the provider has answered."""

    word: PaymentWord
    client_secret: str


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
        after = await self._learn(donation, answer.word)
        return Readiness(after, answer.client_secret if after.is_open else "")

    async def _learn(self, donation: Donation, word: PaymentWord) -> Donation:
        try:
            donations = await self._settlement.settle([Heard(word, current_call())])
        except WordRefused:
            _log.exception("a payment contradicts its donation", donation_id=str(donation.id))
            return donation
        except Refusal as refusal:
            # The payment is there, and its events will move the donation.
            _log.warning("payment not noted", donation_id=str(donation.id), reason=refusal.reason_name)
            return donation
        return donations[donation.id]
