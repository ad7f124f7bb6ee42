"""Real servers and a real mesh for every test: started once, each test makes its own charity and campaigns."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from cli.servers import place
from cli.servers.nats import Nats, nats
from cli.servers.postgres import Postgres, postgres
from cli.servers.valkey import Valkey, valkey
from tests.support.folders import reachable_folder, use_memory
from tests.support.giving import Cause, open_cause
from tests.support.mesh import Mesh, running_mesh
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.schemas import make_database


def pytest_configure() -> None:
    """Data in memory, where there is room for it; plain log lines: structlog's own draw every variable of a traceback."""
    use_memory()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),
    )


@pytest.fixture(scope="session", autouse=True)
def _no_data_is_left_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers of tests keep their data in `reachable_folder`: beside a closed one, as pytest's are, nobody removes it."""
    yield
    base = tmp_path_factory.getbasetemp()
    left = [str(path) for path in (*base.glob("*"), *base.glob("*/*")) if place.elsewhere(path).exists()]
    assert left == []


@pytest.fixture(scope="session")
async def postgres_server() -> AsyncIterator[Postgres]:
    with reachable_folder() as folder:
        async with postgres(folder) as server:
            yield server


@pytest.fixture(scope="session")
async def nats_server() -> AsyncIterator[Nats]:
    with reachable_folder() as folder:
        async with nats(folder) as server:
            yield server


@pytest.fixture(scope="session")
async def valkey_server() -> AsyncIterator[Valkey]:
    with reachable_folder() as folder:
        async with valkey(folder) as server:
            yield server


@pytest.fixture(scope="session")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """Stripe's sandbox; whoever switches faults on clears them."""
    async with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(scope="session")
async def mesh(
    postgres_server: Postgres, nats_server: Nats, valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    schemas = await make_database(postgres_server.dsn)
    async with (
        running_sandbox(tmp_path_factory.mktemp("stripe_of_the_mesh")) as stripe,
        running_mesh(schemas, nats_url=nats_server.url, redis_url=valkey_server.url, sandbox=stripe) as running,
    ):
        yield running


@pytest.fixture
async def cause(mesh: Mesh) -> Cause:
    return await open_cause(mesh)
