"""Wiring: the only place that knows which parts the service is made of."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
from mesh.events.log import EventLog
from mesh.parts import Parts, open_parts
from mesh.postgres import load_queries
from mesh.rpc.server import RunningServer, serve
from mesh.seal import Seal, key_from
from mesh.tasks import background
from payment_svc.api import LedgerApi, PaymentApi, PaymentOperationsApi
from payment_svc.config import Settings
from payment_svc.consumer import DURABLE, RecordedDonations
from payment_svc.poller import Poller
from payment_svc.provider import EVENT_TYPES, CircuitBreaker, ReportReader, Stripe, WebhookReader, open_stripe
from payment_svc.reconciler import Reconciler
from payment_svc.service.breaker import BreakerDecisions
from payment_svc.service.changes import Changes, Desk
from payment_svc.service.inbound_operations import InboundOperations
from payment_svc.service.ledger import Ledger
from payment_svc.service.moves import Moves
from payment_svc.service.open_payments import OpenPayments
from payment_svc.service.payments import Payments
from payment_svc.service.reconciliation import Reconciliation
from payment_svc.service.settlement import Settlement
from payment_svc.service.settlement_files import Uploads
from payment_svc.service.tracing import Tracing
from payment_svc.service.waiting import Waits
from payment_svc.service.webhooks import Webhooks
from payment_svc.settlement import SettlementWalker
from payment_svc.store.breaker import BreakerStore
from payment_svc.store.checkpoints import Checkpoints
from payment_svc.store.commands import CommandStore
from payment_svc.store.history import HistoryStore
from payment_svc.store.inbound_events import InboundEvents
from payment_svc.store.inbox import Inbox
from payment_svc.store.ledger import LedgerStore
from payment_svc.store.payments import PaymentStore
from payment_svc.store.reconciliation import ReconciliationStore
from payment_svc.store.settlement import SettlementStore
from payment_svc.store.settlement_files import SettlementFiles

SERVICE = "payment"
MODULES = (
    dead_letter_service_pb2,
    ledger_service_pb2,
    payment_operations_service_pb2,
    payment_service_pb2,
)
# Keys of Stripe's test mode; its events say `livemode: false`.
TEST_KEYS = ("sk_test_", "rk_test_")
DAILY_TABLES = ("event", "posting", "entry", "applied")


@asynccontextmanager
async def application(settings: Settings, clock: Clock | None = None) -> AsyncIterator[RunningServer]:
    """The payment service, serving while it is entered."""
    clock = clock or SystemClock()
    breaker = CircuitBreaker(clock)
    async with (
        open_parts(settings, service=SERVICE, package="payment_svc") as parts,
        _provider(settings, breaker) as provider,
    ):
        books = _Books(parts, settings, provider, breaker, clock)
        # Before the first call: what an operator held open before a restart is held after it.
        await books.decisions.follow()
        async with (
            background(*books.loops, partial(parts.partitions.keep, DAILY_TABLES)),
            serve(settings, modules=MODULES, register=books.register, probes=books.probes) as server,
        ):
            yield server
        # After the last call, before the connections go: what was asked of the provider gets its answer stored.
        await books.reconciler.close(timeout_s=settings.grace_s)


def _provider(settings: Settings, breaker: CircuitBreaker) -> AbstractAsyncContextManager[Stripe]:
    return open_stripe(
        api_key=settings.stripe_api_key.get_secret_value(),
        api_base=settings.stripe_api_base,
        request_s=settings.stripe_request_s,
        breaker=breaker,
    )


def _reader(settings: Settings) -> WebhookReader:
    secrets = [secret.get_secret_value() for secret in settings.stripe_webhook_secrets]
    return WebhookReader(secrets=secrets, live=not settings.stripe_api_key.get_secret_value().startswith(TEST_KEYS))


class _Settling:
    """The provider's balance beside our books."""

    def __init__(
        self, parts: Parts, settings: Settings, desk: Desk, *, provider: Stripe, postings: LedgerStore, asking: Reconciler
    ) -> None:
        queries, database = load_queries("payment_svc"), parts.database
        missing_after = datetime.timedelta(seconds=settings.settlement_missing_after_s)
        store = SettlementStore(database, queries)
        settlement = Settlement(desk, store=store, postings=postings, asking=asking)
        walker = SettlementWalker(
            provider=provider,
            taking=settlement,
            checkpoints=Checkpoints(database, queries),
            store=store,
            clock=desk.clock,
            period_s=settings.settlement_poll_s,
            missing_after=missing_after,
        )
        self.uploads = Uploads(desk, files=SettlementFiles(database, queries), store=store, reader=ReportReader)
        self.reconciliation = Reconciliation(
            store=ReconciliationStore(database, queries),
            tokens=parts.tokens,
            clock=desk.clock,
            missing_after=missing_after,
        )
        self.loops = (settlement.run, walker.run) if settings.settlement_poll_s else (settlement.run,)


