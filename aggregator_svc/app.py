"""Wiring: the only place that knows which parts the aggregator is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import grpc
from giving.aggregate.v1 import aggregate_service_pb2, aggregate_service_pb2_grpc
from giving.common.v1 import dead_letter_service_pb2, dead_letter_service_pb2_grpc

from aggregator_svc.api import AggregateApi
from aggregator_svc.cache import TotalsCache, announcements, open_redis
from aggregator_svc.config import Settings
from aggregator_svc.consumer import DURABLE, DonationEvents
from aggregator_svc.feed import TotalsFeed
from aggregator_svc.service import Totals
from aggregator_svc.store import TotalsStore
from mesh.clock import Clock, SystemClock
from mesh.events.api import DeadLetterApi
from mesh.parts import Parts, open_parts
from mesh.postgres import load_queries
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
    ):
        cache = TotalsCache(redis)
        books = _Books(parts, cache, clock or SystemClock())
        works = (
            books.consumer.run,
            books.totals.repair_cache,
            partial(books.totals.hear_others, partial(announcements, ear)),
            books.totals.look_at_others,
            partial(parts.partitions.keep, DAILY_TABLES),
        )
        events = parts.event_probes(consumers={DURABLE: books.consumer})
        probes = {**parts.probes(), **events, "redis": Probe(cache.ping, required=False)}
        async with (
            background(*works),
            serve(settings, modules=MODULES, register=books.register, probes=probes) as server,
        ):
            yield server


class _Books:
    """The totals, what feeds them, and what could not be fed."""

    def __init__(self, parts: Parts, cache: TotalsCache, clock: Clock) -> None:
        store = TotalsStore(parts.database, load_queries("aggregator_svc"))
        self.totals = Totals(store=store, cache=cache, feed=TotalsFeed(), clock=clock)
        handler = DonationEvents(self.totals, parts.partitions)
        self.consumer = parts.consumer(handler, of="donation", durable=DURABLE, clock=clock)
        self.letters = parts.letters({DURABLE: handler}, clock=clock)

    def register(self, server: grpc.aio.Server) -> None:
        aggregate_service_pb2_grpc.add_AggregateServiceServicer_to_server(AggregateApi(self.totals), server)
        dead_letter_service_pb2_grpc.add_DeadLetterServiceServicer_to_server(DeadLetterApi(self.letters), server)
