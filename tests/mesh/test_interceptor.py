"""Every kind of call: answered, refused, cut, and never with more than the contract says."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as aggregate
from giving.aggregate.v1 import aggregate_service_pb2_grpc as aggregate_grpc
from giving.common.v1.policy_pb2 import OWNERSHIP_ANY, RATE_CLASS_STREAM, ROLE_PUBLIC, MethodPolicy
from giving.donation.v1 import donation_service_pb2 as donation
from giving.donation.v1 import donation_service_pb2_grpc as donation_grpc

from mesh.errors import InvalidArgument, Overloaded, Refusal, from_rpc_error
from mesh.rpc.call import CORRELATION_KEY, REPLAYED_TRAILER, TRACE_KEY, current_call
from mesh.rpc.contract import Method
from mesh.rpc.guards import Admission, trust_loopback
from mesh.rpc.interceptor import GuardInterceptor
from tests.support.pretend import CAMPAIGN, Pretend, gift, pretend
from tests.support.waiting import until

SECRET = "4242 4242 4242 4242 at 10.0.0.7"


@pytest.fixture
async def service() -> AsyncIterator[Pretend]:
    async with pretend() as running:
        yield running


class Summing:
    """The kind of call that the contract does not use: a stream in, one answer out."""

    def __init__(self, behave: Any) -> None:
        self._behave = behave
        service = types.SimpleNamespace(full_name="test.v1.SumService")
        descriptor: Any = types.SimpleNamespace(
            containing_service=service, name="Sum", client_streaming=True, server_streaming=False
        )
        policy = MethodPolicy(
            roles=[ROLE_PUBLIC], ownership=OWNERSHIP_ANY, rate_class=RATE_CLASS_STREAM, idempotency_field="payment_ref"
        )
        self.method = Method(descriptor, policy, donation.RecordDonationRequest, donation.RecordDonationResponse)

    async def call(self, *raw: bytes) -> Any:
        guard = GuardInterceptor({self.method.path: self.method}, identify=trust_loopback, admission=Admission(bound=1))
        server = grpc.aio.server(interceptors=[guard])
        handler = grpc.stream_unary_rpc_method_handler(
            self._behave, response_serializer=donation.RecordDonationResponse.SerializeToString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.v1.SumService", {"Sum": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await channel.stream_unary(self.method.path)(iter(raw))
        finally:
            await server.stop(0)


async def caught(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await call
    return found.value


async def refusal_of(call: Any) -> Refusal:
    return from_rpc_error(await caught(call), dependency="pretend")


def all_kinds(service: Pretend, error: BaseException) -> list[Any]:
    """A call of each kind whose handler raises."""

    async def fail(_request: Any) -> Any:
        raise error

    async def fail_streaming(_request: Any) -> Any:
        yield aggregate.WatchTotalsResponse()
        raise error

    async def fail_summing(requests: Any, _context: Any) -> Any:
        async for _ in requests:
            pass
        raise error

    service.aggregates.get = service.donations.record = service.donations.each = fail
    service.aggregates.watch = fail_streaming

    async def exhausted(call: Any) -> None:
        async for _ in call:
            pass

    return [
        service.totals(),
        service.record(),
        exhausted(service.watch()),
        exhausted(service.record_many(iter([donation.RecordDonationsRequest()]))),
        Summing(fail_summing).call(gift().SerializeToString()),
    ]


# What goes wrong


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), KeyError(SECRET), TimeoutError(SECRET), grpc.RpcError(SECRET)], ids=repr
)
async def test_no_kind_of_call_shows_the_text_of_a_defect(service: Pretend, error: Exception) -> None:
    for call in all_kinds(service, error):
        failure = await caught(call)
        assert (failure.code(), failure.details()) == (grpc.StatusCode.INTERNAL, "internal error")
        assert SECRET.encode() not in repr(failure.trailing_metadata()).encode()
        assert from_rpc_error(failure, dependency="x").reason_name == "INTERNAL"


async def test_every_kind_of_call_carries_a_refusal_whole(service: Pretend) -> None:
    for error in (InvalidArgument.of("amount.minor_units", "must be more"), Overloaded("too much", retry_after_s=2.5)):
        for call in all_kinds(service, error):
            failure = await caught(call)
            refusal = from_rpc_error(failure, dependency="x")
            assert failure.code() is error.form.code
            assert failure.details() == error.detail
            assert (refusal.reason_name, refusal.fields) == (error.reason_name, error.fields)
            assert (refusal.retry_after_s, refusal.metadata) == (error.retry_after_s, error.metadata)


async def test_methods_that_nobody_wrote_are_not_implemented_yet(service: Pretend) -> None:
    stub = donation_grpc.DonationServiceStub(service.channel)
    refusal = await refusal_of(stub.GetDonationOffer(donation.GetDonationOfferRequest(campaign_id=CAMPAIGN)))
    assert refusal.reason_name == "NOT_IMPLEMENTED"
    assert refusal.metadata == {"method": "giving.donation.v1.DonationService/GetDonationOffer"}
    watching = aggregate_grpc.AggregateServiceStub(service.channel).FollowTotals(aggregate.FollowTotalsRequest())
    refusal = await refusal_of(watching.read())
    assert refusal.metadata == {"method": "giving.aggregate.v1.AggregateService/FollowTotals"}


async def test_methods_that_the_server_does_not_have_are_unimplemented(service: Pretend) -> None:
    refusal = await refusal_of(service.channel.unary_unary("/giving.nothing.v1.NothingService/Nothing")(b""))
    assert refusal.reason_name == "NOT_IMPLEMENTED"


async def test_a_message_of_a_stream_that_breaks_a_rule_ends_the_stream(service: Pretend) -> None:
    requests = [donation.RecordDonationsRequest(), donation.RecordDonationsRequest(donations=[gift(campaign_id="x")])]
    call = service.record_many(iter(requests))
    assert isinstance(await call.read(), donation.RecordDonationsResponse)
    refusal = await refusal_of(call.read())
    assert [violation.field for violation in refusal.fields] == ["donations[0].campaign_id"]


async def test_a_stream_in_with_one_answer_is_checked_message_by_message() -> None:
    async def count(requests: Any, _context: Any) -> donation.RecordDonationResponse:
        async for _ in requests:
            pass
        return donation.RecordDonationResponse()

    good = gift().SerializeToString()
    assert await Summing(count).call(good, good) == b""
    assert (await refusal_of(Summing(count).call(good, b"\xff"))).reason_name == "MALFORMED_REQUEST"


# Deadlines and disconnection


@pytest.mark.requirement("IDM-6")
async def test_past_the_deadline_a_change_runs_on_to_its_end(service: Pretend) -> None:
    gate, ended = asyncio.Event(), asyncio.Event()

    async def slow(_request: Any) -> Any:
        await gate.wait()
        ended.set()
        return donation.RecordDonationResponse()

    service.donations.record = slow
    assert (await refusal_of(service.record(timeout=0.05))).reason_name == "DEADLINE_EXCEEDED"
    gate.set()
    await ended.wait()


@pytest.mark.requirement("IDM-6")
async def test_when_its_caller_leaves_a_change_runs_on_to_its_end(service: Pretend) -> None:
    entered, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_request: Any) -> Any:
        entered.set()
        await gate.wait()
        ended.set()
        return donation.RecordDonationResponse()

    service.donations.record = slow
    call = asyncio.create_task(service.record())
    await entered.wait()
    call.cancel()
    await asyncio.wait({call})
    gate.set()
    await ended.wait()


async def test_when_its_caller_leaves_a_read_is_cancelled(service: Pretend) -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(_request: Any) -> Any:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    service.aggregates.get = slow
    call = asyncio.create_task(service.totals())
    await entered.wait()
    call.cancel()
    await asyncio.wait({call})
    await cancelled.wait()


async def test_when_its_watcher_leaves_a_stream_is_closed(service: Pretend) -> None:
    closed = asyncio.Event()

    async def endless(_request: Any) -> Any:
        try:
            yield aggregate.WatchTotalsResponse()
            await asyncio.Event().wait()
        finally:
            closed.set()

    service.aggregates.watch = endless
    call = service.watch()
    await call.read()
    call.cancel()
    await closed.wait()


@pytest.mark.requirement("SEC-6")
async def test_a_watcher_that_reads_nothing_holds_its_place_no_longer_than_it_stays() -> None:
    """Its stream stands at a message that cannot be sent."""
    closed = asyncio.Event()

    async def flood(_request: Any) -> Any:
        try:
            while True:
                yield aggregate.WatchTotalsResponse(totals={"campaign_id": "x" * 60_000})
        finally:
            closed.set()

    async with pretend(admission=1) as service:
        service.aggregates.watch = flood
        call = service.watch()
        await call.read()
        assert (await refusal_of(service.watch().read())).reason_name == "OVERLOADED"
        call.cancel()
        await closed.wait()
        service.aggregates.watch = service.aggregates._watched
        await until(lambda: reads(service))


async def reads(service: Pretend) -> bool:
    try:
        return bool(await service.watch().read() is not None)
    except grpc.aio.AioRpcError:
        return False


async def test_the_methods_own_deadline_bounds_a_caller_who_gives_none() -> None:
    """A stream's life is a deadline, too: past it the stream ends cleanly, and its watcher opens the next one."""

    async def count(requests: Any, _context: Any) -> donation.RecordDonationResponse:
        call = current_call()
        assert call is not None
        assert 0 < call.remaining_s() <= 5
        return donation.RecordDonationResponse()

    assert await Summing(count).call() == b""


