"""What the plumbing's tests stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cli.servers.nats import Nats
from cli.servers.postgres import Postgres
from tests.support.log import Log, open_log


@pytest.fixture
async def log(postgres_server: Postgres, nats_server: Nats) -> AsyncIterator[Log]:
    async with open_log(postgres_server.dsn, nats_server.url) as opened:
        yield opened