class _Books:
    """Payments, the ledger, what feeds them, and what could not be fed."""

    def __init__(self, parts: Parts, settings: Settings, provider: Stripe, breaker: CircuitBreaker, clock: Clock) -> None:
        queries, database = load_queries("payment_svc"), parts.database
        relay, backlog = parts.relay(settings), parts.backlog()
        postings = LedgerStore(database, queries)
        payments = PaymentStore(database, queries)
        seal = Seal(key_from(settings.data_key.get_secret_value()))
        inbox = Inbox(queries, seal)
        changes = Changes(
            payments=payments,
            postings=postings,
            movements=SettlementStore(database, queries),
            waiting=inbox,
            log=EventLog(parts.event_queries),
            clock=clock,
        )
        desk = Desk(database, payments, changes, clock, relay.wake)
        self.ledger = Ledger(database=database, book=postings)
        self.reconciler = Reconciler(desk, provider=provider, breaker=breaker, lease_s=settings.asking_lease_s)
        self.webhooks = Webhooks(desk, reader=_reader(settings), inbox=inbox, types=EVENT_TYPES)
        waits, fences = Waits(desk, asking=self.reconciler), CommandStore(queries)
        self.inbound = InboundOperations(
            desk,
            webhooks=self.webhooks,
            inbox=inbox,
            events=InboundEvents(database, queries, seal),
            commands=fences,
            tokens=parts.tokens,
        )
        poller = Poller(
            provider=provider,
            taking=self.webhooks,
            checkpoints=Checkpoints(database, queries),
            clock=clock,
            period_s=settings.stripe_poll_s,
        )
        self.settling = _Settling(parts, settings, desk, provider=provider, postings=postings, asking=self.reconciler)
        self.payments = Payments(desk, waits=waits, breaker=breaker, tokens=parts.tokens)
        self.moves = Moves(desk, fences=fences, waits=waits)
        self.open_payments = OpenPayments(desk, fences=fences, waits=waits, tokens=parts.tokens)
        self.decisions = BreakerDecisions(
            database=database, store=BreakerStore(queries), commands=fences, breaker=breaker, clock=clock
        )
        self.tracing = Tracing(histories=HistoryStore(database, payments, queries), calls=breaker, clock=clock)
        handler = RecordedDonations(ledger=self.ledger, partitions=parts.partitions)
        consumer = parts.consumer(handler, of="donation", durable=DURABLE, clock=clock)
        self.letters = parts.letters({DURABLE: handler}, clock=clock)
        self.trail = parts.trail(queries["audit_trail"])
        polling = [poller.run] if settings.stripe_poll_s else []
        self.loops = (
            relay.run,
            backlog.run,
            consumer.run,
            self.reconciler.run,
            self.webhooks.run,
            self.inbound.run,
            self.decisions.run,
            *polling,
            *self.settling.loops,
        )
        events = parts.event_probes(relay=relay, backlog=backlog, consumers={DURABLE: consumer})
        self.probes = {**parts.probes(), **events}

    def register(self, server: grpc.aio.Server) -> None:
        ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerApi(self.ledger), server)
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server(DeadLetterApi(self.letters), server)
        payment_service_pb2_grpc.add_PaymentServiceServicer_to_server(
            PaymentApi(self.payments, self.moves, self.webhooks), server
        )
        payment_operations_service_pb2_grpc.add_PaymentOperationsServiceServicer_to_server(
            PaymentOperationsApi(
                decisions=self.decisions,
                inbound=self.inbound,
                open_payments=self.open_payments,
                tracing=self.tracing,
                uploads=self.settling.uploads,
                reconciliation=self.settling.reconciliation,
                trail=self.trail,
            ),
            server,
        )
