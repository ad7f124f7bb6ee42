"""Wiring: the only place that knows which parts the service is made of."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from giving.common.v1 import dead_letter_service_pb2, dead_letter_service_pb2_grpc
from giving.payment.v1 import (
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    payment_operations_service_pb2,
    payment_operations_service_pb2_grpc,
    payment_service_pb2,
    payment_service_pb2_grpc,
)
from nats.aio.client import Client

from mesh.clock import Clock, SystemClock
from mesh.events.api import DeadLetterApi
from mesh.events.consumer import Consumer
from mesh.events.dead_letters import DeadLetters
from mesh.events.partitions import Partitions
from mesh.events.relay import Relay
from mesh.events.stream import connect
from mesh.migrate import demand_current
from mesh.pages import PageTokens
from mesh.postgres import Database, load_queries, open_database
from mesh.rpc.health import Probe
from mesh.rpc.server import RunningServer, serve
from mesh.tasks import cancel
from payment_svc.api import LedgerApi
from payment_svc.config import Settings
from payment_svc.consumer import DURABLE, RecordedDonations
from payment_svc.service import Ledger
from payment_svc.store import LedgerStore

SERVICE = "payment"
MODULES = (
    dead_letter_service_pb2,
    ledger_service_pb2,
    payment_operations_service_pb2,
    payment_service_pb2,
)
DAILY_TABLES = ("event", "posting", "entry", "applied")


@asynccontextmanager
async def application(settings: Settings, clock: Clock | None = None) -> AsyncIterator[RunningServer]:
    """The payment service, serving while it is entered."""
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
            await demand_current(connection, service="payment_svc")
        parts = _Parts(settings, database, client, clock or SystemClock())
        probes = {
            "postgres": Probe(database.ping, required=True),
            "nats": Probe(client.flush, required=False),
            "relay": Probe(parts.relay.healthy, required=False),
        }
        background = [
            asyncio.create_task(work)
            for work in (parts.relay.run(), parts.consumer.run(), parts.partitions.keep(DAILY_TABLES))
        ]
        try:
            async with serve(settings, modules=MODULES, register=parts.register, probes=probes) as server:
                yield server
        finally:
            for task in background:
                await cancel(task)


class _Parts:
    """Puts the service's parts together."""

    def __init__(self, settings: Settings, database: Database, client: Client, clock: Clock) -> None:
        events = load_queries("mesh.events")
        self.relay = Relay(
            database,
            client.jetstream(),
            queries=events,
            service=SERVICE,
            holder=secrets.token_hex(8),
            shards=settings.event_shards,
            replicas=settings.stream_replicas,
        )
        self.partitions = Partitions(database, events)
        self.ledger = Ledger(database=database, book=LedgerStore(database, load_queries("payment_svc")))
        handler = RecordedDonations(ledger=self.ledger, partitions=self.partitions)
        self.consumer = Consumer(client, database, handler, queries=events, service="donation", durable=DURABLE, clock=clock)
        self.letters = DeadLetters(
            database,
            {DURABLE: handler},
            queries=events,
            tokens=PageTokens(settings.page_token_key.get_secret_value().encode()),
            clock=clock,
        )

    def register(self, server: grpc.aio.Server) -> None:
        ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerApi(self.ledger), server)
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server(DeadLetterApi(self.letters), server)
        # In the contract, not built yet: they answer NOT_IMPLEMENTED.
        payment_service_pb2_grpc.add_PaymentServiceServicer_to_server(
            payment_service_pb2_grpc.PaymentServiceServicer(), server
        )
        payment_operations_service_pb2_grpc.add_PaymentOperationsServiceServicer_to_server(
            payment_operations_service_pb2_grpc.PaymentOperationsServiceServicer(), server
        )
