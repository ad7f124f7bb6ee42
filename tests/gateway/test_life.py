"""When a gateway says that it takes requests, and how it stops."""

import asyncio
import contextlib
import json

import aiohttp
import pytest
from gateway_upstreams import CAMPAIGN_ID, DONATION_ID, Upstreams
from grpc_health.v1.health_pb2 import HealthCheckResponse

from gateway.app import application

WATCH = f"/v1/campaigns/{CAMPAIGN_ID}/totals:watch"


async def readiness(session):
    async with session.get("/readyz") as answer:
        return answer.status, await answer.json()


async def until_ready(session, status):
    async with asyncio.timeout(10):
        while (found := await readiness(session))[0] != status:  # noqa: ASYNC110 - asked as a load balancer does
            await asyncio.sleep(0.01)
    return found[1]


@pytest.mark.requirement("OPS-2")
async def test_a_part_that_is_away_is_named_and_takes_no_gateway_out_of_rotation(rest, upstreams):
    assert (await readiness(rest))[0] == 200
    await upstreams.health.set("", HealthCheckResponse.NOT_SERVING)
    status, body = await readiness(rest)
    assert (status, body["status"]) == (200, "ready")
    assert body["upstreams"]["aggregator"] != "SERVING"
    async with rest.get("/healthz") as answer:
        assert answer.status == 200


@pytest.mark.requirement("OPS-2")
async def test_a_gateway_that_never_reached_anyone_is_not_ready(gateway_of, unused_tcp_target):
    nowhere = dict.fromkeys(("donation_target", "payment_target", "aggregator_target"), unused_tcp_target)
    async with gateway_of(**nowhere) as session:
        assert await readiness(session) == (
            503,
            {"status": "starting", "upstreams": dict.fromkeys(("donation", "payment", "aggregator"), "NOT_REACHED")},
        )


@pytest.mark.requirement("OPS-2")
async def test_a_gateway_stays_ready_when_everything_behind_it_goes_away(gateway_of):
    async with contextlib.AsyncExitStack() as stack:
        others = await stack.enter_async_context(Upstreams().running())
        targets = dict.fromkeys(("donation_target", "payment_target", "aggregator_target"), others.target)
        async with gateway_of(**targets) as session:
            await until_ready(session, 200)
            await stack.aclose()
            status, body = await readiness(session)
    assert (status, set(body["upstreams"].values())) == (200, {"NOT_REACHED"})


class Stopping:
    """A gateway whose stop a test begins, and the wait for its end."""

    def __init__(self, settings):
        self._stop = asyncio.Event()
        self._settings = settings
        self.port = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    async def _run(self):
        async with application(self._settings) as gateway:
            self.port.set_result(gateway.port)
            await self._stop.wait()

    def begin(self):
        self._stop.set()

    @property
    def stopped(self):
        return self._task.done()

    async def end(self):
        self.begin()
        async with asyncio.timeout(10):
            await self._task


@pytest.fixture
def stopping(settings_for):
    """Opens a gateway that can be stopped, and a session with kept connections."""

    @contextlib.asynccontextmanager
    async def opened(**changes):
        gateway = Stopping(settings_for(**changes))
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{await gateway.port}") as session:
                yield gateway, session
        finally:
            await gateway.end()

    return opened


@pytest.mark.requirement("OPS-6")
async def test_a_stop_is_announced_before_requests_are_turned_away(stopping):
    async with stopping(drain_s=1) as (gateway, session):
        assert (await readiness(session))[0] == 200
        gateway.begin()
        body = await until_ready(session, 503)
        assert body["status"] == "draining"
        async with session.get(f"/v1/donations/{DONATION_ID}") as answer:
            assert answer.status == 200
        assert not gateway.stopped
        await gateway.end()
        with pytest.raises(aiohttp.ClientConnectionError):
            await readiness(session)


@pytest.mark.requirement("OPS-6")
async def test_a_request_in_progress_is_answered_after_the_end_of_listening(stopping, upstreams):
    async with stopping(grace_s=5) as (gateway, session):
        upstreams.totals.gate.clear()
        asking = asyncio.create_task(read(session, f"/v1/campaigns/{CAMPAIGN_ID}/totals"))
        await upstreams.totals.entered.wait()
        gateway.begin()
        async with asyncio.timeout(5):
            while await connects(await gateway.port):  # noqa: ASYNC110 - a listener's end is no event of ours
                await asyncio.sleep(0.01)
        upstreams.totals.gate.set()
        assert (await asking)["totals"]["campaign_id"] == CAMPAIGN_ID


async def read(session, path):
    async with session.get(path) as answer:
        return json.loads(await answer.read())


async def connects(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.requirement("OPS-6", "TOT-8")
async def test_event_streams_are_served_while_draining_and_then_ended_in_good_form(stopping):
    async with stopping(gateway_role="live", drain_s=0.5, grace_s=10) as (gateway, session), session.get(WATCH) as first:
        gateway.begin()
        await until_ready(session, 503)
        async with session.get(WATCH) as second:
            assert second.status == 200
            # Read to their end without an error: the last chunk came.
            assert b"data: " in await second.read()
        assert b"data: " in await first.read()


@pytest.mark.requirement("OPS-6", "INT-8")
async def test_a_donation_that_stands_still_does_not_hold_up_a_stop(stopping, upstreams):
    upstreams.donations.gate.clear()
    path = f"/v1/donations/{DONATION_ID}:watch"
    async with stopping(gateway_role="live", grace_s=300) as (gateway, session), session.get(path) as watching:
        assert DONATION_ID.encode() in await watching.content.readuntil(b"}}\n\n")
        async with asyncio.timeout(5):  # a ping would come only after ten seconds
            await gateway.end()
            assert b"event: end" not in await watching.read()
