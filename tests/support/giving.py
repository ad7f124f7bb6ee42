"""Charities, campaigns and gifts, as a caller makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from giving.aggregate.v1.aggregate_service_pb2 import GetTotalsRequest
from giving.aggregate.v1.totals_pb2 import CampaignTotals, CurrencyTotals
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import campaign_service_pb2, charity_pb2, charity_service_pb2, donation_service_pb2
from giving.donation.v1.campaign_pb2 import CurrencyRule

from tests.support.mesh import Mesh, fresh_key


@dataclass(frozen=True)
class Cause:
    """An open campaign of a charity of its own."""

    charity_id: str
    campaign_id: str


def rule(
    currency: str = "USD", low: int = 100, high: int = 1_000_000, presets: tuple[int, ...] = (100, 200)
) -> CurrencyRule:
    return CurrencyRule(currency=currency, minor_units_min=low, minor_units_max=high, preset_minor_units=presets)


def charity_request(**more: Any) -> charity_service_pb2.CreateCharityRequest:
    fields: dict[str, Any] = {
        "request_id": fresh_key(),
        "display_name": "Food for all",
        "mode": charity_pb2.Charity.MODE_TEST,
        "default_currency": "USD",
        "time_zone": "Europe/Berlin",
    }
    return charity_service_pb2.CreateCharityRequest(**fields | more)


def campaign_request(charity_id: str, *rules: CurrencyRule, **more: Any) -> campaign_service_pb2.CreateCampaignRequest:
    fields: dict[str, Any] = {
        "request_id": fresh_key(),
        "charity_id": charity_id,
        "display_name": "Bread",
        "currency_rules": rules or (rule(), rule("EUR")),
    }
    return campaign_service_pb2.CreateCampaignRequest(**fields | more)


def gift(
    campaign_id: str, minor_units: int = 250, currency: str = "USD", **more: Any
) -> donation_service_pb2.RecordDonationRequest:
    fields: dict[str, Any] = {
        "payment_ref": fresh_key("order"),
        "campaign_id": campaign_id,
        "amount": Money(minor_units=minor_units, currency=currency),
    }
    return donation_service_pb2.RecordDonationRequest(**fields | more)


def reversal(
    charity_id: str, payment_ref: str, minor_units: int, currency: str = "USD", **more: Any
) -> donation_service_pb2.ReverseRecordedDonationRequest:
    fields: dict[str, Any] = {
        "refund_ref": fresh_key("refund"),
        "charity_id": charity_id,
        "payment_ref": payment_ref,
        "amount": Money(minor_units=minor_units, currency=currency),
    }
    return donation_service_pb2.ReverseRecordedDonationRequest(**fields | more)


async def open_cause(mesh: Mesh, *rules: CurrencyRule, accepts_deferred: bool = False, **of_charity: Any) -> Cause:
    """A new charity with an open campaign."""
    charity = (await mesh.charities.CreateCharity(charity_request(**of_charity))).charity
    request = campaign_request(charity.charity_id, *rules, accepts_deferred=accepts_deferred)
    campaign = (await mesh.campaigns.CreateCampaign(request)).campaign
    await mesh.campaigns.ActivateCampaign(
        campaign_service_pb2.ActivateCampaignRequest(request_id=fresh_key(), campaign_id=campaign.campaign_id)
    )
    return Cause(charity.charity_id, campaign.campaign_id)


async def totals_of(mesh: Mesh, campaign_id: str) -> CampaignTotals:
    """A campaign's totals; version 0 while the aggregator does not know the campaign yet."""
    try:
        return (await mesh.aggregates.GetTotals(GetTotalsRequest(campaign_id=campaign_id))).totals
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return CampaignTotals()
        raise


def shares_of(totals: CampaignTotals) -> dict[str, CurrencyTotals]:
    """Totals by currency."""
    return {share.currency: share for share in totals.currencies}
