"""Replay from zero: whatever is delivered again, to full books or to empty ones, they come out the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

import aggregator_svc.consumer
import donation_svc.consumer
import payment_svc.consumer
from aggregator_svc.consumer import DonationEvents
from aggregator_svc.store.totals import TotalsStore
from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey
from mesh.clock import SystemClock
from mesh.events.consumer import Consumer, Handler
from mesh.events.partitions import Partitions
from mesh.events.stream import connect, stream_name
from mesh.postgres import Database, load_queries, open_database
from tests.payment.conftest import make_handler
from tests.support.folders import reachable_folder
from tests.support.giving import gift, open_cause, reversal
from tests.support.log import running
from tests.support.mesh import Mesh, running_mesh
from tests.support.sandbox import running_sandbox
from tests.support.schemas import Schemas, make_database
from tests.support.waiting import until
from tests.test_money_back import Books

# durable → the service whose stream it consumes
CONSUMERS = {
    aggregator_svc.consumer.DURABLE: "donation",
    payment_svc.consumer.DURABLE: "donation",
    donation_svc.consumer.DURABLE: "payment",
}
# Every column of whatever consumers write, and that nothing was announced anew.
DERIVED = {
    "aggregator": ("campaign", "totals", "campaign_donor", "course", "applied"),
    "payment": ("posting", "entry", "applied", "event"),
    "donation": ("donation", "reversal", "event"),
}
# What does not depend on how events came together in batches.
TOTALS = (
    "SELECT * FROM totals ORDER BY 1, 2",
    "SELECT * FROM campaign_donor ORDER BY 1, 2, 3",
    "SELECT t.* FROM course t ORDER BY t::text",
    "SELECT id, currencies, campaign_version FROM campaign ORDER BY 1",
    "SELECT * FROM applied ORDER BY 1, 2",
)
LEDGER = (
    "SELECT day, event_id, tx, epoch, donation_id, delta FROM applied ORDER BY 1, 2",
    """SELECT p.charity_id, p.campaign_id, p.kind, e.account, e.currency, sum(e.amount)::bigint
    FROM posting p JOIN entry e ON e.posting_id = p.id WHERE p.kind IN ('recorded', 'recorded_reversal')
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5""",
)
GIFTS = 40


@pytest.fixture(scope="module")
async def replayed(postgres_server: Postgres, valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A mesh with a broker of its own, after mixed traffic, when everything has been applied."""
    with reachable_folder() as folder:
        async with nats(folder) as broker:
            schemas = await make_database(postgres_server.dsn)
            async with (
                running_sandbox(tmp_path_factory.mktemp("sandbox")) as stripe,
                running_mesh(schemas, nats_url=broker.url, redis_url=valkey_server.url, sandbox=stripe) as mesh,
                connect(broker.url, name="test") as client,
            ):
                await traffic(mesh)
                await quiet(client)
                yield mesh, client


async def traffic(mesh: Mesh) -> None:
    """Recorded gifts and reversals in two currencies, and payments that are refunded in part."""
    books = Books(mesh, await open_cause(mesh))
    gifts = [gift(books.cause.campaign_id, 100 + number, ("USD", "EUR")[number % 2]) for number in range(GIFTS)]
    paid, *_ = await asyncio.gather(books.paid(), *(mesh.donations.RecordDonation(request) for request in gifts))
    for request in gifts[::4]:
        await mesh.donations.ReverseRecordedDonation(reversal(books.cause.charity_id, request.payment_ref, 30))
    donation_id = paid[0]
    asked = f"donations/{donation_id}"
    await until(lambda: books.donation(asked), holds=lambda found: found[1][0] == 2500)
    await books.refund(donation_id, 700)
    await until(lambda: books.donation(asked), holds=lambda found: found[1][1] == 700)


async def quiet(client: Client, consumers: Mapping[str, str] = CONSUMERS) -> None:
    """Returns when every consumer has acknowledged its whole stream."""
    for durable, service in consumers.items():
        await until(lambda durable=durable, service=service: behind(client, durable, service), holds=lambda left: left == 0)


