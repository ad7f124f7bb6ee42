import asyncio

import pytest
from gateway_upstreams import CAMPAIGN_ID, totals
from giving.aggregate.v1.aggregate_service_pb2 import GetTotalsRequest, GetTotalsResponse

from gateway.cache import SILENCE_S_MAX, TotalsCache
from gateway.clients import contract_methods
from gateway.convert import Writers
from gateway.transcode import Renderer

GET_TOTALS = contract_methods()["/giving.aggregate.v1.AggregateService/GetTotals"]


class Aggregator:
    """Answers GetTotals when it is let; what it answers is fixed when the call begins."""

    def __init__(self):
        self.version = 1
        self.calls = 0
        self.entered, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def unary(self, _method, request, _call):
        self.calls += 1
        answer = GetTotalsResponse(totals=totals(self.version, request.campaign_id.lower()))
        self.entered.set()
        await self.gate.wait()
        return answer


class Stopwatch:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def aggregator():
    return Aggregator()


@pytest.fixture
def stopwatch():
    return Stopwatch()


@pytest.fixture
def hits():
    return []


@pytest.fixture
def cache(aggregator, stopwatch, hits):
    return TotalsCache(
        caller=aggregator,
        method=GET_TOTALS,
        renderer=Renderer(Writers()),
        on_hit=lambda: hits.append(1),
        monotonic=stopwatch,
        entries_max=2,
    )


async def read(cache, campaign_id=CAMPAIGN_ID):
    return await cache.answer(GetTotalsRequest(campaign_id=campaign_id), lambda: None)


@pytest.mark.requirement("TOT-2")
async def test_a_second_read_is_answered_from_memory(cache, aggregator, hits):
    cache.sign()
    first, second = await read(cache), await read(cache)
    assert first == second
    assert second.etag == '"v1"'
    assert aggregator.calls == 1
    assert len(hits) == 1


@pytest.mark.requirement("TOT-2")
async def test_an_update_of_the_stream_replaces_what_is_remembered(cache):
    cache.sign()
    await read(cache)
    cache.followed(totals(5))
    assert (await read(cache)).etag == '"v5"'


async def test_an_older_update_changes_nothing(cache):
    cache.sign()
    await read(cache)
    cache.followed(totals(5))
    cache.followed(totals(4))
    assert (await read(cache)).etag == '"v5"'


@pytest.mark.requirement("TOT-2")
async def test_an_answer_that_was_overtaken_by_the_stream_does_not_replace_it(cache, aggregator):
    cache.sign()
    aggregator.gate.clear()
    waiting = asyncio.create_task(read(cache))
    await aggregator.entered.wait()
    cache.followed(totals(9))
    aggregator.gate.set()
    assert (await waiting).etag == '"v9"'
    assert (await read(cache)).etag == '"v9"'


async def test_an_answer_that_was_on_its_way_over_a_break_is_not_remembered(cache, aggregator):
    cache.sign()
    aggregator.gate.clear()
    waiting = asyncio.create_task(read(cache))
    await aggregator.entered.wait()
    cache.lost()
    cache.sign()
    aggregator.gate.set()
    await waiting
    await read(cache)
    assert aggregator.calls == 2


async def test_without_a_stream_calls_go_through(cache):
    assert await read(cache) is None
    cache.sign()
    await read(cache)
    cache.lost()
    assert await read(cache) is None


async def test_a_silent_stream_counts_as_broken(cache, aggregator, stopwatch):
    cache.sign()
    await read(cache)
    stopwatch.now = SILENCE_S_MAX + 0.1
    assert await read(cache) is None
    cache.sign()
    await read(cache)
    assert aggregator.calls == 2


async def test_updates_that_nobody_asked_for_are_not_kept(cache, aggregator):
    cache.sign()
    cache.followed(totals(7))
    await read(cache)
    assert aggregator.calls == 1


async def test_the_least_recently_read_entry_makes_room(cache, aggregator):
    cache.sign()
    for name in ("a", "b", "a", "c", "a"):
        await read(cache, name)
    assert aggregator.calls == 3
    await read(cache, "b")
    assert aggregator.calls == 4


async def test_an_id_in_another_spelling_is_never_remembered(cache, aggregator):
    cache.sign()
    await read(cache, CAMPAIGN_ID.replace("0189", "018A"))
    await read(cache, CAMPAIGN_ID.replace("0189", "018A"))
    assert aggregator.calls == 2


@pytest.mark.requirement("TOT-2")
async def test_a_gateway_answers_from_memory_while_it_follows_and_asks_again_after_a_break(rest, upstreams):
    path = f"/v1/campaigns/{CAMPAIGN_ID}/totals"
    service = upstreams.totals

    async def version():
        async with rest.get(path) as answer:
            return (await answer.json())["totals"]["version"]

    async def calls_stay():
        before = service.calls
        await version()
        return service.calls == before

    async with asyncio.timeout(10):
        while not await calls_stay():
            pass
        service.push(totals(8))
        while await version() != "8":
            pass
        service.silent = True
        service.cut()
        while await calls_stay():
            pass
        service.silent = False
        while not await calls_stay():
            pass
