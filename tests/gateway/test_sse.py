import asyncio
import contextlib
import json

import aiohttp
import pytest
from gateway_upstreams import CAMPAIGN_ID, DONATION_ID, totals
from yarl import URL

from mesh.errors import NotImplementedYet

WATCH = f"/v1/campaigns/{CAMPAIGN_ID}/totals:watch"


async def events_of(answer):
    """The stream's events as dicts of their fields; comments and lone retries are passed over."""
    fields = {}
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if text and not text.startswith(":"):
            name, _, value = text.partition(": ")
            fields[name] = value
        elif not text and "data" in fields:
            yield fields
            fields = {}


@contextlib.asynccontextmanager
async def watching(session, path=WATCH, **headers):
    async with asyncio.timeout(20), session.get(path, headers=headers) as answer:
        assert answer.status == 200
        async with contextlib.aclosing(events_of(answer)) as events:
            yield events


async def followed(upstreams):
    """Waits until the gateway follows."""
    async with asyncio.timeout(10):
        await upstreams.totals.following.wait()


@pytest.mark.requirement("TOT-8")
async def test_a_reader_gets_the_snapshot_first_and_then_each_change(live, upstreams):
    await followed(upstreams)
    async with watching(live) as events:
        first = await anext(events)
        assert first["id"] == "1"
        assert json.loads(first["data"])["totals"]["currencies"][0]["gross"] == "100"
        assert int(first["retry"]) >= 1000
        upstreams.totals.push(totals(2))
        assert (await anext(events))["id"] == "2"


@pytest.mark.requirement("TOT-8")
async def test_a_reader_who_has_the_version_gets_no_snapshot(live, upstreams):
    await followed(upstreams)
    async with watching(live, **{"Last-Event-ID": "1"}) as events:
        reading = asyncio.ensure_future(anext(events))
        async with watching(live) as others:
            assert (await anext(others))["id"] == "1"
        upstreams.totals.push(totals(2))
        assert (await reading)["id"] == "2"


@pytest.mark.requirement("TOT-8")
@pytest.mark.parametrize("last", ["0", "99", "x", "-1", "9" * 40])
async def test_a_reader_with_an_older_or_an_impossible_version_gets_the_snapshot(live, last):
    async with watching(live, **{"Last-Event-ID": last}) as events:
        assert (await anext(events))["id"] == "1"


@pytest.mark.requirement("TOT-8")
async def test_changes_in_between_are_coalesced_to_the_latest(live, upstreams):
    await followed(upstreams)
    async with watching(live) as events:
        assert (await anext(events))["id"] == "1"
        for version in range(2, 102):
            upstreams.totals.push(totals(version))
        seen = [int((await anext(events))["id"])]
        while seen[-1] != 101:
            seen.append(int((await anext(events))["id"]))
    assert len(seen) < 10
    assert seen == sorted(set(seen))


@pytest.mark.requirement("TOT-8")
async def test_many_readers_of_a_campaign_cost_one_call(live, upstreams):
    await followed(upstreams)
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(watching(live)) for _ in range(20)]
        assert {(await anext(events))["id"] for events in readers} == {"1"}
        upstreams.totals.push(totals(2))
        assert {(await anext(events))["id"] for events in readers} == {"2"}
    assert "WatchTotals" not in upstreams.totals.requests


@pytest.mark.requirement("TOT-8")
async def test_what_was_missed_while_the_stream_was_broken_arrives_after_it(live, upstreams):
    await followed(upstreams)
    async with watching(live) as events:
        assert (await anext(events))["id"] == "1"
        upstreams.totals.cut()
        await upstreams.totals.abandoned.wait()
        upstreams.totals.version = 7
        assert (await anext(events))["id"] == "7"


@pytest.mark.requirement("TOT-8")
async def test_the_next_reader_over_the_cap_is_sent_away_with_a_time_to_come_back(gateway_of):
    async with gateway_of(gateway_role="live", readers_max=1) as live, watching(live) as events:
        await anext(events)
        async with live.get(WATCH) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0


async def test_a_reader_who_leaves_makes_room(gateway_of):
    async with gateway_of(gateway_role="live", readers_max=1) as live:
        async with watching(live) as events:
            await anext(events)
        status = 503
        async with asyncio.timeout(10):
            while status == 503:
                async with live.get(WATCH) as answer:
                    status = answer.status
        assert status == 200


@pytest.mark.requirement("TOT-8")
async def test_streams_end_when_the_process_stops(gateway_of):
    async with aiohttp.ClientSession() as outside, asyncio.timeout(20):
        async with gateway_of(gateway_role="live") as live:
            answer = await outside.get(live._base_url.join(URL(WATCH, encoded=True)))
            events = events_of(answer)
            await anext(events)
        assert await anext(events, None) is None
        answer.close()


@pytest.mark.requirement("WEB-2")
async def test_an_error_before_the_first_event_is_a_problem(live, upstreams):
    upstreams.totals.refusals["GetTotals"] = NotImplementedYet("not yet", method="GetTotals")
    async with live.get(WATCH) as answer:
        assert answer.status == 501
        assert answer.content_type == "application/problem+json"


@pytest.mark.requirement("WEB-1")
async def test_a_stream_without_a_source_here_is_bridged_to_its_end(live):
    async with watching(live, f"/v1/donations/{DONATION_ID}:watch") as events:
        assert json.loads((await anext(events))["data"])["donation"]["donation_id"] == DONATION_ID
        assert (await anext(events))["event"] == "end"


@pytest.mark.requirement("WEB-2")
async def test_a_bridged_stream_that_is_refused_is_a_problem(live, upstreams):
    upstreams.donations.refusals["WatchDonation"] = NotImplementedYet("not yet", method="WatchDonation")
    async with live.get(f"/v1/donations/{DONATION_ID}:watch") as answer:
        assert answer.status == 501


async def test_the_live_process_serves_streams_and_nothing_else(live):
    async with live.get(f"/v1/donations/{DONATION_ID}") as answer:
        assert answer.status == 404
    async with live.get("/healthz") as answer:
        assert answer.status == 200