# Admission


@pytest.mark.requirement("SEC-6")
async def test_above_the_bound_calls_are_refused_with_a_time_to_come_back() -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    async def slow(_request: Any) -> Any:
        entered.set()
        await gate.wait()
        return aggregate.GetTotalsResponse()

    async with pretend(admission=1) as service:
        service.aggregates.get = slow
        first = asyncio.create_task(service.totals())
        await entered.wait()
        refusal = await refusal_of(service.totals())
        assert (refusal.reason_name, refusal.retry_after_s) == ("OVERLOADED", 1)
        await service.record()  # another rate class has its own bound
        gate.set()
        await first
        await service.totals()


@pytest.mark.requirement("SEC-6")
async def test_a_change_holds_its_place_until_it_ends_also_without_its_caller() -> None:
    """Otherwise calls with short deadlines would start more work than the server admits."""
    gate, ended = asyncio.Event(), asyncio.Event()

    async def slow(_request: Any) -> Any:
        await gate.wait()
        ended.set()
        return donation.RecordDonationResponse()

    async with pretend(admission=1) as service:
        service.donations.record = slow
        assert (await refusal_of(service.record(timeout=0.2))).reason_name == "DEADLINE_EXCEEDED"
        assert (await refusal_of(service.record())).reason_name == "OVERLOADED"
        gate.set()
        await ended.wait()
        await service.record()


