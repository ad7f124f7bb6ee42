"""Translation between events, messages and the domain's values. No rules."""

from __future__ import annotations

import datetime
from uuid import UUID

from giving.aggregate.v1 import totals_pb2
from giving.common.v1.event_pb2 import Event
from giving.donation.v1.event_pb2 import CampaignChanged, DonationChange

from aggregator_svc.domain.totals import CampaignTotals, CampaignWord, CurrencyTotals, Delta
from mesh.events.consumer import day_of


def delta(event: Event, change: DonationChange) -> Delta:
    before, after = change.before, change.after
    return Delta(
        day=day_of(event),
        event_id=UUID(bytes=event.id),
        time=event.time.ToDatetime(tzinfo=datetime.UTC),
        tx=event.tx,
        epoch=event.epoch,
        donation_id=UUID(change.donation_id),
        charity_id=UUID(change.charity_id),
        campaign_id=UUID(change.campaign_id),
        currency=change.currency,
        donor_id=UUID(change.donor_id) if change.donor_id else None,
        gross=after.gross - before.gross,
        refunded=after.refunded - before.refunded,
        disputed=after.disputed - before.disputed,
        donations=after.donations - before.donations,
    )


def campaign_word(changed: CampaignChanged) -> CampaignWord:
    campaign = changed.campaign
    currencies = tuple(rule.currency for rule in campaign.currency_rules)
    return CampaignWord(UUID(campaign.campaign_id), UUID(campaign.charity_id), currencies, campaign.version)


def totals_message(totals: CampaignTotals) -> totals_pb2.CampaignTotals:
    message = totals_pb2.CampaignTotals(campaign_id=str(totals.campaign_id), version=totals.version)
    message.as_of.FromDatetime(totals.as_of)
    message.currencies.extend(map(share_message, totals.currencies))
    return message


def share_message(share: CurrencyTotals) -> totals_pb2.CurrencyTotals:
    return totals_pb2.CurrencyTotals(
        currency=share.currency,
        gross=share.gross,
        refunded=share.refunded,
        disputed=share.disputed,
        net=share.net,
        donations=share.donations,
        donors=share.donors,
    )


def totals_from(message: totals_pb2.CampaignTotals) -> CampaignTotals:
    shares = (
        CurrencyTotals(share.currency, share.gross, share.refunded, share.disputed, share.donations, share.donors)
        for share in message.currencies
    )
    as_of = message.as_of.ToDatetime(tzinfo=datetime.UTC)
    return CampaignTotals(UUID(message.campaign_id), tuple(shares), message.version, as_of)
