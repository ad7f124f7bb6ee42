"""Calls to other services: what they carry, how long they may take, what their failures become."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as aggregate
from giving.common.v1 import error_pb2
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_INTERNAL, ROLE_OPERATOR
from giving.donation.v1 import donation_service_pb2 as donation

from mesh.errors import (
    FORMS,
    STATUS_TRAILER,
    DeadlineExceeded,
    DependencyUnavailable,
    FieldViolation,
    Internal,
    NotImplementedYet,
    Refusal,
    RequestTooLarge,
    from_rpc_error,
)
from mesh.rpc.call import Call, current_call
from mesh.rpc.channel import DEADLINE_MARGIN_S, Caller, open_channel, own_call
from tests.support.pretend import CAMPAIGN, Pretend, gift, method, pretend

CHARITY, DONOR = "0190b4a2-0000-7000-8000-0000000000c1", "0190b4a2-0000-7000-8000-0000000000d1"


@pytest.fixture
async def service() -> AsyncIterator[Pretend]:
    async with pretend() as running:
        yield running


@pytest.fixture
async def caller(service: Pretend) -> AsyncIterator[Caller]:
    channel = open_channel(service.target)
    yield Caller(channel, peer="donation")
    await channel.close()


def call_of(*, seconds: float = 3) -> Call:
    identity = Identity(roles=[ROLE_INTERNAL, ROLE_OPERATOR], subject="gateway", charity_id=CHARITY, donor_id=DONOR)
    return own_call(subject="test", identity=identity, deadline=time.monotonic() + seconds)


def remember(service: Pretend) -> list[Call]:
    seen: list[Call] = []

    async def record(_request: Any) -> Any:
        call = current_call()
        assert call is not None
        seen.append(call)
        return donation.RecordDonationResponse()

    service.donations.record = record
    return seen


# What they carry


@pytest.mark.requirement("OPS-4")
async def test_identity_correlation_and_trace_pass_on(service: Pretend, caller: Caller) -> None:
    seen = remember(service)
    call = call_of()
    await caller.unary(method("RecordDonation"), gift(), call)
    [inner] = seen
    assert inner.identity == call.identity
    assert inner.correlation_id == call.correlation_id
    assert inner.traceparent.split("-")[1] == call.traceparent.split("-")[1]
    assert inner.traceparent.split("-")[2] != call.traceparent.split("-")[2]


async def test_the_deadline_is_what_is_left_less_a_margin(service: Pretend, caller: Caller) -> None:
    seen = remember(service)
    await caller.unary(method("RecordDonation"), gift(), call := call_of(seconds=2))
    assert seen[0].deadline <= call.deadline - DEADLINE_MARGIN_S / 2


async def test_the_deadline_is_never_more_than_the_methods_own(service: Pretend, caller: Caller) -> None:
    seen = remember(service)
    own = method("RecordDonation").deadline_s
    await caller.unary(method("RecordDonation"), gift(), call_of(seconds=own + 60))
    await caller.unary(method("RecordDonation"), gift())
    assert all(inner.remaining_s() <= own for inner in seen)


async def test_a_call_without_time_left_is_past_its_deadline_at_once(service: Pretend, caller: Caller) -> None:
    seen = remember(service)
    with pytest.raises(DeadlineExceeded):
        await caller.unary(method("RecordDonation"), gift(), call_of(seconds=0))
    assert not seen


@pytest.mark.requirement("IDM-1")
async def test_a_replay_further_in_marks_the_call(service: Pretend, caller: Caller) -> None:
    async def replay(_request: Any) -> Any:
        inner = current_call()
        assert inner is not None
        inner.mark_replayed()
        return donation.RecordDonationResponse()

    service.donations.record = replay
    await caller.unary(method("RecordDonation"), gift(), call := call_of())
    assert call.trailers == [("idempotent-replayed", "true")]


async def test_a_stream_carries_its_caller_too(service: Pretend, caller: Caller) -> None:
    seen: list[str] = []

    async def watch(_request: Any) -> Any:
        inner = current_call()
        assert inner is not None
        seen.append(inner.correlation_id)
        yield aggregate.WatchTotalsResponse()

    service.aggregates.watch = watch
    call = call_of()
    stream = caller.stream(method("WatchTotals"), aggregate.WatchTotalsRequest(campaign_id=CAMPAIGN), call)
    assert [message async for message in stream] == [aggregate.WatchTotalsResponse()]
    assert seen == [call.correlation_id]


# What failures become


REASONS = sorted(FORMS)


class Anything(Refusal):
    """A refusal with any reason."""

    def __init__(self, number: int) -> None:
        form = FORMS[number]
        super().__init__(
            f"refused for {number}: ünïcode",
            fields=[FieldViolation("a.b[0]", "must be c")],
            retry_after_s=1.25,
            **{key: f"value of {key}" for key in form.metadata},
        )
        self.reason = number  # type: ignore[misc,assignment] # one class for every reason


@pytest.mark.parametrize("number", REASONS, ids=error_pb2.ErrorReason.Name)
async def test_every_reason_crosses_a_hop_unchanged(service: Pretend, caller: Caller, number: int) -> None:
    refusal = Anything(number)

    async def refuse(_request: Any) -> Any:
        raise refusal

    service.donations.record = refuse
    with pytest.raises(Refusal) as caught:
        await caller.unary(method("RecordDonation"), gift(), call_of())
    received = caught.value
    assert received.reason_number == number
    assert received.form == refusal.form
    assert (received.detail, received.metadata) == (refusal.detail, refusal.metadata)
    assert (received.fields, received.retry_after_s) == (refusal.fields, refusal.retry_after_s)


async def test_a_peer_that_is_not_there_is_an_unavailable_dependency() -> None:
    channel = open_channel("127.0.0.1:9")
    with pytest.raises(DependencyUnavailable) as caught:
        await Caller(channel, peer="donation").unary(method("RecordDonation"), gift())
    assert caught.value.metadata == {"dependency": "donation"}
    assert caught.value.retry_after_s
    await channel.close()


@pytest.mark.requirement("SEC-6")
async def test_a_request_that_the_peer_does_not_even_look_at_is_too_large(caller: Caller) -> None:
    with pytest.raises(RequestTooLarge) as caught:
        await caller.unary(method("RecordDonation"), gift(metadata={"k": "x" * 5_000_000}))
    assert caught.value.metadata == {"max_request_bytes": str(method("RecordDonation").max_request_bytes)}


def failed(code: grpc.StatusCode, *trailers: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details="of gRPC itself")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, DependencyUnavailable),
        (grpc.StatusCode.CANCELLED, DependencyUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, NotImplementedYet),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, RequestTooLarge),
        (grpc.StatusCode.UNKNOWN, Internal),
        (grpc.StatusCode.INTERNAL, Internal),
        (grpc.StatusCode.DATA_LOSS, Internal),
    ],
)
def test_a_status_of_grpc_itself_becomes_a_reason(code: grpc.StatusCode, expected: type[Refusal]) -> None:
    refusal = from_rpc_error(failed(code), dependency="peer")
    assert type(refusal) is expected
    assert set(refusal.metadata) == set(refusal.form.metadata)
    assert "gRPC itself" not in refusal.detail


def foreign(reason: str, domain: str = "giving", **metadata: str) -> bytes:
    from google.rpc import error_details_pb2, status_pb2  # noqa: PLC0415

    status = status_pb2.Status(code=3, message="m")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
    return bytes(status.SerializeToString())


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize(
    "raw",
    [b"\xff\xff", b"", foreign("INVALID_ARGUMENT", "elsewhere"), foreign("FROM_THE_FUTURE"), foreign("UNSPECIFIED")],
)
def test_details_that_are_not_ours_are_an_internal_error(raw: bytes) -> None:
    refusal = from_rpc_error(failed(grpc.StatusCode.INVALID_ARGUMENT, (STATUS_TRAILER, raw)), dependency="peer")
    assert (refusal.reason_name, refusal.detail) == ("INTERNAL", "internal error")
    assert refusal.form.http_status == 500


def test_metadata_of_a_peer_may_have_any_keys() -> None:
    raw = foreign("INVALID_ARGUMENT", fields="1", detail="2", retry_after_s="3", self="4")
    refusal = from_rpc_error(failed(grpc.StatusCode.INVALID_ARGUMENT, (STATUS_TRAILER, raw)), dependency="peer")
    assert refusal.metadata == {"fields": "1", "detail": "2", "retry_after_s": "3", "self": "4"}


# When they are repeated


@pytest.mark.parametrize(("retry_after_s", "asked"), [(None, 4), (0.5, 4), (30, 1)])
async def test_a_call_is_repeated_at_once_unless_its_answer_said_later(
    service: Pretend, caller: Caller, retry_after_s: float | None, asked: int
) -> None:
    seen: list[Any] = []

    async def record(request: Any) -> Any:
        seen.append(request)
        raise DependencyUnavailable("not now", retry_after_s=retry_after_s, dependency="stripe")

    service.donations.record = record
    with pytest.raises(Refusal) as caught:
        await caller.unary(method("RecordDonation"), gift(), call_of())
    assert caught.value.retry_after_s == retry_after_s
    assert len(seen) == asked
