"""Upstreams of the gateway's tests: real gRPC servers whose answers a test sets."""
# ruff: noqa: N802 - handlers are named like their RPCs

import asyncio
import contextlib

import grpc
from giving.aggregate.v1 import aggregate_service_pb2_grpc
from giving.aggregate.v1.aggregate_service_pb2 import FollowTotalsResponse, GetTotalsResponse, WatchTotalsResponse
from giving.aggregate.v1.totals_pb2 import CampaignTotals, CurrencyTotals
from giving.donation.v1 import campaign_service_pb2_grpc, donation_service_pb2_grpc
from giving.donation.v1.campaign_pb2 import Campaign
from giving.donation.v1.campaign_service_pb2 import ActivateCampaignResponse, CreateCampaignResponse
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.donation_service_pb2 import (
    CreateDonationResponse,
    GetDonationOfferResponse,
    GetDonationResponse,
    ListDonationsResponse,
    RecordDonationResponse,
    WatchDonationResponse,
)
from giving.payment.v1 import payment_service_pb2_grpc
from giving.payment.v1.payment_service_pb2 import HandleProviderWebhookResponse
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_status import rpc_status

from mesh.errors import to_status

DONATION_ID = "01890000-0000-7000-8000-000000000001"
CAMPAIGN_ID = "01890000-0000-7000-8000-000000000002"


def totals(version, campaign_id=CAMPAIGN_ID):
    """A state whose gross tells its version."""
    row = CurrencyTotals(currency="USD", gross=version * 100, net=version * 100, donations=version)
    return CampaignTotals(campaign_id=campaign_id, version=version, currencies=[row])


class Recorded:
    """Keeps what came in; a method named in `refusals` refuses as the mesh's servers do."""

    def __init__(self):
        self.requests = {}
        self.metadata = {}
        self.refusals = {}
        self.replayed = False

    async def take(self, name, request, context):
        self.requests[name] = request
        self.metadata[name] = dict(context.invocation_metadata())
        if name in self.refusals:
            await context.abort_with_status(rpc_status.to_status(to_status(self.refusals[name])))
        if self.replayed:
            context.set_trailing_metadata((("idempotent-replayed", "true"),))


class Donations(Recorded, donation_service_pb2_grpc.DonationServiceServicer):
    """Donations of which nothing more is heard once the gate is closed."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def CreateDonation(self, request, context):
        await self.take("CreateDonation", request, context)
        return CreateDonationResponse(donation=Donation(donation_id=DONATION_ID, campaign_id=request.campaign_id))

    async def RecordDonation(self, request, context):
        await self.take("RecordDonation", request, context)
        return RecordDonationResponse(donation=Donation(donation_id=DONATION_ID))

    async def GetDonation(self, request, context):
        await self.take("GetDonation", request, context)
        return GetDonationResponse(donation=Donation(donation_id=request.donation_id))

    async def GetDonationOffer(self, request, context):
        await self.take("GetDonationOffer", request, context)
        return GetDonationOfferResponse()

    async def ListDonations(self, request, context):
        await self.take("ListDonations", request, context)
        return ListDonationsResponse(donations=[Donation(donation_id=DONATION_ID) for _ in range(50)])

    async def WatchDonation(self, request, context):
        await self.take("WatchDonation", request, context)
        yield WatchDonationResponse(donation=Donation(donation_id=request.donation_id))
        await self.gate.wait()


class Campaigns(Recorded, campaign_service_pb2_grpc.CampaignServiceServicer):
    async def CreateCampaign(self, request, context):
        await self.take("CreateCampaign", request, context)
        return CreateCampaignResponse(campaign=Campaign(campaign_id=CAMPAIGN_ID, display_name=request.display_name))

    async def ActivateCampaign(self, request, context):
        await self.take("ActivateCampaign", request, context)
        return ActivateCampaignResponse(campaign=Campaign(campaign_id=request.campaign_id))


class Payments(Recorded, payment_service_pb2_grpc.PaymentServiceServicer):
    async def HandleProviderWebhook(self, request, context):
        await self.take("HandleProviderWebhook", request, context)
        return HandleProviderWebhookResponse()


class Totals(Recorded, aggregate_service_pb2_grpc.AggregateServiceServicer):
    """Followed by queues: what a test pushes comes out of every open stream."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.version = 1
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.followers = set()
        self.following, self.abandoned = asyncio.Event(), asyncio.Event()
        self.silent = False

    async def GetTotals(self, request, context):
        await self.take("GetTotals", request, context)
        self.calls += 1
        answer = GetTotalsResponse(totals=totals(self.version, request.campaign_id))
        self.entered.set()
        await self.gate.wait()
        return answer

    async def FollowTotals(self, _request, context):
        if self.silent:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "silent")
        queue = asyncio.Queue()
        self.followers.add(queue)
        self.following.set()
        yield FollowTotalsResponse()
        try:
            while (item := await _next(queue)) is not None:
                yield item
        finally:
            self.followers.discard(queue)
            self.abandoned.set()

    async def WatchTotals(self, request, context):
        await self.take("WatchTotals", request, context)
        yield WatchTotalsResponse(totals=totals(self.version))

    def push(self, *states):
        """Sends states to all followers in one message."""
        self.version = max(self.version, *(state.version for state in states))
        for queue in self.followers:
            queue.put_nowait(FollowTotalsResponse(totals=states))

    def cut(self):
        """Ends all open streams."""
        for queue in self.followers:
            queue.put_nowait(None)


async def _next(queue):
    """What was pushed, or the sign of life that the contract promises each second."""
    try:
        async with asyncio.timeout(1):
            return await queue.get()
    except TimeoutError:
        return FollowTotalsResponse()


class Upstreams:
    """One server for three services; all of a gateway's targets."""

    def __init__(self):
        self.donations, self.campaigns, self.payments, self.totals = Donations(), Campaigns(), Payments(), Totals()
        self.health = health_aio.HealthServicer()
        self.target = ""

    @contextlib.asynccontextmanager
    async def running(self):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        donation_service_pb2_grpc.add_DonationServiceServicer_to_server(self.donations, server)
        campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server(self.campaigns, server)
        payment_service_pb2_grpc.add_PaymentServiceServicer_to_server(self.payments, server)
        aggregate_service_pb2_grpc.add_AggregateServiceServicer_to_server(self.totals, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        await self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        self.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)
