"""Redis emptied, away and rewound under load: nothing above the truth is shown, and everything comes back by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from aggregator_svc.cache import CacheUnavailable
from aggregator_svc.domain.totals import CampaignTotals
from aggregator_svc.feed import TotalsFeed
from aggregator_svc.service.totals import Totals
from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey, valkey
from mesh.clock import SystemClock
from tests.support.counting import Counting, counting, delta
from tests.support.folders import reachable_folder
from tests.support.log import running
from tests.support.waiting import until

ROUNDS = 60


@dataclass
class House:
    """An aggregator that counts, another one that only shows, and a Redis of their own."""

    parts: Counting
    other: Totals
    server: Valkey
    committed: dict[UUID, int] = field(default_factory=dict)
    rounds: int = 0

    async def count(self, campaigns: list[UUID], draw: random.Random) -> None:
        for _ in range(ROUNDS):
            campaign = draw.choice(campaigns)
            amount = draw.randint(1, 99)
            # Known before it is committed: whatever is shown meanwhile may hold it already.
            self.committed[campaign] = self.committed.get(campaign, 0) + amount
            await self.parts.totals.apply([delta(campaign, amount)], [])
            self.rounds += 1

    async def counted(self, gifts: int) -> None:
        """Waits for so many more gifts."""
        wanted = self.rounds + gifts
        while self.rounds < wanted:  # noqa: ASYNC110 - whoever counts tells nobody
            await asyncio.sleep(0)

    async def watch(self, campaigns: list[UUID], counting: asyncio.Task[None]) -> int:
        """Reads through both until nothing is counted any more; how often."""
        versions: dict[tuple[int, UUID], int] = {}
        reads = 0
        while not counting.done():
            for number, totals in enumerate((self.parts.totals, self.other)):
                for campaign in campaigns:
                    shown = await totals.get_totals(campaign)
                    assert _gross(shown) <= self.committed[campaign]
                    # Whoever counted shows nothing older, whatever Redis has become.
                    if number == 0:
                        assert shown.version >= versions.get((number, campaign), 0)
                    versions[number, campaign] = shown.version
                    reads += 1
            await asyncio.sleep(0)
        return reads

    async def held(self, campaign: UUID) -> CampaignTotals | None:
        try:
            return await self.parts.cache.get(campaign)
        except CacheUnavailable:
            return None

    async def come_back(self, campaigns: list[UUID]) -> None:
        for campaign in campaigns:
            gross = self.committed[campaign]
            await until(lambda campaign=campaign: self.held(campaign), holds=lambda held, gross=gross: _gross(held) == gross)


def _gross(totals: CampaignTotals | None) -> int:
    return sum(share.gross for share in totals.currencies) if totals else 0


@pytest.fixture(scope="module")
async def house(postgres_server: Postgres) -> AsyncIterator[House]:
    with reachable_folder() as folder:
        async with valkey(folder) as server, counting(postgres_server.dsn, server.url) as parts:
            other = Totals(store=parts.store, cache=parts.cache, feed=TotalsFeed(), clock=SystemClock())
            yield House(parts, other, server)


async def empty(house: House) -> None:
    async with Redis.from_url(house.server.url) as redis:
        for _ in range(8):
            await redis.flushall()
            await house.counted(3)


async def away(house: House) -> None:
    await house.server.kill()
    await house.counted(20)
    await house.server.restart()


async def rewound(house: House) -> None:
    """An older copy comes back in the middle of everything."""
    async with Redis.from_url(house.server.url) as redis:
        copy = {key: await redis.dump(key) for key in await redis.keys("giving:totals:*")}
        await house.counted(20)
        for key, value in copy.items():
            await redis.restore(key, 0, value, replace=True)


@pytest.mark.requirement("TOT-4")
@pytest.mark.parametrize("happens", [empty, away, rewound])
async def test_what_redis_loses_under_load_is_never_shown_wrongly_and_comes_back(
    house: House, happens: Callable[[House], Awaitable[None]]
) -> None:
    draw, campaigns = random.Random(3), [uuid4() for _ in range(3)]
    for campaign in campaigns:
        house.committed[campaign] = 1
        await house.parts.totals.apply([delta(campaign, 1)], [])
    async with running(house.parts.totals.repair_cache(), house.parts.totals.look_at_others()):
        load = asyncio.create_task(house.count(campaigns, draw))
        watching = asyncio.create_task(house.watch(campaigns, load))
        await happens(house)
        await load
        assert await watching > 0
        for campaign in campaigns:
            assert _gross(await house.parts.totals.get_totals(campaign)) == house.committed[campaign]
        await house.come_back(campaigns)


@pytest.mark.requirement("TOT-4")
async def test_a_process_that_begins_beside_an_older_copy_puts_it_right(house: House) -> None:
    campaign = uuid4()
    await house.parts.totals.apply([delta(campaign, 5)], [])
    async with Redis.from_url(house.server.url) as redis:
        key = f"giving:totals:{campaign}"
        copy = await redis.dump(key)
        house.committed[campaign] = 12
        await house.parts.totals.apply([delta(campaign, 7)], [])
        await redis.restore(key, 0, copy, replace=True)
    fresh = Totals(store=house.parts.store, cache=house.parts.cache, feed=TotalsFeed(), clock=SystemClock())
    async with running(fresh.repair_cache()):
        await house.come_back([campaign])


@pytest.mark.requirement("TOT-4")
async def test_a_missing_key_is_not_zero(house: House) -> None:
    campaign = uuid4()
    await house.parts.totals.apply([delta(campaign, 5)], [])
    async with Redis.from_url(house.server.url) as redis:
        await redis.flushall()
    assert _gross(await house.other.get_totals(campaign)) == 5
    assert _gross(await house.held(campaign)) == 5
