"""The circuit breaker around a Stripe that fails: what reaches it, what a caller hears, and how it closes again."""

from __future__ import annotations

import asyncio
import datetime
from functools import partial
from typing import Any

import grpc
import pytest
from giving.payment.v1 import payment_pb2, payment_service_pb2
from giving.payment.v1.payment_operations_service_pb2 import Breaker
from prometheus_client import REGISTRY

from mesh.errors import Refusal, from_rpc_error
from payment_svc.domain.breaker import PROBE_EVERY
from tests.support.books import reading
from tests.support.mesh import fresh_key
from tests.support.refusals import is_replay, refusal_of
from tests.support.till import Till, abandoning, confirm, order
from tests.support.waiting import until

pytestmark = pytest.mark.requirement("PAY-8")
P = payment_pb2.Payment
CREATE = "payment_intents.create"
CLOSED, OPEN, HALF_OPEN = Breaker.STATE_CLOSED, Breaker.STATE_OPEN, Breaker.STATE_HALF_OPEN


@pytest.fixture(autouse=True)
async def _nothing_of_other_tests_is_due(till: Till) -> None:
    await till.postpone_everything()


async def fail(till: Till, fault: str = "error_500", times: int = 5) -> list[payment_service_pb2.CreatePaymentRequest]:
    """So many payments are asked for at once, and the first try of each fails; their requests."""
    await till.sandbox.fault(fault, call=CREATE, times=times)
    requests = [order() for _ in range(times)]
    await asyncio.gather(*map(till.create, requests))
    return requests


async def turns(till: Till, state: int) -> Breaker:
    return await until(till.breaker, holds=lambda found: found.state == state)


async def taken(till: Till, request: payment_service_pb2.CreatePaymentRequest | None = None) -> Any:
    """The answer about a payment; None while calls are paused and it is refused."""
    try:
        return await till.create(request or order())
    except grpc.aio.AioRpcError as error:
        if from_rpc_error(error, dependency="payment").reason_name != "PROVIDER_UNAVAILABLE":
            raise
        return None


async def rows(till: Till) -> list[int]:
    async with reading(till.schemas, "payment") as connection:
        return [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ("payment", "attempt", "event")]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


async def test_it_opens_at_the_fifth_failure_and_not_before(till: Till) -> None:
    await fail(till, times=4)
    assert ((await till.breaker()).state, (await till.breaker()).failures) == (CLOSED, 4)
    await fail(till, times=1)
    opened = await till.breaker()
    assert (opened.state, opened.failures, opened.held) == (OPEN, 5, False)
    assert opened.next_probe_time.ToDatetime(datetime.UTC) == till.clock.now() + PROBE_EVERY


async def test_failures_are_forgotten_after_ten_seconds(till: Till) -> None:
    await fail(till, times=4)
    till.clock.advance(datetime.timedelta(seconds=10))
    await fail(till, times=4)
    assert ((await till.breaker()).state, (await till.breaker()).failures) == (CLOSED, 4)


@pytest.mark.parametrize("fault", ["refuse_connection", "answer_lost", "truncated"])
async def test_whatever_is_no_answer_counts(till: Till, fault: str) -> None:
    await fail(till, fault)
    assert (await till.breaker()).state == OPEN


async def test_what_stripe_refuses_and_that_it_sheds_our_load_counts_for_nothing(till: Till) -> None:
    await fail(till, "error_429", times=6)
    await asyncio.gather(*(till.create(order(10)) for _ in range(6)))
    made = await till.create(order())
    for _ in range(3):
        await confirm(till.sandbox, made.client_secret, "pm_card_chargeDeclined")
    await till.reaches(made.payment.payment_id, P.STATE_CANCELED)
    assert ((await till.breaker()).state, (await till.breaker()).failures) == (CLOSED, 0)


