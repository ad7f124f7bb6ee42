"""Wiring: the only place that knows which parts the aggregator is made of."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import grpc
from giving.aggregate.v1 import aggregate_service_pb2, aggregate_service_pb2_grpc
from giving.common.v1 import dead_letter_service_pb2, dead_letter_service_pb2_grpc

from aggregator_svc.api import AggregateApi
from aggregator_svc.cache import TotalsCache, announcements, open_redis
from aggregator_svc.clients import DonationClient
from aggregator_svc.config import Settings
from aggregator_svc.consumer import DURABLE, DonationEvents
from aggregator_svc.feed import TotalsFeed
from aggregator_svc.service.rebuilding import Rebuilds
from aggregator_svc.service.statistics import Statistics
from aggregator_svc.service.totals import Totals
from aggregator_svc.service.verification import Verification
from aggregator_svc.store.rebuilds import RebuildStore
from aggregator_svc.store.statistics import StatisticsStore
from aggregator_svc.store.totals import TotalsStore
from aggregator_svc.store.verification import VerificationStore
from aggregator_svc.verifier import DisplaysLook, Drifts, EventsLook, Pace, TotalsLook, Verifier
from mesh.clock import Clock, SystemClock
from mesh.events.api import DeadLetterApi
from mesh.parts import Parts, open_parts
from mesh.postgres import load_queries
from mesh.rpc.channel import Caller, open_channel
from mesh.rpc.health import Probe
from mesh.rpc.server import RunningServer, serve
from mesh.tasks import background

SERVICE = "aggregator"
MODULES = (aggregate_service_pb2, dead_letter_service_pb2)
DAILY_TABLES = ("event", "applied")


@asynccontextmanager
async def application(settings: Settings, clock: Clock | None = None) -> AsyncIterator[RunningServer]:
    """The aggregator, serving while it is entered."""
    redis_url = settings.redis_url.get_secret_value()
    async with (
        open_parts(settings, service=SERVICE, package="aggregator_svc") as parts,
        open_redis(redis_url) as redis,
        open_redis(redis_url, timeout_s=None) as ear,
        open_channel(settings.donation_target) as channel,
    ):
        cache = TotalsCache(redis)
        donations = DonationClient(Caller(channel, peer="donation"))
        books = _Books(settings, parts, cache, donations, clock or SystemClock())
        works = (
            books.consumer.run,
            books.totals.repair_cache,
            partial(books.totals.hear_others, partial(announcements, ear)),
            books.totals.look_at_others,
            books.verifier.run,
            partial(parts.partitions.keep, DAILY_TABLES),
        )
        events = parts.event_probes(consumers={DURABLE: books.consumer})
        probes = {**parts.probes(), **events, "redis": Probe(cache.ping, required=False)}
        async with (
            background(*works),
            serve(settings, modules=MODULES, register=books.register, probes=probes) as server,
        ):
            yield server
            await books.rebuilds.close()


class _Books:
    """The totals, what feeds them, what could not be fed, and who looks whether they are right."""

    def __init__(
        self, settings: Settings, parts: Parts, cache: TotalsCache, donations: DonationClient, clock: Clock
    ) -> None:
        queries = load_queries("aggregator_svc")
        self.totals = Totals(store=TotalsStore(parts.database, queries), cache=cache, feed=TotalsFeed(), clock=clock)
        handler = DonationEvents(self.totals, parts.partitions)
        self.consumer = parts.consumer(handler, of="donation", durable=DURABLE, clock=clock)
        self.letters = parts.letters({DURABLE: handler}, clock=clock)
        self.statistics = Statistics(store=StatisticsStore(parts.database, queries), tokens=parts.tokens)
        checks = VerificationStore(parts.database, queries)
        self.verification = Verification(store=checks, donations=donations, patience_s=settings.verify_patience_s)
        rebuilds = RebuildStore(parts.database, queries)
        self.rebuilds = Rebuilds(store=rebuilds, comparing=checks, donations=donations, totals=self.totals, clock=clock)
        self.verifier = self._verifier(settings, checks, cache, donations, Drifts(checks, clock))

    def _verifier(
        self,
        settings: Settings,
        store: VerificationStore,
        cache: TotalsCache,
        donations: DonationClient,
        drifts: Drifts,
    ) -> Verifier:
        holder = secrets.token_hex(8)
        pace = Pace(
            period_s=settings.verify_period_s,
            changes_max=settings.verify_changes_max,
            patience_s=settings.verify_patience_s,
        )
        return Verifier(
            store=store,
            totals=TotalsLook(store, self.rebuilds, drifts),
            displays=DisplaysLook(store, cache, self.totals, drifts),
            events=EventsLook(store, donations, self.consumer, drifts, pace=pace, consumer=DURABLE, holder=holder),
            drifts=drifts,
            pace=pace,
            holder=holder,
        )

    def register(self, server: grpc.aio.Server) -> None:
        aggregates = AggregateApi(self.totals, self.statistics, self.verification, self.rebuilds)
        aggregate_service_pb2_grpc.add_AggregateServiceServicer_to_server(aggregates, server)
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server(DeadLetterApi(self.letters), server)
