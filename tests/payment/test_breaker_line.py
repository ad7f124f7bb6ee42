"""The circuit breaker where it stands: before each request of the SDK, and before what is due is taken."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from mesh.clock import ManualClock
from mesh.ids import new_id, new_tenant_id
from payment_svc.domain.answers import NotReached, Seen, Unproven
from payment_svc.domain.breaker import FAILURES_MAX, PROBE_EVERY, BreakerState, TryOutcome
from payment_svc.provider import CircuitBreaker, Stripe, open_stripe
from payment_svc.reconciler import Reconciler
from tests.payment.test_provider import payment
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

pytestmark = pytest.mark.requirement("PAY-8")


class Claims:
    """Due payments, and how they were claimed."""

    def __init__(self, due: Sequence[UUID]) -> None:
        self.due = due
        self.limits: list[int] = []
        self.claimed: list[UUID] = []

    async def claim(self, payment_id: UUID, *, now: datetime.datetime, until: datetime.datetime) -> bool:
        self.claimed.append(payment_id)
        return False

    async def get(self, payment_id: UUID) -> None:
        return None

    async def claim_due(self, *, now: datetime.datetime, until: datetime.datetime, limit: int) -> list[UUID]:
        self.limits.append(limit)
        return list(self.due[:limit])


@dataclass(frozen=True)
class Books:
    payments: Claims
    clock: ManualClock


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.settle(breaker.permit(), TryOutcome.FAILED)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker(clock)


def taking(claims: Claims, breaker: CircuitBreaker, clock: ManualClock) -> Any:
    """What the reconciler does each time it looks."""
    return Reconciler(Books(claims, clock), provider=None, breaker=breaker, lease_s=10)._take_due


async def test_while_it_is_open_the_database_is_not_asked_for_what_is_due(breaker, clock) -> None:
    claims = Claims([new_id(tenant_id=new_tenant_id()) for _ in range(3)])
    take_due = taking(claims, breaker, clock)
    fail(breaker, FAILURES_MAX)
    assert (await take_due(), claims.limits) == ([], [])
    clock.advance(PROBE_EVERY)
    assert await take_due() == claims.due[:1]
    assert (await take_due(), claims.limits) == ([], [1])


async def test_where_nothing_is_due_the_place_of_the_probe_stays_free(breaker, clock) -> None:
    take_due = taking(claims := Claims([]), breaker, clock)
    fail(breaker, FAILURES_MAX)
    clock.advance(PROBE_EVERY)
    assert [await take_due() for _ in range(3)] == [[], [], []]
    assert (claims.limits, breaker.enter()) == ([1, 1, 1], True)


async def test_what_a_caller_asks_about_is_not_taken_while_it_is_open(breaker, clock) -> None:
    claims, payment_id = Claims([]), new_id(tenant_id=new_tenant_id())
    reconciler = Reconciler(Books(claims, clock), provider=None, breaker=breaker, lease_s=10)
    await reconciler.ask(payment_id, patience_s=60)
    assert claims.claimed == [payment_id]
    fail(breaker, FAILURES_MAX)
    await reconciler.ask(payment_id, patience_s=60)
    assert claims.claimed == [payment_id]


@pytest.fixture
async def line(sandbox: Sandbox, breaker: CircuitBreaker) -> AsyncIterator[Stripe]:
    async with open_stripe(api_key=sandbox.secret, api_base=sandbox.url, request_s=5, breaker=breaker) as provider:
        yield provider
    await sandbox.clear()


async def asked_for_an_intent(line: Stripe) -> Any:
    wanted = payment()
    return await line.create_intent(wanted, attempt_id=new_id(tenant_id=wanted.charity_id))


async def test_while_it_is_open_no_call_of_any_kind_reaches_the_provider(line, breaker, sandbox) -> None:
    fail(breaker, FAILURES_MAX)
    asked = len(await sandbox.requests())
    paused = NotReached(paused=True)
    assert await asked_for_an_intent(line) == paused
    assert await line.cancel_intent("pi_1", attempt_id=new_id(tenant_id=new_tenant_id())) == paused
    assert (await line.get_intent("pi_1"), await line.find_intent(payment())) == (paused, paused)
    assert len(await sandbox.requests()) == asked


async def test_the_tries_of_one_call_count_each_and_end_when_it_opens(line, breaker, sandbox) -> None:
    fail(breaker, FAILURES_MAX - 2)
    asked = len(await sandbox.requests())
    await sandbox.fault("refuse_connection", times=None)
    # Two were sent and cut: what became of them is not proven by the third, which was not.
    assert await asked_for_an_intent(line) == Unproven()
    assert (breaker.breaker.state, len(await sandbox.requests())) == (BreakerState.OPEN, asked + 2)


async def test_a_probe_that_is_answered_closes_it(line, breaker, clock) -> None:
    fail(breaker, FAILURES_MAX)
    clock.advance(PROBE_EVERY)
    assert isinstance(await asked_for_an_intent(line), Seen)
    assert breaker.closed


async def test_a_probe_that_is_broken_off_is_followed_by_another(line, breaker, clock, sandbox) -> None:
    fail(breaker, FAILURES_MAX)
    clock.advance(PROBE_EVERY)
    await broken_off(line, sandbox, times=1)
    assert breaker.breaker.state is BreakerState.OPEN
    clock.advance(PROBE_EVERY)
    assert isinstance(await asked_for_an_intent(line), Seen)


async def test_what_we_break_off_ourselves_is_no_failure(line, breaker, sandbox) -> None:
    await broken_off(line, sandbox, times=FAILURES_MAX)
    assert breaker.closed


async def broken_off(line: Stripe, sandbox: Sandbox, *, times: int) -> None:
    """So many calls reach a provider that does not answer, and are cancelled then."""
    asked = len(await sandbox.requests())
    await sandbox.fault("hang", times=times)
    calls = [asyncio.create_task(line.get_intent("pi_1")) for _ in range(times)]

    async def arrived() -> bool:
        return len(await sandbox.requests()) == asked + times

    await until(arrived)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
