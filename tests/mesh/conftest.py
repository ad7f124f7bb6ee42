"""What the plumbing's tests stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog

from cli.servers.nats import Nats
from cli.servers.postgres import Postgres, postgres
from tests.support.folders import reachable_folder
from tests.support.log import Log, open_log


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """A drawn traceback costs a second each, and many tests provoke them."""
    renderers = [structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()]
    structlog.configure(processors=renderers)


@pytest.fixture(scope="session")
async def postgres_server() -> AsyncIterator[Postgres]:
    """A server that does not wait for the disk: it is never cut off here, and has a database for nearly every test."""
    settings = {"fsync": "off", "full_page_writes": "off"}
    with reachable_folder() as folder:
        async with postgres(folder, settings=settings) as server:
            yield server


@pytest.fixture
async def log(postgres_server: Postgres, nats_server: Nats) -> AsyncIterator[Log]:
    async with open_log(postgres_server.dsn, nats_server.url) as opened:
        yield opened