async def test_while_it_is_open_a_new_payment_is_refused_before_anything_is_recorded_or_sent(till: Till) -> None:
    await fail(till)
    held, asked = await rows(till), len(await till.sandbox.requests())
    refusals: list[Refusal] = [await refusal_of(till.create(order())) for _ in range(3)]
    assert {(refusal.reason_name, refusal.retry_after_s) for refusal in refusals} == {("PROVIDER_UNAVAILABLE", 5.0)}
    till.clock.advance(datetime.timedelta(seconds=3))
    assert (await refusal_of(till.create(order()))).retry_after_s == 2.0
    assert (await rows(till), len(await till.sandbox.requests())) == (held, asked)


async def test_the_same_request_is_taken_once_stripe_is_back_and_charged_once(till: Till) -> None:
    await fail(till)
    await refusal_of(till.create(request := order()))
    till.clock.advance(PROBE_EVERY)
    await until(lambda: taken(till, request))
    made = await until(lambda: till.create(request), holds=lambda answer: bool(answer.client_secret))
    await confirm(till.sandbox, made.client_secret)
    paid = await till.reaches(made.payment.payment_id, P.STATE_SUCCEEDED)
    book = [entry for entry in (await till.sandbox.book()).values() if entry["metadata"]["donation_id"] == paid.donation_id]
    assert [(entry["captured"], entry["successful_charges"]) for entry in book] == [(2500, 1)]


async def test_a_known_payment_is_answered_as_it_stands(till: Till) -> None:
    ready = await till.create(known := order())
    (unready, *_) = await fail(till)
    asked = len(await till.sandbox.requests())
    call = till.payments.CreatePayment(known)
    assert (await call) == ready
    assert await is_replay(till.payments.CreatePayment(known))
    again = await till.create(unready)
    assert (again.payment.state, again.client_secret) == (P.STATE_UNKNOWN, "")
    known.amount.minor_units += 1
    assert (await refusal_of(till.create(known))).reason_name == "IDEMPOTENCY_KEY_REUSED"
    assert len(await till.sandbox.requests()) == asked


async def test_a_payment_is_given_up_while_it_is_open_and_called_off_later(till: Till) -> None:
    await till.create(known := order())
    await fail(till)
    assert (await refusal_of(till.payments.AbandonPayment(abandoning(known)))).reason_name == "DEPENDENCY_UNAVAILABLE"
    unknown = order()
    tombstone = (await till.payments.AbandonPayment(abandoning(unknown))).payment
    assert tombstone.state == P.STATE_CANCELED
    assert (await refusal_of(till.create(unknown))).reason_name == "PAYMENT_ABANDONED"
    till.clock.advance(datetime.timedelta(seconds=35))
    await turns(till, CLOSED)
    payment_id = (await till.create(known)).payment.payment_id
    await till.reaches(payment_id, P.STATE_CANCELED)


@pytest.mark.requirement("PAY-5")
async def test_a_refund_is_recorded_while_it_is_open_and_given_back_later(till: Till) -> None:
    made = await till.create(order())
    await confirm(till.sandbox, made.client_secret)
    paid = await till.reaches(made.payment.payment_id, P.STATE_SUCCEEDED)
    await fail(till)
    request = payment_service_pb2.RefundPaymentRequest(request_id=fresh_key(), payment_id=paid.payment_id)
    refund = (await till.payments.RefundPayment(request)).refund
    assert refund.outcome == payment_pb2.Attempt.OUTCOME_PENDING
    # It was not even tried: what is counted as a call may have reached the provider, and is looked up one day.
    async with reading(till.schemas, "payment") as books:
        counted = "SELECT calls FROM attempt WHERE id = $1::text::uuid"
        assert await books.fetchval(counted, refund.attempt_id) == 0
    assert (await till.sandbox.book())[paid.provider_id]["refunded"] == 0
    till.clock.advance(PROBE_EVERY)
    await till.reaches(paid.payment_id, P.STATE_REFUNDED)
    assert (await till.sandbox.book())[paid.provider_id]["refunded"] == 2500
    assert (await till.breaker()).state == CLOSED


