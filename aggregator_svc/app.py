"""Wiring: the only place that knows which parts the aggregator is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from giving.aggregate.v1 import aggregate_service_pb2, aggregate_service_pb2_grpc

from aggregator_svc.api import AggregateApi
from aggregator_svc.cache import TotalsCache, announcements, open_redis
from aggregator_svc.config import Settings
from aggregator_svc.consumer import DonationEvents
from aggregator_svc.feed import TotalsFeed
from aggregator_svc.service import Totals
from aggregator_svc.store import TotalsStore
from mesh.clock import Clock, SystemClock
from mesh.events.consumer import Consumer
from mesh.events.partitions import Partitions
from mesh.events.stream import connect
from mesh.migrate import demand_current
from mesh.postgres import load_queries, open_database
from mesh.rpc.health import Probe
from mesh.rpc.server import RunningServer, serve
from mesh.tasks import cancel

SERVICE = "aggregator"
MODULES = (aggregate_service_pb2,)


@asynccontextmanager
async def application(settings: Settings, clock: Clock | None = None) -> AsyncIterator[RunningServer]:
    """The aggregator, serving while it is entered."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(
                settings.database_url.get_secret_value(),
                schema=settings.database_schema,
                pool_max=settings.database_pool,
                application=SERVICE,
            )
        )
        async with database.connection() as connection:
            await demand_current(connection, service="aggregator_svc")
        client = await stack.enter_async_context(connect(settings.nats_url.get_secret_value(), name=SERVICE))
        redis_url = settings.redis_url.get_secret_value()
        cache = TotalsCache(await stack.enter_async_context(open_redis(redis_url)))
        ear = await stack.enter_async_context(open_redis(redis_url, timeout_s=None))
        event_queries = load_queries("mesh.events")
        partitions = Partitions(database, event_queries)
        totals = Totals(
            store=TotalsStore(database, load_queries("aggregator_svc")), cache=cache, feed=TotalsFeed(), clock=clock
        )
        consumer = Consumer(
            client,
            database,
            DonationEvents(totals, partitions),
            queries=event_queries,
            service="donation",
            durable="aggregator-totals",
            clock=clock,
        )
        for work in (
            consumer.run(),
            totals.repair_cache(),
            totals.learn_from_others(lambda: announcements(ear)),
            partitions.keep(["event", "applied"]),
        ):
            stack.push_async_callback(cancel, asyncio.create_task(work))
        probes = {
            "postgres": Probe(database.ping, required=True),
            "nats": Probe(client.flush, required=False),
            "redis": Probe(cache.ping, required=False),
        }
        server = serve(settings, modules=MODULES, register=lambda server: _register(server, totals), probes=probes)
        yield await stack.enter_async_context(server)


def _register(server: grpc.aio.Server, totals: Totals) -> None:
    aggregate_service_pb2_grpc.add_AggregateServiceServicer_to_server(AggregateApi(totals), server)
