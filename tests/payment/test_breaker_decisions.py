"""Operators and the circuit breaker: one decision for every replica, rehearsed, on record, and stronger than a restart."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from giving.payment.v1.payment_operations_service_pb2 import Breaker, SetBreakerRequest

from cli.servers.nats import nats
from tests.payment.test_breaker import fail, taken
from tests.support.books import reading
from tests.support.folders import reachable_folder
from tests.support.mesh import fresh_key
from tests.support.refusals import is_replay, refusal_of
from tests.support.till import Till, order, running_till
from tests.support.waiting import until

pytestmark = pytest.mark.requirement("PAY-8")
CLOSED, OPEN = Breaker.STATE_CLOSED, Breaker.STATE_OPEN


@pytest.fixture(autouse=True)
async def _nothing_of_other_tests_is_due(till: Till) -> None:
    await till.postpone_everything()


@asynccontextmanager
async def replica(till: Till) -> AsyncIterator[Till]:
    """Another payment service over the same database."""
    with reachable_folder() as folder:
        async with (
            nats(folder) as broker,
            running_till(till.schemas, nats_url=broker.url, sandbox=till.sandbox, clock=till.clock) as other,
        ):
            yield other


async def test_what_an_operator_holds_open_is_open_in_every_replica_also_after_a_restart(till: Till) -> None:
    async with replica(till) as other:
        held = await till.set_breaker(OPEN, reason="Stripe asked us to wait")
        assert (held.state, held.held, held.reason, held.actor) == (OPEN, True, "Stripe asked us to wait", "development")
        assert not held.HasField("next_probe_time")
        await until(lambda: taken(other), holds=lambda answer: answer is None)
        refusal = await refusal_of(other.create(order()))
        assert (refusal.reason_name, refusal.retry_after_s) == ("PROVIDER_UNAVAILABLE", 30.0)
    asked = len(await till.sandbox.requests())
    # Whatever the clock says: nobody probes.
    till.clock.advance(datetime.timedelta(hours=1))
    async with replica(till) as restarted:
        assert (await refusal_of(restarted.create(order()))).reason_name == "PROVIDER_UNAVAILABLE"
        assert (await restarted.breaker()) == held
        assert len(await till.sandbox.requests()) == asked
        await till.set_breaker(CLOSED)
        assert (await until(lambda: taken(restarted))).client_secret


async def test_an_operator_closes_what_opened_by_itself_in_every_replica(till: Till) -> None:
    async with replica(till) as other:
        await fail(other)
        assert ((await till.breaker()).state, (await other.breaker()).state) == (CLOSED, OPEN)
        assert await taken(other) is None
        await till.set_breaker(CLOSED)
        assert (await until(lambda: taken(other))).client_secret


async def decisions(till: Till) -> list[tuple[Any, ...]]:
    """What is written down of operators' decisions, and of the one that holds."""
    async with reading(till.schemas, "payment") as connection:
        commands = await connection.fetch("SELECT subject, reason, actor FROM command WHERE method = 'SetBreaker'")
        return [tuple(row) for row in (*commands, await connection.fetchrow("SELECT * FROM breaker"))]


@pytest.mark.requirement("OPS-5")
async def test_an_operator_may_rehearse_and_nothing_is_written(till: Till) -> None:
    before = await decisions(till)
    rehearsed = await till.set_breaker(OPEN, reason="a drill", dry_run=True)
    assert (rehearsed.state, rehearsed.held, rehearsed.reason) == (OPEN, True, "a drill")
    assert ((await till.breaker()).state, await decisions(till)) == (CLOSED, before)
    await fail(till)
    assert (await till.set_breaker(CLOSED, dry_run=True)).state == CLOSED
    assert ((await till.breaker()).state, await decisions(till)) == (OPEN, before)


@pytest.mark.requirement("IDM-1", "IDM-2", "OPS-5")
async def test_a_decision_is_on_record_and_its_repeat_decides_nothing(till: Till) -> None:
    request = SetBreakerRequest(request_id=fresh_key(), state=OPEN, reason="an outage")
    held = (await till.operations.SetBreaker(request)).breaker
    assert ("breaker", "an outage", "development") in await decisions(till)
    closed = await till.set_breaker(CLOSED)
    written = await decisions(till)
    # It says how the breaker stands now, not how it stood then.
    assert (await till.operations.SetBreaker(request)).breaker == closed != held
    assert await is_replay(till.operations.SetBreaker(request))
    for other in ({"reason": "another"}, {"state": CLOSED}, {"dry_run": True}):
        changed = SetBreakerRequest(request_id=request.request_id, state=OPEN, reason="an outage")
        changed.MergeFrom(SetBreakerRequest(**other))
        assert (await refusal_of(till.operations.SetBreaker(changed))).reason_name == "IDEMPOTENCY_KEY_REUSED"
    assert await decisions(till) == written
