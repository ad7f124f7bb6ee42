"""Events of the donation service, as its relay would deliver them."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

from giving.common.v1.event_pb2 import Event
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.event_pb2 import DonationChange, DonationRefunded, DonationSucceeded, DonationTally
from google.protobuf.message import Message
from uuid_utils.compat import uuid7

from mesh.ids import new_id, new_tenant_id

_EPOCH_DAY = datetime.date(1970, 1, 1)


class Giver:
    """Gifts to one campaign of one charity."""

    def __init__(self) -> None:
        self.charity_id = new_tenant_id()
        self.campaign_id = new_id(tenant_id=self.charity_id)

    def succeeded(self, minor_units: int, currency: str = "USD", **more: Any) -> Event:
        """A gift arrived."""
        return self._event(DonationSucceeded, currency, before=DonationTally(), **{"after": _tally(minor_units)} | more)

    def refunded(self, minor_units: int, *, of: int, currency: str = "USD", **more: Any) -> Event:
        """Part of a gift of `of` went back."""
        return self._event(DonationRefunded, currency, before=_tally(of), after=_tally(of, minor_units), **more)

    def _event(self, message: Any, currency: str, **more: Any) -> Event:
        fields: dict[str, Any] = {
            "donation_id": str(new_id(tenant_id=self.charity_id)),
            "charity_id": str(self.charity_id),
            "campaign_id": str(self.campaign_id),
            "origin": Donation.ORIGIN_RECORDED,
            "currency": currency,
            "state": Donation.STATE_SUCCEEDED,
        }
        change = DonationChange(**fields | more)
        return make_event(message(change=change), subject=change.donation_id)


def make_event(data: Message, *, subject: str, age_days: int = 0) -> Event:
    """An event with the columns that only the log knows."""
    today = datetime.datetime.now(datetime.UTC).date()
    event = Event(
        id=uuid7().bytes,
        type=data.DESCRIPTOR.full_name,
        source="giving/donation",
        subject=subject,
        version=1,
        data=data.SerializeToString(),
        tx=1_000,
        epoch=1,
        day=(today - _EPOCH_DAY).days - age_days,
    )
    event.time.GetCurrentTime()
    return event


def poison() -> Event:
    """An event whose data is not what its type says."""
    donation_id = str(UUID(int=7))
    return make_event(DonationSucceeded(change=DonationChange(donation_id=donation_id)), subject=donation_id)


def donation_id_of(event: Event) -> str:
    return event.subject


def _tally(gross: int, refunded: int = 0) -> DonationTally:
    return DonationTally(gross=gross, refunded=refunded, donations=1)
