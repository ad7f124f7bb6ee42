"""Translation between events, messages and the domain's values. No rules."""

from __future__ import annotations

import datetime
from uuid import UUID

from giving.aggregate.v1 import aggregate_service_pb2, totals_pb2
from giving.common.v1.event_pb2 import Event
from giving.donation.v1.donation_operations_service_pb2 import StreamTalliesResponse
from giving.donation.v1.event_pb2 import CampaignChanged, DonationChange

from aggregator_svc.domain.course import Point
from aggregator_svc.domain.rebuilding import Base, Complete, Portion, Progress, Return, Tally
from aggregator_svc.domain.totals import CampaignTotals, CampaignWord, CurrencyTotals, Delta, Drift, Place
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


def point_message(point: Point) -> aggregate_service_pb2.GetStatsResponse.Point:
    message = aggregate_service_pb2.GetStatsResponse.Point(currencies=map(share_message, point.currencies))
    message.start_time.FromDatetime(point.start_time)
    return message


def place_message(place: Place) -> aggregate_service_pb2.ListLeaderboardResponse.Place:
    return aggregate_service_pb2.ListLeaderboardResponse.Place(
        campaign_id=str(place.campaign_id), totals=share_message(place.totals)
    )


def drift_message(drift: Drift) -> aggregate_service_pb2.VerifyTotalResponse.Drift:
    return aggregate_service_pb2.VerifyTotalResponse.Drift(
        currency=drift.currency,
        gross=drift.gross,
        refunded=drift.refunded,
        disputed=drift.disputed,
        donations=drift.donations,
    )


def progress_message(progress: Progress) -> aggregate_service_pb2.RebuildTotalsResponse:
    return aggregate_service_pb2.RebuildTotalsResponse(
        done=progress.done,
        estimated=progress.estimated,
        repaired=progress.repaired or 0,
        complete=progress.repaired is not None,
    )


def portion(answer: StreamTalliesResponse) -> Portion:
    if answer.snapshot:
        return Base(answer.epoch, answer.snapshot, answer.estimated_tallies)
    if answer.complete:
        return Complete()
    return [*map(_tally, answer.tallies)] or [*map(_return, answer.returns)]


def _tally(message: StreamTalliesResponse.Tally) -> Tally:
    tally = message.tally
    return Tally(
        message.donation_id,
        message.charity_id,
        message.campaign_id,
        message.donor_id,
        message.currency,
        tally.gross,
        tally.refunded,
        tally.disputed,
        message.settle_time.ToMicroseconds(),
    )


def _return(message: StreamTalliesResponse.Return) -> Return:
    return Return(message.campaign_id, message.currency, message.refunded, message.disputed, message.time.ToMicroseconds())
