"""Services that do what a test tells them, behind the real guarded server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from giving.aggregate.v1 import aggregate_service_pb2 as aggregate
from giving.aggregate.v1 import aggregate_service_pb2_grpc as aggregate_grpc
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import donation_service_pb2 as donation
from giving.donation.v1 import donation_service_pb2_grpc as donation_grpc

from mesh.config import ServiceSettings
from mesh.rpc.contract import Method, methods_of, services_of
from mesh.rpc.health import Probe
from mesh.rpc.server import RunningServer, serve

MODULES = (donation, aggregate)
METHODS = methods_of(services_of(MODULES))
CAMPAIGN = "0190b4a2-0000-7000-8000-000000000001"


def method(name: str) -> Method:
    """A method of the contract by its own name."""
    [found] = [found for path, found in METHODS.items() if path.endswith(f"/{name}")]
    return found


def gift(**more: Any) -> donation.RecordDonationRequest:
    fields: dict[str, Any] = {
        "payment_ref": "ref-1",
        "campaign_id": CAMPAIGN,
        "amount": Money(minor_units=100, currency="EUR"),
    }
    return donation.RecordDonationRequest(**fields | more)


class Donations(donation_grpc.DonationServiceServicer):
    """One mutating method and one with streams both ways; the others are as the generator made them."""

    def __init__(self) -> None:
        self.record: Callable[[donation.RecordDonationRequest], Awaitable[Any]] = self._recorded
        self.each: Callable[[donation.RecordDonationsRequest], Awaitable[Any]] = self._recorded_each

    async def RecordDonation(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's
        return await self.record(request)

    async def RecordDonations(self, requests: Any, context: Any) -> Any:  # noqa: N802 - the contract's
        async for request in requests:
            yield await self.each(request)

    async def _recorded(self, _request: Any) -> donation.RecordDonationResponse:
        return donation.RecordDonationResponse()

    async def _recorded_each(self, _request: Any) -> donation.RecordDonationsResponse:
        return donation.RecordDonationsResponse()


class Aggregates(aggregate_grpc.AggregateServiceServicer):
    """One reading method and one that streams out."""

    def __init__(self) -> None:
        self.get: Callable[[aggregate.GetTotalsRequest], Awaitable[Any]] = self._got
        self.watch: Callable[[aggregate.WatchTotalsRequest], AsyncIterator[Any]] = self._watched

    async def GetTotals(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's
        return await self.get(request)

    async def WatchTotals(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's
        async for response in self.watch(request):
            yield response

    async def _got(self, _request: Any) -> aggregate.GetTotalsResponse:
        return aggregate.GetTotalsResponse()

    async def _watched(self, _request: Any) -> AsyncIterator[aggregate.WatchTotalsResponse]:
        yield aggregate.WatchTotalsResponse()


@dataclass(frozen=True)
class Pretend:
    """A server that runs, its servicers, and a plain channel to it."""

    server: RunningServer
    donations: Donations
    aggregates: Aggregates
    channel: grpc.aio.Channel

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def record(self, request: Any = None, **more: Any) -> Any:
        return await donation_grpc.DonationServiceStub(self.channel).RecordDonation(request or gift(), **more)

    async def totals(self, campaign_id: str = CAMPAIGN, **more: Any) -> Any:
        stub = aggregate_grpc.AggregateServiceStub(self.channel)
        return await stub.GetTotals(aggregate.GetTotalsRequest(campaign_id=campaign_id), **more)

    def watch(self, campaign_id: str = CAMPAIGN, **more: Any) -> Any:
        stub = aggregate_grpc.AggregateServiceStub(self.channel)
        return stub.WatchTotals(aggregate.WatchTotalsRequest(campaign_id=campaign_id), **more)

    def record_many(self, requests: Any, **more: Any) -> Any:
        return donation_grpc.DonationServiceStub(self.channel).RecordDonations(requests, **more)

    def raw(self, name: str) -> Any:
        """A unary method that takes and returns bytes."""
        return self.channel.unary_unary(method(name).path)


def settings(**more: Any) -> ServiceSettings:
    fields: dict[str, Any] = {
        "mesh_mode": "development",
        "listen_port": 0,
        "database_url": "unused",
        "database_schema": "unused",
        "nats_url": "unused",
        "page_token_key": "k" * 32,
        "drain_s": 0,
        "grace_s": 5,
    }
    return ServiceSettings(**fields | more)


def serving(
    donations: Donations, aggregates: Aggregates, *, probes: dict[str, Probe] | None = None, **more: Any
) -> AbstractAsyncContextManager[RunningServer]:
    def register(server: grpc.aio.Server) -> None:
        donation_grpc.add_DonationServiceServicer_to_server(donations, server)
        aggregate_grpc.add_AggregateServiceServicer_to_server(aggregates, server)

    return serve(settings(**more), modules=MODULES, register=register, probes=probes or {})


@asynccontextmanager
async def pretend(**more: Any) -> AsyncIterator[Pretend]:
    """A server over servicers that a test may change at any time."""
    donations, aggregates = Donations(), Aggregates()
    async with (
        serving(donations, aggregates, **more) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Pretend(server, donations, aggregates, channel)
