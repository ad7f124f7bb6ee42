"""The donation service and the aggregator alone, over a broker of their own, so that it may lose what a test wants lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import grpc
from giving.aggregate.v1 import aggregate_service_pb2 as messages
from giving.donation.v1.campaign_service_pb2_grpc import CampaignServiceStub
from giving.donation.v1.charity_service_pb2_grpc import CharityServiceStub
from giving.donation.v1.donation_operations_service_pb2_grpc import DonationOperationsServiceStub
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub
from nats.aio.client import Client

import aggregator_svc.app
import donation_svc.app
from aggregator_svc.cache import TotalsCache, open_redis
from aggregator_svc.clients import DonationClient
from cli.servers.nats import nats
from mesh.clock import SystemClock
from mesh.events.stream import connect, stream_name
from mesh.parts import Parts, open_parts
from mesh.rpc.channel import Caller, open_channel
from mesh.tasks import cancel
from tests.support.books import reading
from tests.support.folders import reachable_folder
from tests.support.giving import Cause, gift, open_cause, reversal
from tests.support.mesh import aggregator_settings, donation_settings, fresh_key
from tests.support.schemas import Schemas, make_database
from tests.support.waiting import until

STREAM = stream_name("donation")
DONORS = [str(uuid4()) for _ in range(5)]
FIGURES = ("gross", "refunded", "disputed", "donations", "donors")
# What donations say: by currency, and change by change. Nothing of it is read by the aggregator.
TRUTH = """
SELECT currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded, sum(disputed)::bigint AS disputed,
       count(*) AS donations, count(DISTINCT donor_id) AS donors
FROM donation WHERE campaign_id = $1 AND settle_time IS NOT NULL GROUP BY currency
"""
COURSE = """
SELECT date_bin('15 minutes', time, '2000-01-01Z') AS slot_time, currency, sum(gross)::bigint AS gross,
       sum(refunded)::bigint AS refunded, sum(donations)::bigint AS donations
FROM (SELECT settle_time AS time, currency, gross, 0 AS refunded, 1 AS donations FROM donation WHERE campaign_id = $1
      UNION ALL
      SELECT r.create_time, r.currency, 0, r.amount, 0 FROM reversal r JOIN donation d ON d.id = r.donation_id
      WHERE d.campaign_id = $1) AS moved
