"""Real servers and a real mesh for every test: started once, each test makes its own charity and campaigns."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cli.servers.nats import Nats, nats
from cli.servers.postgres import Postgres, postgres
from cli.servers.valkey import Valkey, valkey
from tests.support.giving import Cause, open_cause
from tests.support.mesh import Mesh, running_mesh
from tests.support.schemas import make_database


@pytest.fixture(scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    async with postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nats]:
    async with nats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
async def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Valkey]:
    async with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
async def mesh(postgres_server: Postgres, nats_server: Nats, valkey_server: Valkey) -> AsyncIterator[Mesh]:
    schemas = await make_database(postgres_server.dsn)
    async with running_mesh(schemas, nats_url=nats_server.url, redis_url=valkey_server.url) as running:
        yield running


@pytest.fixture
async def cause(mesh: Mesh) -> Cause:
    return await open_cause(mesh)
