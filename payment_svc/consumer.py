"""Events of the donation service as changes of the ledger: recorded donations are posted from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from giving.common.v1.event_pb2 import Event
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.event_pb2 import DonationRefunded, DonationSucceeded

from mesh.events.consumer import EventRefused, data_of
from mesh.events.partitions import Partitions
from payment_svc import convert
from payment_svc.domain.ledger import DonationChange, PostingKind
from payment_svc.service.ledger import Ledger

DURABLE = "payment-ledger"
SOURCE = "giving/donation"

_Data: TypeAlias = type[DonationSucceeded] | type[DonationRefunded]

# type of the event → its message, the figure that it moves, what that is posted as.
_KNOWN: Mapping[str, tuple[_Data, str, PostingKind]] = {
    DonationSucceeded.DESCRIPTOR.full_name: (DonationSucceeded, "gross", PostingKind.RECORDED),
    DonationRefunded.DESCRIPTOR.full_name: (DonationRefunded, "refunded", PostingKind.RECORDED_REVERSAL),
}


class RecordedDonations:
    """Handler of the consumer: each event is posted once for ever, whatever the order."""

    def __init__(self, *, ledger: Ledger, partitions: Partitions) -> None:
        self._ledger = ledger
        self._partitions = partitions

    async def apply(self, events: Sequence[Event]) -> None:
        """Posts what of the events concerns recorded donations, all or nothing.

        Raises:
            EventRefused: one of them breaks the contract.
        """
        changes = [change for event in events if (change := read_change(event))]
        if changes:
            await self._partitions.ensure("applied", {change.day for change in changes})
            await self._ledger.post_recorded(changes, source=SOURCE)


def read_change(event: Event) -> DonationChange | None:
    """What the event says of a recorded donation; None where the ledger learns nothing from it.

    Raises:
        EventRefused: its data breaks the contract.
    """
    known = _KNOWN.get(event.type)
    if known is None:
        return None
    message, figure, kind = known
    change = data_of(event, message).change
    # What we took ourselves is posted from the payment, not from the donation.
    if change.origin != Donation.ORIGIN_RECORDED:
        return None
    growth = convert.growth(change)
    minor_units = growth.pop(figure)
    if any(growth.values()):
        raise EventRefused("moves other figures than its type does")
    return convert.change_from(event, change, kind=kind, minor_units=minor_units)