async def behind(client: Client, durable: str, service: str) -> int:
    js = client.jetstream()
    try:
        info = await js.consumer_info(stream_name(service), durable)
    except NotFoundError:
        return -1
    end = (await js.stream_info(stream_name(service))).state.last_seq
    return end - (info.ack_floor.stream_seq if info.ack_floor else 0)


async def rows(dsn: str, schema: str, statements: Any) -> dict[str, list[Any]]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    try:
        return {statement: [tuple(row) for row in await connection.fetch(statement)] for statement in statements}
    finally:
        await connection.close()


async def derived(schemas: Schemas) -> dict[str, Any]:
    return {
        schema: await rows(schemas.admin_dsn, schema, [f"SELECT t.* FROM {table} t ORDER BY t::text" for table in tables])
        for schema, tables in DERIVED.items()
    }


@pytest.mark.requirement("EVT-10", "EVT-6")
@pytest.mark.parametrize("durable", list(CONSUMERS))
async def test_whatever_a_consumer_gets_again_from_the_beginning_changes_nothing(
    replayed: tuple[Mesh, Client], durable: str
) -> None:
    mesh, client = replayed
    before = await derived(mesh.schemas)
    service = CONSUMERS[durable]
    assert sum(len(found) for found in before["donation"].values()) > 2 * GIFTS
    js = client.jetstream()
    created = (await js.consumer_info(stream_name(service), durable)).created
    await js.delete_consumer(stream_name(service), durable)

    await quiet(client, {durable: service})
    await quiet(client)

    assert (await js.consumer_info(stream_name(service), durable)).created > created
    assert await derived(mesh.schemas) == before


@asynccontextmanager
async def replaying(postgres_dsn: str, client: Client, *, package: str, schema: str, durable: str) -> AsyncIterator[Schemas]:
    """An empty database, after a consumer of its own has applied the donation service's whole stream to it."""
    schemas = await make_database(postgres_dsn, package)
    queries = load_queries("mesh.events")
    async with open_database(schemas.dsn(schema), schema=schema, pool_max=4, application="test") as database:
        consumer = Consumer(
            client,
            database,
            HANDLERS[schema](database),
            queries=queries,
            service="donation",
            durable=durable,
            clock=SystemClock(),
        )
        async with running(consumer.run()):
            await quiet(client, {durable: "donation"})
        yield schemas
    await client.jetstream().delete_consumer(stream_name("donation"), durable)


def totals_handler(database: Database) -> Handler:
    store: Any = TotalsStore(database, load_queries("aggregator_svc"))  # counts as the service does, and shows nobody
    return DonationEvents(store, Partitions(database, load_queries("mesh.events")))


HANDLERS = {"aggregator": totals_handler, "payment": make_handler}


@pytest.mark.requirement("EVT-10", "TOT-3")
async def test_totals_that_are_counted_from_zero_are_the_same(
    replayed: tuple[Mesh, Client], postgres_server: Postgres
) -> None:
    mesh, client = replayed
    expected = await rows(mesh.schemas.admin_dsn, "aggregator", TOTALS)

    async with replaying(
        postgres_server.dsn, client, package="aggregator_svc", schema="aggregator", durable="totals-from-zero"
    ) as schemas:
        assert await rows(schemas.admin_dsn, "aggregator", TOTALS) == expected
    assert all(expected[statement] for statement in (TOTALS[0], TOTALS[3]))


@pytest.mark.requirement("EVT-10", "LED-2")
async def test_a_ledger_that_is_posted_from_zero_is_the_same(
    replayed: tuple[Mesh, Client], postgres_server: Postgres
) -> None:
    mesh, client = replayed
    expected = await rows(mesh.schemas.admin_dsn, "payment", LEDGER)

    async with replaying(
        postgres_server.dsn, client, package="payment_svc", schema="payment", durable="ledger-from-zero"
    ) as schemas:
        assert await rows(schemas.admin_dsn, "payment", LEDGER) == expected
    assert all(expected.values())
