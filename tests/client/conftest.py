"""A mesh of one process: servicers whose answers a test scripts, behind a real server."""

# ruff: noqa: N802 - handlers are named by the contract

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as aggregate
from giving.aggregate.v1 import aggregate_service_pb2_grpc
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from giving.donation.v1 import (
    campaign_pb2,
    campaign_service_pb2,
    campaign_service_pb2_grpc,
    charity_pb2,
    charity_service_pb2,
    charity_service_pb2_grpc,
    donation_pb2,
    donation_service_pb2_grpc,
)
from giving.donation.v1 import donation_service_pb2 as donation

from mesh.errors import STATUS_TRAILER, Refusal, to_status

# Answers a request, or refuses by raising.
Answer = Callable[[Any, Any], Any]


@dataclass
class Script:
    """What the server was asked, and what it says to the next calls; without a script it agrees."""

    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    time_left: list[float] = field(default_factory=list)
    steps: deque[Refusal | grpc.StatusCode] = field(default_factory=deque)
    replayed: bool = False
    streams: deque[list[int]] = field(default_factory=deque)
    # States of a donation by streams; None cuts one.
    lives: deque[list[donation_pb2.Donation | None]] = field(default_factory=deque)
    pages: int = 1

    async def step(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.time_left.append(context.time_remaining())
        if self.steps:
            await refuse(context, self.steps.popleft())
        if self.replayed:
            context.set_trailing_metadata((("idempotent-replayed", "true"),))


async def refuse(context: Any, step: Refusal | grpc.StatusCode) -> None:
    if isinstance(step, Refusal):
        trailers = (("giving-correlation-id", "c0ffee-c0ffee"), (STATUS_TRAILER, to_status(step).SerializeToString()))
        await context.abort(step.form.code, step.detail, trailers)
    await context.abort(step, "scripted")


class Donations(donation_service_pb2_grpc.DonationServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def GetDonationOffer(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        return donation.GetDonationOfferResponse(round_up=request.order_total)

    async def RecordDonation(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        gift = donation_pb2.Donation(donation_id="d", payment_ref=request.payment_ref, amount=request.amount)
        return donation.RecordDonationResponse(donation=gift)

    async def CreateDonation(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        gift = donation_pb2.Donation(donation_id="d", amount=request.amount)
        return donation.CreateDonationResponse(donation=gift, client_secret="pi_1_secret_2", access_token="gdt_x")

    async def WatchDonation(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._script.step(request, context)
        for state in self._script.lives.popleft() if self._script.lives else []:
            if state is None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            yield donation.WatchDonationResponse(donation=state)

    async def ReverseRecordedDonation(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        return donation.ReverseRecordedDonationResponse(
            reversal=donation_pb2.Reversal(refund_ref=request.refund_ref),
            donation=donation_pb2.Donation(payment_ref=request.payment_ref),
        )

    async def RefundDonation(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        gift = donation_pb2.Donation(donation_id=request.donation_id, refunded=request.amount)
        return donation.RefundDonationResponse(donation=gift)

    async def GetDonation(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        gift = donation_pb2.Donation(donation_id=request.donation_id)
        return donation.GetDonationResponse(donation=gift, client_secret="s" if request.include_client_secret else "")

    async def ListDonations(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        number = int(request.page_token or 0)
        names = [f"{number}-{place}" for place in range(2)]
        token = str(number + 1) if number + 1 < self._script.pages else ""
        gifts = [donation_pb2.Donation(donation_id=name) for name in names]
        return donation.ListDonationsResponse(donations=gifts, next_page_token=token)


class Charities(charity_service_pb2_grpc.CharityServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def CreateCharity(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        charity = charity_pb2.Charity(display_name=request.display_name)
        return charity_service_pb2.CreateCharityResponse(charity=charity)


class Campaigns(campaign_service_pb2_grpc.CampaignServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def CreateCampaign(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        campaign = campaign_pb2.Campaign(display_name=request.display_name, end_time=request.end_time)
        return campaign_service_pb2.CreateCampaignResponse(campaign=campaign)

    async def ActivateCampaign(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        campaign = campaign_pb2.Campaign(campaign_id=request.campaign_id)
        return campaign_service_pb2.ActivateCampaignResponse(campaign=campaign)


class Aggregates(aggregate_service_pb2_grpc.AggregateServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def GetTotals(self, request: Any, context: Any) -> Any:
        await self._script.step(request, context)
        return aggregate.GetTotalsResponse(totals=CampaignTotals(campaign_id=request.campaign_id, version=7))

    async def WatchTotals(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._script.step(request, context)
        for version in self._script.streams.popleft() if self._script.streams else []:
            if version < 0:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            yield aggregate.WatchTotalsResponse(totals=CampaignTotals(version=version))


@dataclass(frozen=True)
class Server:
    target: str
    script: Script


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    script, server = Script(), grpc.aio.server()
    donation_service_pb2_grpc.add_DonationServiceServicer_to_server(Donations(script), server)
    charity_service_pb2_grpc.add_CharityServiceServicer_to_server(Charities(script), server)
    campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server(Campaigns(script), server)
    aggregate_service_pb2_grpc.add_AggregateServiceServicer_to_server(Aggregates(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Server(f"127.0.0.1:{port}", script)
    await server.stop(None)
