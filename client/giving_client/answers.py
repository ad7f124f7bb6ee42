"""What calls that change something return; `replayed`: an earlier call with the same key had done it."""

from __future__ import annotations

from dataclasses import dataclass

from giving.donation.v1.campaign_pb2 import Campaign
from giving.donation.v1.charity_pb2 import Charity
from giving.donation.v1.donation_pb2 import Donation, Reversal


@dataclass(frozen=True, slots=True)
class DonationAnswer:
    donation: Donation
    replayed: bool


@dataclass(frozen=True, slots=True)
class PromiseAnswer:
    """A promise. `client_secret` is what the donor's browser confirms with; empty while the payment is not ready.

    `access_token` opens this one donation to a guest over REST, as bearer.
    """

    donation: Donation
    client_secret: str
    access_token: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class ReversalAnswer:
    """The reversal, and the donation after it."""

    reversal: Reversal
    donation: Donation
    replayed: bool


@dataclass(frozen=True, slots=True)
class CharityAnswer:
    charity: Charity
    replayed: bool


@dataclass(frozen=True, slots=True)
class CampaignAnswer:
    campaign: Campaign
    replayed: bool
