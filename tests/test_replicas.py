"""Two of every service side by side: nothing twice, and whoever watches one sees what the other applied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as aggregate

from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey
from tests.support.books import owed
from tests.support.folders import reachable_folder
from tests.support.giving import gift, open_cause, totals_of
from tests.support.mesh import Mesh, running_mesh
from tests.support.sandbox import Sandbox
from tests.support.schemas import make_database
from tests.support.waiting import until

GIFTS = 60


@pytest.fixture
async def twins(postgres_server: Postgres, valkey_server: Valkey, sandbox: Sandbox) -> AsyncIterator[tuple[Mesh, Mesh]]:
    schemas = await make_database(postgres_server.dsn)
    with reachable_folder() as folder:
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(nats(Path(folder)))
            running = [
                await stack.enter_async_context(
                    running_mesh(schemas, nats_url=broker.url, redis_url=valkey_server.url, sandbox=sandbox)
                )
                for _ in range(2)
            ]
            yield running[0], running[1]


async def gross(mesh: Mesh, campaign_id: str) -> int:
    return sum(share.gross for share in (await totals_of(mesh, campaign_id)).currencies)


@pytest.mark.requirement("EVT-6", "TOT-1")
async def test_gifts_through_both_count_once_and_both_show_them(twins: tuple[Mesh, Mesh]) -> None:
    cause = await open_cause(twins[0])
    gifts = [gift(cause.campaign_id, 100) for _ in range(GIFTS)]

    await asyncio.gather(*(mesh.donations.RecordDonation(request) for mesh in twins for request in gifts))

    for mesh in twins:
        await until(lambda mesh=mesh: gross(mesh, cause.campaign_id), holds=lambda found: found == 100 * GIFTS)
        await until(
            lambda mesh=mesh: owed(mesh.ledger, cause.campaign_id), holds=lambda found: found == {"USD": 100 * GIFTS}
        )


@pytest.mark.requirement("TOT-8")
async def test_watchers_of_both_see_a_gift_that_one_of_them_applied(twins: tuple[Mesh, Mesh]) -> None:
    cause = await open_cause(twins[0])
    await twins[0].donations.RecordDonation(gift(cause.campaign_id, 100))
    for mesh in twins:
        await until(lambda mesh=mesh: gross(mesh, cause.campaign_id), holds=lambda found: found == 100)
    request = aggregate.WatchTotalsRequest(campaign_id=cause.campaign_id)
    streams = [mesh.aggregates.WatchTotals(request) for mesh in twins]
    for stream in streams:
        await stream.read()

    await twins[1].donations.RecordDonation(gift(cause.campaign_id, 50))

    for stream in streams:
        shown = (await stream.read()).totals
        assert sum(share.gross for share in shown.currencies) == 150
        stream.cancel()
