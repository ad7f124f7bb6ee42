"""A server that tells the truth about itself and leaves no call behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as aggregate
from giving.donation.v1 import donation_service_pb2 as donation
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.rpc.channel import Caller, open_channel
from mesh.rpc.health import HealthBoard, Probe
from tests.support.pretend import CAMPAIGN, Aggregates, Donations, Pretend, gift, method, pretend, serving
from tests.support.waiting import until

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
GRACE_S = 300.0  # longer than any test may take: what waits for it fails


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def health_of(channel: grpc.aio.Channel, name: str = "") -> Any:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    return answer.status


# Starting


async def test_a_port_in_use_is_one_clear_line() -> None:
    async with pretend() as service:
        with pytest.raises(OSError, match=rf"{service.target} is in use; set LISTEN_PORT"):
            async with serving(Donations(), Aggregates(), listen_port=service.server.port):
                pytest.fail("two servers would share the port")


@pytest.mark.requirement("SEC-8")
async def test_reflection_is_for_development_only() -> None:
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    for mode, code in (("development", grpc.StatusCode.OK), ("production", grpc.StatusCode.UNIMPLEMENTED)):
        async with pretend(mesh_mode=mode) as service:
            assert await service.channel.stream_stream(path)(iter([])).code() is code


# Health


@pytest.mark.requirement("OPS-2")
async def test_health_is_told_for_all_for_each_service_and_for_each_dependency() -> None:
    probes = {"store": Probe(lambda: asyncio.sleep(0), required=True)}
    async with pretend(probes=probes) as service:
        for name in ("", "giving.donation.v1.DonationService", "giving.aggregate.v1.AggregateService", "dependency.store"):
            assert await health_of(service.channel, name) == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_of(service.channel, "unknown")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


class Part:
    """A dependency that a test takes away."""

    def __init__(self) -> None:
        self.away = False

    async def ask(self) -> None:
        if self.away:
            raise ConnectionError


@pytest.mark.requirement("OPS-2")
@pytest.mark.parametrize("required", [True, False])
async def test_health_follows_its_dependencies_down_and_up(required: bool) -> None:
    part = Part()
    async with pretend(probes={"part": Probe(part.ask, required=required)}) as service:
        for part.away in (True, False):
            await service.server.health.look()
            own = NOT_SERVING if part.away else SERVING
            assert await health_of(service.channel, "dependency.part") == own
            assert await health_of(service.channel) == (own if required else SERVING)


@pytest.mark.requirement("OPS-2")
async def test_a_dependency_that_does_not_answer_in_time_is_away() -> None:
    board = HealthBoard(services=[], probes={"stuck": Probe(asyncio.Event().wait, required=True)})
    await board.look()
    answer = await board.servicer.Check(health_pb2.HealthCheckRequest(service=""), None)
    assert answer.status == NOT_SERVING


@pytest.mark.requirement("OPS-2")
async def test_who_watches_health_learns_each_change_also_after_another_has_left() -> None:
    part = Part()
    async with pretend(probes={"part": Probe(part.ask, required=True)}) as service:
        watch = health_pb2_grpc.HealthStub(service.channel).Watch
        staying, leaving = watch(health_pb2.HealthCheckRequest()), watch(health_pb2.HealthCheckRequest())
        assert (await staying.read()).status == (await leaving.read()).status == SERVING
        leaving.cancel()
        part.away = True
        assert (await staying.read()).status == NOT_SERVING


@pytest.mark.requirement("OPS-6")
async def test_health_stays_down_once_the_server_leaves() -> None:
    board = HealthBoard(services=["x"], probes={})
    await board.look()
    await board.leave()
    await board.look()
    answer = await board.servicer.Check(health_pb2.HealthCheckRequest(service="x"), None)
    assert answer.status == NOT_SERVING


# Stopping


@pytest.mark.requirement("OPS-6")
async def test_a_stop_is_announced_then_finishes_what_runs_then_takes_nothing_new(stack: AsyncExitStack) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def slow(_request: Any) -> Any:
        entered.set()
        await gate.wait()
        return aggregate.GetTotalsResponse()

    async def endless(_request: Any) -> Any:
        yield aggregate.WatchTotalsResponse()
        await asyncio.Event().wait()

    service: Pretend = await stack.enter_async_context(pretend(grace_s=GRACE_S))
    donations, aggregates = service.donations, service.aggregates
    assert donations
    aggregates.get, aggregates.watch = slow, endless
    async with grpc.aio.insecure_channel(service.target) as channel:
        caller = Pretend(service.server, donations, aggregates, channel)
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == SERVING
        stream = caller.watch()
        await stream.read()
        in_flight = asyncio.create_task(caller.totals())
        await entered.wait()

        stopping = asyncio.create_task(stack.aclose())

        assert (await health.read()).status == NOT_SERVING
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert not in_flight.done()
        assert not stopping.done()
        gate.set()
        assert await in_flight == aggregate.GetTotalsResponse()
        await until(lambda: asyncio.sleep(0, stopping.done()))
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.totals()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.requirement("OPS-6")
async def test_calls_are_taken_while_callers_move_away(stack: AsyncExitStack) -> None:
    service = await stack.enter_async_context(pretend(drain_s=1))
    async with grpc.aio.insecure_channel(service.target) as channel:
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await health.read()
        stopping = asyncio.create_task(stack.aclose())
        assert (await health.read()).status == NOT_SERVING
        await Pretend(service.server, service.donations, service.aggregates, channel).record()
        await stopping


@pytest.mark.requirement("OPS-6")
async def test_a_change_whose_caller_has_gone_is_waited_for(stack: AsyncExitStack) -> None:
    gate, ended = asyncio.Event(), asyncio.Event()

    async def slow(_request: Any) -> Any:
        await gate.wait()
        ended.set()
        return donation.RecordDonationResponse()

    service: Pretend = await stack.enter_async_context(pretend(grace_s=GRACE_S))
    service.donations.record = slow
    with pytest.raises(grpc.aio.AioRpcError):
        await service.record(timeout=0.1)
    stopping = asyncio.create_task(stack.aclose())
    await until(lambda: asyncio.sleep(0, service.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN))
    assert not stopping.done()
    gate.set()
    await stopping
    assert ended.is_set()


@pytest.mark.requirement("OPS-6")
async def test_a_stop_waits_for_no_channel_that_watches_health(stack: AsyncExitStack) -> None:
    """Our own channels do: they watch the health of every server that they are connected to, as long as they live."""
    service: Pretend = await stack.enter_async_context(pretend(grace_s=GRACE_S))
    channel = open_channel(service.target)
    await Caller(channel, peer="pretend").unary(method("GetTotals"), aggregate.GetTotalsRequest(campaign_id=CAMPAIGN))
    watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    await watching.read()

    stopping = asyncio.create_task(stack.aclose())
    await until(lambda: asyncio.sleep(0, stopping.done()))
    await channel.close()


@pytest.mark.requirement("OPS-6")
async def test_a_stop_waits_for_a_stream_that_nobody_reads_no_longer_than_the_grace(stack: AsyncExitStack) -> None:
    """A message that cannot be sent cannot be overtaken by a status; only the end of the grace cuts it off."""

    async def flood(_request: Any) -> Any:
        while True:
            yield aggregate.WatchTotalsResponse(totals={"campaign_id": "x" * 60_000})

    service: Pretend = await stack.enter_async_context(pretend(grace_s=0.5))
    service.aggregates.watch = flood
    async with grpc.aio.insecure_channel(service.target) as channel:
        stream = Pretend(service.server, service.donations, service.aggregates, channel).watch()
        await stream.read()
        stopping = asyncio.create_task(stack.aclose())
        await until(lambda: asyncio.sleep(0, stopping.done()))
        await stopping


# Callers of ours


async def test_a_server_that_comes_back_is_found_again() -> None:
    async with pretend() as service:
        port = service.server.port
        channel = open_channel(service.target)
        caller = Caller(channel, peer="pretend")
        await caller.unary(method("RecordDonation"), gift())
    async with pretend(listen_port=port):
        await until(lambda: answers(caller))
    await channel.close()


async def answers(caller: Caller) -> bool:
    from mesh.errors import DependencyUnavailable  # noqa: PLC0415

    try:
        await caller.unary(method("RecordDonation"), gift())
    except DependencyUnavailable:
        return False
    return True
