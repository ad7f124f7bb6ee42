"""Wiring: the only place that knows which parts the service is made of."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import grpc
from giving.common.v1 import dead_letter_service_pb2, dead_letter_service_pb2_grpc
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

from donation_svc.api import CampaignApi, CharityApi, DonationApi, DonationOperationsApi
from donation_svc.clients import PaymentClient
from donation_svc.config import Settings
from donation_svc.consumer import DURABLE, PaymentEvents
from donation_svc.feed import DonationFeed
from donation_svc.service.access import Access
from donation_svc.service.campaigns import Campaigns
from donation_svc.service.charities import Charities
from donation_svc.service.donations import Donations
from donation_svc.service.payments import Readying
from donation_svc.service.personal import PersonalData
from donation_svc.service.promises import Promises
from donation_svc.service.refunds import Refunds
from donation_svc.service.settlement import Settlement
from donation_svc.service.stuck import Stuck
from donation_svc.service.tallies import Tallies
from donation_svc.service.tracing import Tracing
from donation_svc.store.campaigns import CampaignStore
from donation_svc.store.charities import CharityStore, CommandStore
from donation_svc.store.donations import DonationStore
from donation_svc.store.history import HistoryStore
from donation_svc.store.promises import PromiseStore
from donation_svc.store.tallies import TallyStore
from donation_svc.sweeper import Sweeper
from mesh.clock import Clock, SystemClock
from mesh.events.api import DeadLetterApi
from mesh.events.log import EventLog
from mesh.events.relay import Relay
from mesh.parts import Parts, open_parts
from mesh.postgres import load_queries
from mesh.rpc.channel import Caller, open_channel
from mesh.rpc.server import RunningServer, serve
from mesh.seal import key_from
from mesh.tasks import background

SERVICE = "donation"
MODULES = (
    auth_service_pb2,
    campaign_service_pb2,
    charity_service_pb2,
    dead_letter_service_pb2,
    donation_operations_service_pb2,
    donation_service_pb2,
)


@asynccontextmanager
async def application(settings: Settings, clock: Clock | None = None) -> AsyncIterator[RunningServer]:
    """The donation service, serving while it is entered."""
    async with (
        open_parts(settings, service=SERVICE, package="donation_svc") as parts,
        open_channel(settings.payment_target) as channel,
    ):
        relay, backlog = parts.relay(settings), parts.backlog()
        shared = _Shared(settings, parts, relay, clock or SystemClock())
        pledges = _Pledges(settings, shared, PaymentClient(Caller(channel, peer="payment")))
        events = parts.event_probes(relay=relay, backlog=backlog, consumers={DURABLE: pledges.consumer})
        probes = {**parts.probes(), **events}
        works = (
            relay.run,
            backlog.run,
            pledges.consumer.run,
            pledges.sweeper.run,
            shared.feed.run,
            partial(parts.partitions.keep, ["event"]),
        )
        async with (
            background(*works),
            serve(settings, modules=MODULES, register=_Register(shared, pledges), probes=probes) as server,
        ):
            yield server


class _Shared:
    """What several use cases stand on."""

    def __init__(self, settings: Settings, parts: Parts, relay: Relay, clock: Clock) -> None:
        self.queries = queries = load_queries("donation_svc")
        self.parts, self.relay, self.clock = parts, relay, clock
        self.log = EventLog(parts.event_queries)
        self.charities = CharityStore(parts.database, queries, self.log)
        self.campaigns = CampaignStore(parts.database, queries, self.log)
        self.commands = CommandStore(queries)
        self.donations = DonationStore(parts.database, queries)
        self.promises = PromiseStore(parts.database, queries)
        self.access = Access(settings.access_token_key.get_secret_value().encode())
        self.feed = DonationFeed(self.promises)
        self.trail = parts.trail(queries["audit_trail"])

    def announce(self, donation_ids: Collection[UUID]) -> None:
        """Says that these were committed: to the relay, and to who watches them."""
        self.relay.wake()
        self.feed.changed(donation_ids)


class _Pledges:
    """Promises, what moves them, what takes them back, and what could not."""

    def __init__(self, settings: Settings, shared: _Shared, payments: PaymentClient) -> None:
        database, clock, promises = shared.parts.database, shared.clock, shared.promises
        confirm_within = datetime.timedelta(hours=settings.confirm_within_hours)
        settlement = Settlement(
            database=database,
            promises=promises,
            log=shared.log,
            clock=clock,
            confirm_within=confirm_within,
            announce=shared.announce,
        )
        readying = Readying(payments=payments, settlement=settlement)
        self.promises = Promises(
            database=database,
            campaigns=shared.campaigns,
            promises=promises,
            personal=PersonalData(promises=promises, master_key=key_from(settings.data_key.get_secret_value())),
            readying=readying,
            access=shared.access,
            payments_live=settings.payments_live,
            log=shared.log,
            clock=clock,
            announce=shared.announce,
        )
        self.refunds = Refunds(
            database=database,
            donations=shared.donations,
            commands=shared.commands,
            payments=payments,
            settlement=settlement,
            clock=clock,
        )
        self.sweeper = Sweeper(
            store=promises,
            payments=payments,
            readying=readying,
            settlement=settlement,
            clock=clock,
            confirm_within=confirm_within,
        )
        self.tracing = Tracing(
            histories=HistoryStore(database, shared.queries), payments=payments, clock=clock, confirm_within=confirm_within
        )
        handler = PaymentEvents(settlement)
        self.consumer = shared.parts.consumer(handler, of="payment", durable=DURABLE, clock=clock)
        self.letters = shared.parts.letters({DURABLE: handler}, clock=clock)


class _Register:
    """Puts the use cases together and adds them to a server."""

    def __init__(self, shared: _Shared, pledges: _Pledges) -> None:
        self._pledges = pledges
        self.trail = shared.trail
        database, tokens = shared.parts.database, shared.parts.tokens
        log, clock, wake = shared.log, shared.clock, shared.relay.wake
        self.charities = Charities(
            database=database, charities=shared.charities, commands=shared.commands, log=log, clock=clock, wake=wake
        )
        self.campaigns = Campaigns(
            database=database,
            charities=shared.charities,
            campaigns=shared.campaigns,
            commands=shared.commands,
            log=log,
            tokens=tokens,
            clock=clock,
            wake=wake,
        )
        self.donations = Donations(
            database=database,
            campaigns=shared.campaigns,
            donations=shared.donations,
            access=shared.access,
            feed=shared.feed,
            log=log,
            tokens=tokens,
            clock=clock,
            wake=wake,
        )
        self.stuck = Stuck(promises=shared.promises, tokens=tokens, clock=clock)
        self.tallies = Tallies(TallyStore(database, shared.queries, shared.parts.event_queries))

    def __call__(self, server: grpc.aio.Server) -> None:
        donations = DonationApi(self.donations, self._pledges.promises, self._pledges.refunds, self.campaigns)
        operations = DonationOperationsApi(self.stuck, self._pledges.tracing, self.trail, self.tallies)
        charity_service_pb2_grpc.add_CharityServiceServicer_to_server(CharityApi(self.charities), server)
        campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server(CampaignApi(self.campaigns), server)
        donation_service_pb2_grpc.add_DonationServiceServicer_to_server(donations, server)
        donation_operations_service_pb2_grpc.add_DonationOperationsServiceServicer_to_server(operations, server)
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server(DeadLetterApi(self._pledges.letters), server)
        # In the contract, not built yet: they answer NOT_IMPLEMENTED.
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(auth_service_pb2_grpc.AuthServiceServicer(), server)
