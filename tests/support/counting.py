"""An aggregator without its consumer, over real servers, and what it is told."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from aggregator_svc.cache import TotalsCache, open_redis
from aggregator_svc.domain.totals import Delta
from aggregator_svc.feed import TotalsFeed
from aggregator_svc.service.totals import Totals
from aggregator_svc.store.totals import TotalsStore
from mesh.clock import SystemClock
from mesh.postgres import Database, load_queries, open_database
from tests.support.schemas import Schemas, make_database

CHARITY = uuid4()


@dataclass(frozen=True)
class Counting:
    """Everything that counts, and what it counts in."""

    schemas: Schemas
    database: Database
    store: TotalsStore
    cache: TotalsCache
    totals: Totals
    feed: TotalsFeed


@asynccontextmanager
async def counting(server_dsn: str, redis_url: str) -> AsyncIterator[Counting]:
    """A fresh database, and the Redis that is lent."""
    schemas = await make_database(server_dsn, "aggregator_svc")
    async with AsyncExitStack() as stack:
        dsn = schemas.dsn("aggregator")
        database = await stack.enter_async_context(open_database(dsn, schema="aggregator", pool_max=8, application="test"))
        store = TotalsStore(database, load_queries("aggregator_svc"))
        cache = TotalsCache(await stack.enter_async_context(open_redis(redis_url)))
        feed = TotalsFeed()
        totals = Totals(store=store, cache=cache, feed=feed, clock=SystemClock())
        yield Counting(schemas, database, store, cache, totals, feed)


def delta(campaign_id: UUID, gross: int = 100, **more: object) -> Delta:
    """What a gift of an unknown donor adds today."""
    now = datetime.datetime.now(datetime.UTC)
    base = Delta(now.date(), uuid4(), now, 1, 1, uuid4(), CHARITY, campaign_id, "USD", None, gross, 0, 0, 1)
    return replace(base, **more)  # type: ignore[arg-type]
