"""Events of the payment service settle donations, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence

from giving.common.v1.event_pb2 import Event
from giving.payment.v1.event_pb2 import PaymentChanged

from donation_svc import convert
from donation_svc.domain.payments import WordRefused
from donation_svc.service.settlement import Heard, Settlement
from mesh import crashpoints
from mesh.events.consumer import EventRefused, data_of

DURABLE = "donation-payments"
_TYPE = PaymentChanged.DESCRIPTOR.full_name


class PaymentEvents:
    """Handler of the consumer: versions tell what is news, so an event that comes again changes nothing."""

    def __init__(self, settlement: Settlement) -> None:
        self._settlement = settlement

    async def apply(self, events: Sequence[Event]) -> None:
        """Settles what the events are about, all or nothing.

        Raises:
            EventRefused: one of them breaks the contract or contradicts its donation.
        """
        heard = [
            Heard(convert.word_from_event(event.version, data_of(event, PaymentChanged)), event)
            for event in events
            if event.type == _TYPE
        ]
        if not heard:
            return
        try:
            await self._settlement.settle(heard)
        except WordRefused as error:
            raise EventRefused(str(error)) from error
        crashpoints.reach("donation.settled")
