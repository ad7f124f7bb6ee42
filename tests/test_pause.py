"""A gift that meets a paused provider: refused over REST with a time to come back, then taken once under the same key."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from giving.payment.v1.payment_operations_service_pb2 import Breaker, SetBreakerRequest
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub

from tests.support.giving import Cause, open_cause
from tests.support.mesh import Mesh, fresh_key
from tests.support.till import confirm
from tests.support.waiting import until

pytestmark = pytest.mark.requirement("PAY-8")


@pytest.fixture
async def operations(mesh: Mesh) -> AsyncIterator[PaymentOperationsServiceStub]:
    """The operators' view of payments, which go through again after the test."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.payment_port}") as channel:
        stub = PaymentOperationsServiceStub(channel)
        yield stub
        await decide(stub, Breaker.STATE_CLOSED)


async def decide(operations: PaymentOperationsServiceStub, state: Breaker.State.ValueType) -> None:
    await operations.SetBreaker(SetBreakerRequest(request_id=fresh_key(), state=state, reason="a test"))


async def give(mesh: Mesh, cause: Cause, key: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of the answer."""
    body = {"campaign_id": cause.campaign_id, "amount": {"minor_units": "2500", "currency": "USD"}}
    async with mesh.rest.post("/v1/donations", json=body, headers={"Idempotency-Key": key}) as answer:
        return answer.status, await answer.json(content_type=None), dict(answer.headers)


@pytest.mark.requirement("WEB-2", "WEB-3", "IDM-1")
async def test_a_refused_gift_is_taken_under_the_same_key_once_the_pause_is_over(
    mesh: Mesh, cause: Cause, operations: PaymentOperationsServiceStub
) -> None:
    key = str(uuid.uuid4())
    await decide(operations, Breaker.STATE_OPEN)
    status, problem, headers = await give(mesh, cause, key)
    assert (status, problem["reason"], headers["Retry-After"]) == (503, "PROVIDER_UNAVAILABLE", "30")
    assert headers["Content-Type"] == "application/problem+json"

    await decide(operations, Breaker.STATE_CLOSED)
    status, made, headers = await give(mesh, cause, key)
    assert (status, headers["idempotent-replayed"]) == (200, "true")
    await confirm(mesh.sandbox, made["client_secret"])
    donation_id = made["donation"]["donation_id"]

    async def state() -> str:
        async with mesh.rest.get(f"/v1/donations/{donation_id}") as answer:
            return str((await answer.json())["donation"]["state"])

    await until(state, holds=lambda found: found == "STATE_SUCCEEDED")
    book = [entry for entry in (await mesh.sandbox.book()).values() if entry["metadata"]["donation_id"] == donation_id]
    assert [(entry["captured"], entry["successful_charges"]) for entry in book] == [(2500, 1)]


async def test_a_campaign_that_accepts_it_takes_the_promise_meanwhile_and_says_so_over_rest(
    mesh: Mesh, operations: PaymentOperationsServiceStub
) -> None:
    patient = await open_cause(mesh, accepts_deferred=True)
    async with mesh.rest.get(f"/v1/campaigns/{patient.campaign_id}") as answer:
        assert (await answer.json())["campaign"]["accepts_deferred"] is True
    key = str(uuid.uuid4())
    await decide(operations, Breaker.STATE_OPEN)
    status, promised, _ = await give(mesh, patient, key)
    assert (status, promised["donation"]["state"], promised["client_secret"]) == (200, "STATE_PENDING", "")
    await decide(operations, Breaker.STATE_CLOSED)
    _, ready, _ = await give(mesh, patient, key)
    assert (ready["donation"]["donation_id"], ready["client_secret"] != "") == (promised["donation"]["donation_id"], True)