async def test_what_is_due_is_the_probe_and_goes_on_without_any_caller(till: Till) -> None:
    await till.sandbox.kill()
    requests = [order() for _ in range(5)]
    created = await asyncio.gather(*map(till.create, requests))
    assert ((await till.breaker()).state, {answer.payment.state for answer in created}) == (OPEN, {P.STATE_CREATED})
    await till.sandbox.start()
    till.clock.advance(PROBE_EVERY)
    await turns(till, CLOSED)
    for answer in created:
        await till.reaches(answer.payment.payment_id, P.STATE_REQUIRES_ACTION)
    book = [entry["metadata"]["donation_id"] for entry in (await till.sandbox.book()).values()]
    assert {book.count(request.donation_id) for request in requests} == {1}


async def test_one_probe_is_under_way_at_a_time_and_one_that_fails_opens_it_again(till: Till) -> None:
    await fail(till, "refuse_connection")
    # All five are due, and each would be asked about.
    till.clock.advance(datetime.timedelta(seconds=35))
    asked = len(await till.sandbox.requests())
    await till.sandbox.fault("hang")
    await turns(till, HALF_OPEN)
    refusal = await refusal_of(till.create(order()))
    assert (refusal.reason_name, refusal.retry_after_s) == ("PROVIDER_UNAVAILABLE", 1.0)
    opened = await turns(till, OPEN)
    assert len(await till.sandbox.requests()) == asked + 1
    assert opened.next_probe_time.ToDatetime(datetime.UTC) == till.clock.now() + PROBE_EVERY


async def test_where_nothing_is_due_a_donors_new_payment_is_the_probe(till: Till) -> None:
    await fail(till)
    await till.postpone_everything()
    till.clock.advance(PROBE_EVERY)
    made = await asyncio.gather(*(till.create(order()) for _ in range(20)), return_exceptions=True)
    assert (await turns(till, CLOSED)).failures == 0
    secrets = [answer.client_secret for answer in made if not isinstance(answer, BaseException)]
    # The first one was let in alone; those that came after its answer, too.
    assert secrets
    assert all(secrets)


async def test_an_answer_that_was_under_way_counts_for_its_payment_and_closes_nothing(till: Till) -> None:
    await till.sandbox.fault("slow", call=CREATE, seconds=1.2)
    request = order()
    slow = asyncio.create_task(till.create(request))

    async def arrived() -> bool:
        return request.donation_id in str(await till.requests("/v1/payment_intents"))

    await until(arrived)
    await fail(till)
    assert not slow.done()
    assert (await slow).client_secret
    assert (await till.breaker()).state == OPEN


async def test_calls_that_broke_off_are_found_afterwards_and_none_was_repeated(till: Till) -> None:
    requests = await fail(till, "hang")
    assert (await till.breaker()).state == OPEN
    till.clock.advance(datetime.timedelta(seconds=35))
    for request in requests:
        made = await until(partial(till.create, request), holds=lambda answer: bool(answer.client_secret))
        await confirm(till.sandbox, made.client_secret)
    book = [entry for entry in (await till.sandbox.book()).values() if entry["captured"]]
    donations = [entry["metadata"]["donation_id"] for entry in book]
    assert {donations.count(request.donation_id) for request in requests} == {1}


async def test_states_turns_and_failures_are_counted(till: Till) -> None:
    before = {word: sample("provider_breaker_transitions_total", state=word) for word in ("open", "held", "closed")}
    failures = sample("provider_failures_total")
    await fail(till)
    assert (sample("provider_breaker_state", state="open"), sample("provider_breaker_state", state="closed")) == (1, 0)
    await till.set_breaker(OPEN)
    assert (sample("provider_breaker_state", state="held"), sample("provider_breaker_state", state="open")) == (1, 0)
    await till.set_breaker(CLOSED)
    after = {word: sample("provider_breaker_transitions_total", state=word) for word in before}
    assert {word: after[word] - before[word] for word in before} == {"open": 1, "held": 1, "closed": 1}
    assert sample("provider_failures_total") == failures + 5
