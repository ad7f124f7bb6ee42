"""Wiring: the only place that knows which parts the service is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

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

from mesh.clock import Clock, SystemClock
from mesh.events.api import DeadLetterApi
from mesh.parts import Parts, open_parts
from mesh.postgres import load_queries
from mesh.rpc.health import Probe
from mesh.rpc.server import RunningServer, serve
from mesh.tasks import background
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
    async with open_parts(settings, service=SERVICE, package="payment_svc") as parts:
        relay = parts.relay(settings)
        books = _Books(parts, clock or SystemClock())
        probes = {**parts.probes(), "relay": Probe(relay.healthy, required=False)}
        async with (
            background(relay.run, books.consumer.run, partial(parts.partitions.keep, DAILY_TABLES)),
            serve(settings, modules=MODULES, register=books.register, probes=probes) as server,
        ):
            yield server


class _Books:
    """The ledger, what feeds it, and what could not be fed."""

    def __init__(self, parts: Parts, clock: Clock) -> None:
        self.ledger = Ledger(database=parts.database, book=LedgerStore(parts.database, load_queries("payment_svc")))
        handler = RecordedDonations(ledger=self.ledger, partitions=parts.partitions)
        self.consumer = parts.consumer(handler, of="donation", durable=DURABLE, clock=clock)
        self.letters = parts.letters({DURABLE: handler}, clock=clock)

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