GROUP BY 1, 2 ORDER BY 1, 2
"""
COURSE_SHOWN = """
SELECT slot_time, currency, gross, refunded, donations FROM course
WHERE campaign_id = $1 AND (gross, refunded, donations) <> (0, 0, 0) ORDER BY slot_time, currency
"""


@dataclass
class Pair:
    """Both, the aggregator's consumer only while it is let."""

    schemas: Schemas
    client: Client
    books: Any
    cache: TotalsCache
    parts: Parts
    charities: Any
    campaigns: Any
    donations: Any
    operations: Any
    consuming: list[asyncio.Task[None]] = field(default_factory=list)

    def consume(self) -> None:
        self.consuming.append(asyncio.create_task(self.books.consumer.run()))

    async def stop(self) -> None:
        while self.consuming:
            await cancel(self.consuming.pop())

    async def cause(self) -> Cause:
        return await open_cause(self)  # type: ignore[arg-type] # it has the stubs that are needed

    async def give(self, cause: Cause, *, draw: random.Random, gifts: int = 1) -> list[Any]:
        """Gifts of a few donors in two currencies; some go back in part."""
        given = [
            gift(
                cause.campaign_id,
                draw.randint(100, 999),
                draw.choice(["USD", "EUR"]),
                **({"donor_id": donor} if (donor := draw.choice([*DONORS, ""])) else {}),
            )
            for _ in range(gifts)
        ]
        answers = await asyncio.gather(*(self.donations.RecordDonation(one) for one in given))
        back = [one for one in given if draw.random() < 0.3]
        await asyncio.gather(
            *(
                self.donations.ReverseRecordedDonation(
                    reversal(cause.charity_id, one.payment_ref, draw.randint(1, 100), one.amount.currency)
                )
                for one in back
            )
        )
        return list(answers)

    async def truth(self, cause: Cause) -> dict[str, tuple[int, ...]]:
        async with reading(self.schemas, "donation") as connection:
            return _by_currency(await connection.fetch(TRUTH, UUID(cause.campaign_id)))

    async def counted(self, cause: Cause) -> dict[str, tuple[int, ...]]:
        """The same as the aggregator's database has it; currencies without anything are not named."""
        async with reading(self.schemas, "aggregator") as connection:
            rows = await connection.fetch("SELECT * FROM totals WHERE campaign_id = $1", UUID(cause.campaign_id))
        return {currency: figures for currency, figures in _by_currency(rows).items() if any(figures)}

    async def version(self, cause: Cause) -> int:
        return int(await self.ask("aggregator", "SELECT version FROM campaign WHERE id = $1", UUID(cause.campaign_id)))

    async def courses(self, cause: Cause) -> tuple[list[Any], list[Any]]:
        """What happened when: as donations and reversals say, and as the aggregator does."""
        found = []
        for schema, statement in (("donation", COURSE), ("aggregator", COURSE_SHOWN)):
            async with reading(self.schemas, schema) as connection:
                found.append([tuple(row) for row in await connection.fetch(statement, UUID(cause.campaign_id))])
        return found[0], found[1]

    async def ask(self, schema: str, statement: str, *arguments: Any) -> Any:
        async with reading(self.schemas, schema) as connection:
            return await connection.fetchval(statement, *arguments)

    async def until_exact(self, *causes: Cause) -> None:
        for cause in causes:
            truth = await self.truth(cause)
            await until(lambda cause=cause: self.counted(cause), holds=lambda found, truth=truth: found == truth)

    async def published(self) -> int:
        """Where the stream ends once the relay has nothing left to publish."""

        async def unpublished() -> int:
            return int(
                await self.ask(
                    "donation",
                    "SELECT count(*) FROM event, relay WHERE NOT pg_visible_in_snapshot(tx, from_snapshot)",
                )
            )

        await until(unpublished, holds=lambda count: count == 0)
        return int((await self.client.jetstream().stream_info(STREAM)).state.last_seq)

    async def lose(self, first: int, last: int) -> None:
        """Messages of the stream rot away."""
        for number in range(first, last + 1):
            await self.client.jetstream().delete_msg(STREAM, number)

    async def rebuild(self, **more: Any) -> list[Any]:
        """All progress of a rebuild."""
        request = messages.RebuildTotalsRequest(**{"request_id": fresh_key(), "reason": "a test"} | more)
        return [progress async for progress in self.books.rebuilds.rebuild_totals(request)]


def _by_currency(rows: Any) -> dict[str, tuple[int, ...]]:
    return {row["currency"]: tuple(int(row[name]) for name in FIGURES) for row in rows}


@asynccontextmanager
async def running_pair(server_dsn: str, redis_url: str) -> AsyncIterator[Pair]:
    """Both services, migrated and connected; nothing is consumed yet."""
    schemas = await make_database(server_dsn, "donation_svc", "aggregator_svc")
    with reachable_folder() as folder:
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(nats(folder))
            client = await stack.enter_async_context(connect(broker.url, name="test"))
            settings = donation_settings(schemas, nats_url=broker.url, payment_port=9)
            donation = await stack.enter_async_context(donation_svc.app.application(settings))
            own = aggregator_settings(schemas, nats_url=broker.url, redis_url=redis_url, donation_port=donation.port)
            parts = await stack.enter_async_context(open_parts(own, service="aggregator", package="aggregator_svc"))
            cache = TotalsCache(await stack.enter_async_context(open_redis(redis_url)))
            channel = await stack.enter_async_context(open_channel(own.donation_target))
            tallies = DonationClient(Caller(channel, peer="donation"))
            stub = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{donation.port}"))
            books = aggregator_svc.app._Books(own, parts, cache, tallies, SystemClock())
            pair = Pair(
                schemas=schemas,
                client=client,
                books=books,
                cache=cache,
                parts=parts,
                charities=CharityServiceStub(stub),
                campaigns=CampaignServiceStub(stub),
                donations=DonationServiceStub(stub),
                operations=DonationOperationsServiceStub(stub),
            )
            stack.push_async_callback(pair.stop)
            stack.push_async_callback(books.rebuilds.close)
            yield pair
