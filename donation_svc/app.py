"""Wiring: the only place that knows which parts the service is made of."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
from nats.aio.client import Client

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
from mesh.events.partitions import Partitions
from mesh.events.relay import Relay
from mesh.events.stream import connect
from mesh.migrate import demand_current
from mesh.pages import PageTokens
from mesh.postgres import Database, load_queries, open_database
from mesh.rpc.health import Probe
from mesh.rpc.server import RunningServer, serve
from mesh.tasks import cancel

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
    async with (
        open_database(
            settings.database_url.get_secret_value(),
            schema=settings.database_schema,
            pool_max=settings.database_pool,
            application=SERVICE,
        ) as database,
        connect(settings.nats_url.get_secret_value(), name=SERVICE) as client,
    ):
        async with database.connection() as connection:
            await demand_current(connection, service="donation_svc")
        relay = _relay(settings, database, client)
        probes = {
            "postgres": Probe(database.ping, required=True),
            "nats": Probe(client.flush, required=False),
            "relay": Probe(relay.healthy, required=False),
        }
        register = _Register(settings, database, relay, clock or SystemClock())
        partitions = Partitions(database, load_queries("mesh.events"))
        background = [asyncio.create_task(relay.run()), asyncio.create_task(partitions.keep(["event"]))]
        try:
            async with serve(settings, modules=MODULES, register=register, probes=probes) as server:
                yield server
        finally:
            for task in background:
                await cancel(task)


def _relay(settings: Settings, database: Database, client: Client) -> Relay:
    return Relay(
        database,
        client.jetstream(),
        queries=load_queries("mesh.events"),
        service=SERVICE,
        holder=secrets.token_hex(8),
        shards=settings.event_shards,
        replicas=settings.stream_replicas,
    )


class _Register:
    """Puts the service's parts together and adds them to a server."""

    def __init__(self, settings: Settings, database: Database, relay: Relay, clock: Clock) -> None:
        queries = load_queries("donation_svc")
        log = EventLog(load_queries("mesh.events"))
        tokens = PageTokens(settings.page_token_key.get_secret_value().encode())
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
