"""Wiring: the only place that knows which parts the service is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import grpc
from giving.donation.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    campaign_service_pb2,
    campaign_service_pb2_grpc,
    charity_service_pb2,
    charity_service_pb2_grpc,
    donation_operations_service_pb2,
    donation_operations_service_pb2_grpc,
    donation_service_pb2,
    donation_service_pb2_grpc,
)

from donation_svc.api import CampaignApi, CharityApi, DonationApi
from donation_svc.config import Settings
from donation_svc.service.campaigns import Campaigns
from donation_svc.service.charities import Charities
from donation_svc.service.donations import Donations
from donation_svc.store.campaigns import CampaignStore
from donation_svc.store.charities import CharityStore, CommandStore
from donation_svc.store.donations import DonationStore
from mesh.clock import Clock, SystemClock
from mesh.events.log import EventLog
from mesh.events.relay import Relay
from mesh.parts import Parts, open_parts
from mesh.postgres import load_queries
from mesh.rpc.health import Probe
from mesh.rpc.server import RunningServer, serve
from mesh.tasks import background

SERVICE = "donation"
MODULES = (
    auth_service_pb2,
    campaign_service_pb2,
    charity_service_pb2,
    donation_operations_service_pb2,
    donation_service_pb2,
)


@asynccontextmanager
async def application(settings: Settings, clock: Clock | None = None) -> AsyncIterator[RunningServer]:
    """The donation service, serving while it is entered."""
    async with open_parts(settings, service=SERVICE, package="donation_svc") as parts:
        relay = parts.relay(settings)
        probes = {**parts.probes(), "relay": Probe(relay.healthy, required=False)}
        register = _Register(parts, relay, clock or SystemClock())
        async with (
            background(relay.run, partial(parts.partitions.keep, ["event"])),
            serve(settings, modules=MODULES, register=register, probes=probes) as server,
        ):
            yield server


class _Register:
    """Puts the service's parts together and adds them to a server."""

    def __init__(self, parts: Parts, relay: Relay, clock: Clock) -> None:
        database, tokens = parts.database, parts.tokens
        queries = load_queries("donation_svc")
        log = EventLog(parts.event_queries)
        charities = CharityStore(database, queries, log)
        campaigns = CampaignStore(database, queries, log)
        commands = CommandStore(queries)
        self.charities = Charities(
            database=database, charities=charities, commands=commands, log=log, clock=clock, wake=relay.wake
        )
        self.campaigns = Campaigns(
            database=database,
            charities=charities,
            campaigns=campaigns,
            commands=commands,
            log=log,
            tokens=tokens,
            clock=clock,
            wake=relay.wake,
        )
        self.donations = Donations(
            database=database,
            campaigns=campaigns,
            donations=DonationStore(database, queries),
            log=log,
            tokens=tokens,
            clock=clock,
            wake=relay.wake,
        )

    def __call__(self, server: grpc.aio.Server) -> None:
        charity_service_pb2_grpc.add_CharityServiceServicer_to_server(CharityApi(self.charities), server)
        campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server(CampaignApi(self.campaigns), server)
        donation_service_pb2_grpc.add_DonationServiceServicer_to_server(DonationApi(self.donations, self.campaigns), server)
        # In the contract, not built yet: they answer NOT_IMPLEMENTED.
        donation_operations_service_pb2_grpc.add_DonationOperationsServiceServicer_to_server(
            donation_operations_service_pb2_grpc.DonationOperationsServiceServicer(), server
        )
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(auth_service_pb2_grpc.AuthServiceServicer(), server)
