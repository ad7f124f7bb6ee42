from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey
from tests.support.counting import Counting, counting


@pytest.fixture
async def parts(postgres_server: Postgres, valkey_server: Valkey) -> AsyncIterator[Counting]:
    async with counting(postgres_server.dsn, valkey_server.url) as running:
        yield running