@pytest.mark.requirement("SEC-6")
async def test_a_refused_request_gives_its_place_back() -> None:
    async with pretend(admission=1) as service:
        for _ in range(3):
            assert (await refusal_of(service.record(gift(campaign_id="x")))).reason_name == "INVALID_ARGUMENT"
        await service.record()


@pytest.mark.requirement("SEC-6")
async def test_a_burst_of_three_thousand_calls_on_one_channel_loses_none() -> None:
    async with pretend(admission=10_000) as service:
        answers = await asyncio.gather(*(service.totals() for _ in range(3_000)))
    assert len(answers) == 3_000


# What a call carries


async def trailers_of(call: Any) -> dict[str, Any]:
    await call
    return dict(await call.trailing_metadata())


def recording(service: Pretend, **more: Any) -> Any:
    return donation_grpc.DonationServiceStub(service.channel).RecordDonation(gift(), **more)


@pytest.mark.requirement("OPS-4")
async def test_a_correlation_id_comes_back(service: Pretend) -> None:
    trailers = await trailers_of(recording(service, metadata=((CORRELATION_KEY, "order-4711"),)))
    assert trailers[CORRELATION_KEY] == "order-4711"
    failure = await caught(service.record(gift(campaign_id="x"), metadata=((CORRELATION_KEY, "order-4711"),)))
    assert dict(failure.trailing_metadata() or ())[CORRELATION_KEY] == "order-4711"


@pytest.mark.requirement("OPS-4", "SEC-6")
@pytest.mark.parametrize("given_id", ["", "short", "x" * 129, "with space!", "a" * 7])
async def test_a_correlation_id_of_a_wrong_form_is_replaced(service: Pretend, given_id: str) -> None:
    trailers = await trailers_of(recording(service, metadata=((CORRELATION_KEY, given_id),)))
    assert trailers[CORRELATION_KEY] != given_id
    assert len(trailers[CORRELATION_KEY]) == 32


@pytest.mark.requirement("OPS-4")
async def test_a_trace_is_continued_with_a_span_of_our_own(service: Pretend) -> None:
    seen: list[str] = []

    async def remember(_request: Any) -> Any:
        call = current_call()
        assert call is not None
        seen.append(call.traceparent)
        return donation.RecordDonationResponse()

    service.donations.record = remember
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await service.record(metadata=((TRACE_KEY, f"00-{trace}-{span}-01"),))
    await service.record(metadata=((TRACE_KEY, "nonsense"),))
    assert seen[0].startswith(f"00-{trace}-")
    assert span not in seen[0]
    assert trace not in seen[1]


@pytest.mark.requirement("IDM-1")
async def test_a_replay_is_marked_in_the_trailers(service: Pretend) -> None:
    async def replay(_request: Any) -> Any:
        call = current_call()
        assert call is not None
        call.mark_replayed()
        return donation.RecordDonationResponse()

    assert REPLAYED_TRAILER not in await trailers_of(recording(service))
    service.donations.record = replay
    assert (await trailers_of(recording(service)))[REPLAYED_TRAILER] == "true"


async def test_calls_at_once_do_not_see_each_other(service: Pretend) -> None:
    async def own(request: donation.RecordDonationRequest) -> Any:
        await asyncio.sleep(0)
        call = current_call()
        assert call is not None
        assert call.correlation_id == f"call-{request.payment_ref}"
        return donation.RecordDonationResponse()

    service.donations.record = own
    await asyncio.gather(
        *(service.record(gift(payment_ref=f"{n:04}"), metadata=((CORRELATION_KEY, f"call-{n:04}"),)) for n in range(50))
    )
