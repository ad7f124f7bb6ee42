"""The ledger over a real database, without the processes around it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from giving.payment.v1.payment_operations_service_pb2 import Breaker

from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh.clock import ManualClock
from mesh.events.partitions import Partitions
from mesh.postgres import Database, load_queries, open_database
from payment_svc.consumer import RecordedDonations
from payment_svc.domain.breaker import FAILURES_WITHIN
from payment_svc.service.ledger import Ledger
from payment_svc.store.ledger import LedgerStore
from tests.support.folders import reachable_folder
from tests.support.sandbox import running_sandbox
from tests.support.schemas import Schemas, make_database
from tests.support.settling import PERIOD, Settling, settling_with
from tests.support.till import Till, running_till


@pytest.fixture(scope="session")
async def schemas(postgres_server: Postgres) -> Schemas:
    return await make_database(postgres_server.dsn, "payment_svc")


@pytest.fixture(scope="session")
async def database(schemas: Schemas) -> AsyncIterator[Database]:
    async with open_database(schemas.dsn("payment"), schema="payment", pool_max=8, application="test") as database:
        yield database


@pytest.fixture(scope="session")
def ledger(database: Database) -> Ledger:
    return make_ledger(database)


@pytest.fixture(scope="session")
def handler(database: Database) -> RecordedDonations:
    return make_handler(database)


@pytest.fixture
async def service(schemas: Schemas) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the service's role."""
    connection = await asyncpg.connect(schemas.dsn("payment"), server_settings={"search_path": "payment"})
    yield connection
    await connection.close()


@pytest.fixture
async def admin(schemas: Schemas) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(schemas.admin_dsn, server_settings={"search_path": "payment"})
    yield connection
    await connection.close()


def make_ledger(database: Database) -> Ledger:
    return Ledger(database=database, book=LedgerStore(database, load_queries("payment_svc")))


def make_handler(database: Database) -> RecordedDonations:
    partitions = Partitions(database, load_queries("mesh.events"))
    return RecordedDonations(ledger=make_ledger(database), partitions=partitions)


@pytest.fixture(scope="session")
async def till_clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
async def a_till(
    postgres_server: Postgres, till_clock: ManualClock, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Till]:
    """With a broker of its own: streams have the same names everywhere."""
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    with reachable_folder() as folder:
        async with (
            nats(folder) as broker,
            running_sandbox(tmp_path_factory.mktemp("stripe_of_the_till")) as stripe,
            running_till(schemas, nats_url=broker.url, sandbox=stripe, clock=till_clock) as running,
        ):
            yield running


@pytest.fixture
async def till(a_till: Till) -> AsyncIterator[Till]:
    """The till; whatever a test made the sandbox do wrong ends with it, and whatever the breaker remembers of it."""
    a_till.clock.advance(FAILURES_WITHIN)
    yield a_till
    await a_till.sandbox.clear()
    if (await a_till.breaker()).state != Breaker.STATE_CLOSED:
        await a_till.set_breaker(Breaker.STATE_CLOSED)


@pytest.fixture(scope="session")
async def a_settling_till(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settling]:
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    more = {"settlement_poll_s": PERIOD.total_seconds()}
    with reachable_folder() as folder:
        async with (
            nats(folder) as broker,
            running_sandbox(tmp_path_factory.mktemp("stripe_of_the_settlement")) as stripe,
            running_till(schemas, nats_url=broker.url, sandbox=stripe, clock=ManualClock(), **more) as till,
            settling_with(till) as settling,
        ):
            yield settling


@pytest.fixture
async def settling(a_settling_till: Settling) -> AsyncIterator[Settling]:
    """Whatever a test did, in the end the books of both sides agree."""
    yield a_settling_till
    await a_settling_till.till.sandbox.clear()
    await a_settling_till.walk()
    await a_settling_till.agree()
