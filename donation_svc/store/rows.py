"""Rows as domain values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from donation_svc.domain.causes import Campaign, CampaignState, Charity, CharityState, CurrencyRule
from donation_svc.domain.donations import Donation, DonationState, Origin, Reversal, Tally
from mesh.money import Money

# The contract's number.
MODE_LIVE = 1


def charity(row: Any) -> Charity:
    return Charity(
        id=row["id"],
        display_name=row["display_name"],
        state=CharityState(row["state"]),
        mode=row["mode"],
        default_currency=row["default_currency"],
        time_zone=row["time_zone"],
        provider_account=row["provider_account"],
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def campaign(rows: Iterable[Any]) -> Campaign:
    """A campaign from its rows, one per currency."""
    listed = list(rows)
    first = listed[0]
    return Campaign(
        id=first["id"],
        charity_id=first["charity_id"],
        display_name=first["display_name"],
        charity_display_name=first["charity_display_name"],
        live=first["charity_mode"] == MODE_LIVE,
        accepts_deferred=first["accepts_deferred"],
        description=first["description"],
        state=CampaignState(first["state"]),
        rules={row["currency"]: _rule(row) for row in listed},
        start_time=first["start_time"],
        end_time=first["end_time"],
        version=first["version"],
        create_time=first["create_time"],
        update_time=first["update_time"],
    )


def _rule(row: Any) -> CurrencyRule:
    return CurrencyRule(row["currency"], row["minor_units_min"], row["minor_units_max"], tuple(row["presets"]), row["goal"])


def donation(row: Any) -> Donation:
    return Donation(
        id=row["id"],
        charity_id=row["charity_id"],
        campaign_id=row["campaign_id"],
        donor_id=row["donor_id"],
        origin=Origin(row["origin"]),
        state=DonationState(row["state"]),
        amount=Money(row["amount"], row["currency"]),
        tally=Tally(row["gross"], row["refunded"], row["disputed"], int(row["settle_time"] is not None)),
        anonymous=row["anonymous"],
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        settle_time=row["settle_time"],
        payment_ref=row["payment_ref"],
        payment_id=row["payment_id"],
        possible_duplicate_of=row["possible_duplicate_of"],
        failure_code=row["failure_code"],
        metadata=json.loads(row["metadata"]),
        fee_cover=row["fee_cover"],
        retryable=row["retryable"],
        payment_version=row["payment_version"],
        next_attempt_time=row["next_attempt_time"],
        attempts=row["attempts"],
        waiting_for=row["waiting_for"],
        manual_capture=row["manual_capture"],
        hold_end_time=row["hold_end_time"],
    )


def reversal(row: Any) -> Reversal:
    return Reversal(
        id=row["id"],
        charity_id=row["charity_id"],
        donation_id=row["donation_id"],
        amount=Money(row["amount"], row["currency"]),
        refund_ref=row["refund_ref"],
        create_time=row["create_time"],
    )
