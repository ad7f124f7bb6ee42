"""The gRPC edge: convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import grpc
from giving.donation.v1 import (
    campaign_service_pb2,
    campaign_service_pb2_grpc,
    charity_service_pb2,
    charity_service_pb2_grpc,
    donation_operations_service_pb2,
    donation_operations_service_pb2_grpc,
    donation_service_pb2,
    donation_service_pb2_grpc,
)

from donation_svc import convert
from donation_svc.domain.waiting import waits_for
from donation_svc.service.campaigns import Campaigns
from donation_svc.service.charities import Charities
from donation_svc.service.donations import Donations
from donation_svc.service.promises import Promises
from donation_svc.service.refunds import Refunds
from donation_svc.service.stuck import Stuck
from donation_svc.service.tallies import Tallies
from donation_svc.service.tracing import Tracing
from mesh.audit import AuditTrail
from mesh.rpc.call import caller_identity, mark_replayed

Context = grpc.aio.ServicerContext[Any, Any]


class CharityApi(charity_service_pb2_grpc.CharityServiceServicer):
    """CharityService."""

    def __init__(self, charities: Charities) -> None:
        self._charities = charities

    async def CreateCharity(
        self, request: charity_service_pb2.CreateCharityRequest, context: Context
    ) -> charity_service_pb2.CreateCharityResponse:
        charity, replayed = await self._charities.create_charity(request)
        mark_replayed(replayed=replayed)
        return charity_service_pb2.CreateCharityResponse(charity=convert.charity_message(charity))

    async def GetCharity(
        self, request: charity_service_pb2.GetCharityRequest, context: Context
    ) -> charity_service_pb2.GetCharityResponse:
        charity = await self._charities.get_charity(UUID(request.charity_id))
        return charity_service_pb2.GetCharityResponse(charity=convert.charity_message(charity))

    async def SuspendCharity(
        self, request: charity_service_pb2.SuspendCharityRequest, context: Context
    ) -> charity_service_pb2.SuspendCharityResponse:
        charity, replayed = await self._charities.suspend_charity(request)
        mark_replayed(replayed=replayed)
        return charity_service_pb2.SuspendCharityResponse(charity=convert.charity_message(charity))


class CampaignApi(campaign_service_pb2_grpc.CampaignServiceServicer):
    """CampaignService."""

    def __init__(self, campaigns: Campaigns) -> None:
        self._campaigns = campaigns

    async def CreateCampaign(
        self, request: campaign_service_pb2.CreateCampaignRequest, context: Context
    ) -> campaign_service_pb2.CreateCampaignResponse:
        campaign, replayed = await self._campaigns.create_campaign(request)
        mark_replayed(replayed=replayed)
        return campaign_service_pb2.CreateCampaignResponse(campaign=convert.campaign_message(campaign))

    async def ActivateCampaign(
        self, request: campaign_service_pb2.ActivateCampaignRequest, context: Context
    ) -> campaign_service_pb2.ActivateCampaignResponse:
        campaign, replayed = await self._campaigns.activate_campaign(request)
        mark_replayed(replayed=replayed)
        return campaign_service_pb2.ActivateCampaignResponse(campaign=convert.campaign_message(campaign))

    async def PauseCampaign(
        self, request: campaign_service_pb2.PauseCampaignRequest, context: Context
    ) -> campaign_service_pb2.PauseCampaignResponse:
        campaign, replayed = await self._campaigns.pause_campaign(request)
        mark_replayed(replayed=replayed)
        return campaign_service_pb2.PauseCampaignResponse(campaign=convert.campaign_message(campaign))

    async def GetCampaign(
        self, request: campaign_service_pb2.GetCampaignRequest, context: Context
    ) -> campaign_service_pb2.GetCampaignResponse:
        campaign = await self._campaigns.get_campaign(UUID(request.campaign_id))
        return campaign_service_pb2.GetCampaignResponse(campaign=convert.campaign_message(campaign))

    async def ListCampaigns(
        self, request: campaign_service_pb2.ListCampaignsRequest, context: Context
    ) -> campaign_service_pb2.ListCampaignsResponse:
        campaigns, token = await self._campaigns.list_campaigns(request)
        return campaign_service_pb2.ListCampaignsResponse(
            campaigns=[convert.campaign_message(campaign) for campaign in campaigns], next_page_token=token
        )


class DonationApi(donation_service_pb2_grpc.DonationServiceServicer):
    """DonationService."""

    def __init__(self, donations: Donations, promises: Promises, refunds: Refunds, campaigns: Campaigns) -> None:
        self._donations = donations
        self._promises = promises
        self._refunds = refunds
        self._campaigns = campaigns

    async def GetDonationOffer(
        self, request: donation_service_pb2.GetDonationOfferRequest, context: Context
    ) -> donation_service_pb2.GetDonationOfferResponse:
        total = convert.money_from(request.order_total) if request.HasField("order_total") else None
        offer = await self._campaigns.get_donation_offer(UUID(request.campaign_id), total)
        rules = convert.offer_rules(offer)
        return donation_service_pb2.GetDonationOfferResponse(
            presets=[preset for _, _, presets in rules for preset in presets],
            round_up=convert.money_message(offer.round_up) if offer.round_up else None,
            minimums=[minimum for minimum, _, _ in rules],
            maximums=[maximum for _, maximum, _ in rules],
            fee_rules=[convert.fee_rule_message(rule.currency) for rule in offer.rules],
        )

    async def CreateDonation(
        self, request: donation_service_pb2.CreateDonationRequest, context: Context
    ) -> donation_service_pb2.CreateDonationResponse:
        promised = await self._promises.create_donation(request)
        mark_replayed(replayed=promised.replayed)
        return donation_service_pb2.CreateDonationResponse(
            donation=convert.donation_message(promised.donation),
            client_secret=promised.client_secret,
            access_token=promised.access_token,
        )

    async def RecordDonation(
        self, request: donation_service_pb2.RecordDonationRequest, context: Context
    ) -> donation_service_pb2.RecordDonationResponse:
        recorded = await self._donations.record_donation(request)
        mark_replayed(replayed=recorded.replayed)
        return donation_service_pb2.RecordDonationResponse(donation=convert.donation_message(recorded.donation))

    async def ReverseRecordedDonation(
        self, request: donation_service_pb2.ReverseRecordedDonationRequest, context: Context
    ) -> donation_service_pb2.ReverseRecordedDonationResponse:
        reversal, donation, replayed = await self._donations.reverse_recorded_donation(request)
        mark_replayed(replayed=replayed)
        return donation_service_pb2.ReverseRecordedDonationResponse(
            reversal=convert.reversal_message(reversal), donation=convert.donation_message(donation)
        )

    async def RefundDonation(
        self, request: donation_service_pb2.RefundDonationRequest, context: Context
    ) -> donation_service_pb2.RefundDonationResponse:
        donation, replayed = await self._refunds.refund_donation(request)
        mark_replayed(replayed=replayed)
        return donation_service_pb2.RefundDonationResponse(donation=convert.donation_message(donation))

    async def GetDonation(
        self, request: donation_service_pb2.GetDonationRequest, context: Context
    ) -> donation_service_pb2.GetDonationResponse:
        donation = await self._donations.get_donation(UUID(request.donation_id), caller_identity())
        asked = request.include_client_secret
        secret = await self._promises.client_secret(donation, caller_identity()) if asked else ""
        return donation_service_pb2.GetDonationResponse(donation=convert.donation_message(donation), client_secret=secret)

    async def ListDonations(
        self, request: donation_service_pb2.ListDonationsRequest, context: Context
    ) -> donation_service_pb2.ListDonationsResponse:
        donations, token = await self._donations.list_donations(request, caller_identity())
        return donation_service_pb2.ListDonationsResponse(
            donations=[convert.donation_message(donation) for donation in donations], next_page_token=token
        )

    async def WatchDonation(
        self, request: donation_service_pb2.WatchDonationRequest, context: Context
    ) -> AsyncIterator[donation_service_pb2.WatchDonationResponse]:
        async for donation in self._donations.watch_donation(UUID(request.donation_id), caller_identity()):
            yield donation_service_pb2.WatchDonationResponse(donation=convert.donation_message(donation))


class DonationOperationsApi(donation_operations_service_pb2_grpc.DonationOperationsServiceServicer):
    """DonationOperationsService, as far as it is built."""

    def __init__(self, stuck: Stuck, tracing: Tracing, trail: AuditTrail, tallies: Tallies) -> None:
        self._stuck = stuck
        self._tracing = tracing
        self._trail = trail
        self._tallies = tallies

    async def ListStuck(
        self, request: donation_operations_service_pb2.ListStuckRequest, context: Context
    ) -> donation_operations_service_pb2.ListStuckResponse:
        donations, token = await self._stuck.list_stuck(request)
        return donation_operations_service_pb2.ListStuckResponse(
            items=[convert.stuck_message(donation, waits_for(donation)) for donation in donations], next_page_token=token
        )

    async def TraceDonation(
        self, request: donation_operations_service_pb2.TraceDonationRequest, context: Context
    ) -> donation_operations_service_pb2.TraceDonationResponse:
        return convert.trace_message(await self._tracing.trace_donation(request.reference))

    async def GetAuditTrail(
        self, request: donation_operations_service_pb2.GetAuditTrailRequest, context: Context
    ) -> donation_operations_service_pb2.GetAuditTrailResponse:
        entries, token = await self._trail.read(
            UUID(request.donation_id), page_size=request.page_size, page_token=request.page_token
        )
        return donation_operations_service_pb2.GetAuditTrailResponse(entries=entries, next_page_token=token)

    async def StreamTallies(
        self, request: donation_operations_service_pb2.StreamTalliesRequest, context: Context
    ) -> AsyncIterator[donation_operations_service_pb2.StreamTalliesResponse]:
        async with aclosing(self._tallies.stream_tallies(convert.optional_id(request.campaign_id))) as answers:
            async for answer in answers:
                yield answer

    async def ListChanges(
        self, request: donation_operations_service_pb2.ListChangesRequest, context: Context
    ) -> donation_operations_service_pb2.ListChangesResponse:
        return await self._tallies.list_changes(request)
