"""Event logs folded: how often what changed, what it came to, and what each consumer had to take of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from giving.common.v1.event_pb2 import Event
from giving.donation.v1 import event_pb2 as donations
from giving.donation.v1.donation_pb2 import Donation
from giving.payment.v1 import event_pb2 as payments
from google.protobuf.message import DecodeError, Message

_OF_DONATIONS: Collection[type[Message]] = (
    donations.DonationCreated,
    donations.DonationAwaitingPayment,
    donations.DonationSucceeded,
    donations.DonationFailed,
    donations.DonationExpired,
    donations.DonationRefunded,
    donations.DonationDisputeChanged,
)
# What moves totals; what of it moves the ledger, where a checkout has charged.
_COUNTED = (donations.DonationSucceeded, donations.DonationRefunded, donations.DonationDisputeChanged)
_POSTED = (donations.DonationSucceeded, donations.DonationRefunded)
# type → what it is about, and its message.
_TYPES: Mapping[str, tuple[str, type[Message]]] = {
    **{message.DESCRIPTOR.full_name: ("donation", message) for message in _OF_DONATIONS},
    donations.CampaignChanged.DESCRIPTOR.full_name: ("campaign", donations.CampaignChanged),
    donations.CharityChanged.DESCRIPTOR.full_name: ("charity", donations.CharityChanged),
    payments.PaymentChanged.DESCRIPTOR.full_name: ("payment", payments.PaymentChanged),
}


class Unreadable(Exception):  # noqa: N818 - becomes a violation
    """An event that is not what its type says."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event. `moved`: what it added to gross or captured, refunded, disputed, in minor units.

    `counted` and `posted` are what totals and ledger had to take of it; None where they learn nothing from it.
    """

    event_id: UUID
    object: str
    object_id: str
    moved: tuple[int, int, int]
    counted: tuple[int, ...] | None = None
    posted: tuple[int, ...] | None = None


def read(event_id: UUID, payload: bytes) -> Change | None:
    """What an event of a log says; None where it is about nothing that is compared.

    Raises:
        Unreadable: it breaks the contract.
    """
    try:
        event = Event.FromString(payload)
        object_name, message = _TYPES.get(event.type, ("", Event))
        data: Any = message.FromString(event.data) if object_name else None
    except DecodeError as error:
        raise Unreadable("cannot be decoded") from error
    if event.id != event_id.bytes:
        raise Unreadable("names another event")
    if data is None:
        return None
    if object_name == "donation":
        return _of_donation(event_id, event.subject, data)
    moved = _moved(data, "captured") if object_name == "payment" else (0, 0, 0)
    return Change(event_id, object_name, event.subject, moved)


def _moved(change: Any, first: str) -> tuple[int, int, int]:
    before, after = change.before, change.after
    grown = getattr(after, first) - getattr(before, first)
    return grown, after.refunded - before.refunded, after.disputed - before.disputed


def _of_donation(event_id: UUID, subject: str, data: Any) -> Change:
    change = data.change
    moved = _moved(change, "gross")
    counted = posted = None
    if isinstance(data, _COUNTED):
        counted = (*moved, change.after.donations - change.before.donations)
    if isinstance(data, _POSTED) and change.origin == Donation.ORIGIN_RECORDED:
        posted = (moved[0] - moved[1],)
    return Change(event_id, "donation", subject, moved, counted, posted)


def slot_of(object_id: str) -> str:
    """A part of an id that chance decides: 256 slots. The last bits of an id are its charity's, these are not."""
    return object_id[28:30]


class Sums:
    """Figures added up by place: as large as there are places, however many events there are."""

    def __init__(self) -> None:
        self.by_place: dict[Any, list[int]] = {}

    def add(self, place: Any, *figures: int) -> None:
        held = self.by_place.setdefault(place, [0] * len(figures))
        for index, figure in enumerate(figures):
            held[index] += figure

    def differing(self, other: Sums) -> Iterator[tuple[Any, list[int], list[int]]]:
        """Places at which the two differ, with what each has there; what is missing is zero."""
        for place in sorted(self.by_place.keys() | other.by_place.keys()):
            mine, theirs = self.by_place.get(place, []), other.by_place.get(place, [])
            width = max(len(mine), len(theirs))
            if _padded(mine, width) != _padded(theirs, width):
                yield place, _padded(mine, width), _padded(theirs, width)


def _padded(figures: list[int], width: int) -> list[int]:
    return figures + [0] * (width - len(figures))
