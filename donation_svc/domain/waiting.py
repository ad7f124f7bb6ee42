"""What an open donation waits for, and how long the service lets it."""

from __future__ import annotations

import datetime
import enum

from donation_svc.domain.donations import Donation, DonationState

# A promise whose payment did not become ready is asked about as often.
LOOK_AGAIN = datetime.timedelta(seconds=30)
# A promise whose payment never became ready in this time is called off.
READY_WITHIN = datetime.timedelta(hours=1)


class Due(enum.Enum):
    """What an open donation waits for when its time has come."""

    READY = "ready"
    END = "end"
    OTHERS = "others"


def due(donation: Donation, *, now: datetime.datetime, confirm_within: datetime.timedelta) -> Due:
    """What the service does about an open donation."""
    if donation.state is DonationState.PENDING:
        return Due.END if now - donation.create_time >= READY_WITHIN else Due.READY
    return Due.END if now >= ends_at(donation, confirm_within=confirm_within) else Due.OTHERS


def ends_at(donation: Donation, *, confirm_within: datetime.timedelta) -> datetime.datetime:
    """Until when the donor may confirm, or what is held may be captured."""
    return donation.hold_end_time or donation.create_time + confirm_within
