"""Events of the payment service settle donations, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence

import protovalidate
from giving.common.v1.event_pb2 import Event
from giving.payment.v1.event_pb2 import PaymentChanged
from google.protobuf.message import DecodeError

from donation_svc import convert
from donation_svc.domain.payments import WordRefused
from donation_svc.service.settlement import Heard, Settlement
from mesh import crashpoints
from mesh.events.consumer import EventRefused

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
            Heard(convert.word_from_event(event.version, _read(event)), event) for event in events if event.type == _TYPE
        ]
        if not heard:
            return
        try:
            await self._settlement.settle(heard)
        except WordRefused as error:
            raise EventRefused(str(error)) from error
        crashpoints.reach("donation.settled")


def _read(event: Event) -> PaymentChanged:
    try:
        data = PaymentChanged.FromString(event.data)
    except DecodeError as error:
        raise EventRefused("its data is not what its type says") from error
    if protovalidate.collect_violations(data, fail_fast=True):
        raise EventRefused("its data breaks the contract")
    return data
