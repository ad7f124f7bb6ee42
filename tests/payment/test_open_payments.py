"""What an operator sees of payments that did not end, and what he can do."""

from __future__ import annotations

import datetime
from typing import Any

import grpc
import pytest
from giving.common.v1.money_pb2 import Money
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1 import payment_pb2
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub
from giving.payment.v1.payment_service_pb2 import RefundPaymentRequest

from tests.support.books import reading
from tests.support.mesh import fresh_key
from tests.support.refused import refused
from tests.support.till import Till, abandoning, confirm, order
from tests.support.waiting import until

P = payment_pb2.Payment


@pytest.fixture
async def operations(till: Till) -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{till.port}") as channel:
        yield PaymentOperationsServiceStub(channel)


async def listed(operations: Any, payment_id: str, *, manual: bool = False) -> Any:
    """The payment's place in the list; None where it has none."""
    token = ""
    while True:
        page = await operations.ListOpenPayments(
            messages.ListOpenPaymentsRequest(age={}, manual=manual, page_size=100, page_token=token)
        )
        for item in page.items:
            if item.payment.payment_id == payment_id:
                return item
        token = page.next_page_token
        if not token:
            return None


async def queue_of(operations: Any, payment_id: str) -> list[tuple[datetime.datetime, str]]:
    """When the payment came into the manual queue, and when it left it, as its trace tells."""
    answer = await operations.TracePayment(messages.TracePaymentRequest(reference=payment_id))
    steps = [(step.time.ToDatetime(datetime.UTC), step.what.rpartition("; ")[2]) for step in answer.steps]
    return [(time, what) for time, what in steps if "operator has to look" in what]


def asking(payment_id: str, **more: Any) -> messages.AskProviderRequest:
    return messages.AskProviderRequest(**{"request_id": fresh_key(), "payment_id": payment_id, "reason": "a look"} | more)


@pytest.mark.requirement("INT-7", "PAY-11")
async def test_an_open_payment_says_what_it_waits_for_and_an_ended_one_is_not_listed(till: Till, operations: Any) -> None:
    created = await till.create(order())
    payment_id = created.payment.payment_id
    assert "donor" in (await listed(operations, payment_id)).reason
    assert await listed(operations, payment_id, manual=True) is None
    await confirm(till.sandbox, created.client_secret)
    await till.reaches(payment_id, P.STATE_SUCCEEDED)
    assert await listed(operations, payment_id) is None


@pytest.mark.requirement("PAY-11", "REC-1", "OPS-3")
async def test_what_stays_unproven_waits_for_an_operator_and_ends_when_he_asks(till: Till, operations: Any) -> None:
    created = await till.create(order())
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    await till.sandbox.webhook_fault("withhold", types=["refund.created", "charge.refunded"], times=50)
    await till.sandbox.fault("answer_lost", call="refunds.create", times=None)
    await till.sandbox.fault("error_429", call="refunds.list", times=None)
    amount = Money(minor_units=1000, currency="USD")
    await till.payments.RefundPayment(
        RefundPaymentRequest(request_id=fresh_key(), payment_id=paid.payment_id, amount=amount)
    )
    till.clock.advance(datetime.timedelta(hours=25))
    item = await until(lambda: listed(operations, paid.payment_id, manual=True))
    assert item.reason == "refund: unproven for a day"
    left = await queue_of(operations, paid.payment_id)
    assert [what for _, what in left] == ["an operator has to look: refund: unproven for a day"]
    assert left[0][0] >= till.clock.now() - datetime.timedelta(hours=1)
    # Nothing happens without his word, and nothing by a rehearsal.
    await operations.AskProvider(asking(paid.payment_id, dry_run=True))
    assert (await till.payment(paid.payment_id)).refunded.minor_units == 0

    await till.sandbox.ask("DELETE", "faults")
    request = asking(paid.payment_id)
    answer = (await operations.AskProvider(request)).payment

    assert (answer.refunded.minor_units, answer.refunding.minor_units, answer.manual_reason) == (1000, 0, "")
    assert (await operations.AskProvider(request)).payment.refunded.minor_units == 1000
    assert [what for _, what in await queue_of(operations, paid.payment_id)][1:] == ["no operator has to look any more"]
    assert await listed(operations, paid.payment_id, manual=True) is None
    assert (await till.sandbox.book())[paid.provider_id]["refunded"] == 1000


@pytest.mark.requirement("PAY-11")
async def test_an_intent_that_cannot_be_called_off_waits_for_an_operator_and_is_asked_about_more_and_more_rarely(
    till: Till, operations: Any
) -> None:
    created = await till.create(request := order())
    payment_id = created.payment.payment_id
    # As if the key were of another account now.
    await changed(till, payment_id, f"provider_id = 'pi_of_nobody_{request.donation_id.replace('-', '')}'")
    assert await refused(till.payments.AbandonPayment(abandoning(request))) == "DEPENDENCY_UNAVAILABLE"
    item = await until(lambda: listed(operations, payment_id, manual=True))
    assert item.reason == "cancel_intent: refused 1 times: resource_missing"
    for wait_s in (30, 120, 600):
        wait = datetime.timedelta(seconds=wait_s)
        await until(lambda: waiting_s(till, payment_id), holds=lambda found, wait_s=wait_s: found == wait_s)
        till.clock.advance(wait)


@pytest.mark.requirement("PAY-11")
async def test_what_contradicts_our_books_waits_for_an_operator(till: Till, operations: Any) -> None:
    created = await till.create(order())
    payment_id = created.payment.payment_id
    await changed(till, payment_id, "amount = amount + 1")
    await operations.AskProvider(asking(payment_id))
    item = await until(lambda: listed(operations, payment_id, manual=True))
    words = "the provider contradicts our books: the intent's amount or currency is not the payment's"
    assert item.reason == words
    await changed(till, payment_id, "amount = amount - 1")
    # A look that was not answered proves nothing either.
    await till.sandbox.fault("error_500", call="payment_intents.retrieve", times=1)
    assert (await operations.AskProvider(asking(payment_id))).payment.manual_reason == words
    # A webhook is no look at it: what it does not speak of may still be so.
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(payment_id, P.STATE_SUCCEEDED)
    assert paid.manual_reason == words
    assert (await operations.AskProvider(asking(payment_id))).payment.manual_reason == ""
    assert await listed(operations, payment_id, manual=True) is None


@pytest.mark.requirement("PAY-11", "PAY-8")
async def test_what_an_operator_demands_during_a_pause_is_asked_after_it(till: Till, operations: Any) -> None:
    created = await till.create(order())
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    await till.sandbox.webhook_fault("withhold", times=None)
    await till.sandbox.ask("POST", "refunds", payment_intent=paid.provider_id, amount=700)
    await till.set_breaker(messages.Breaker.STATE_OPEN)
    try:
        asked = (await operations.AskProvider(asking(paid.payment_id))).payment
    finally:
        await till.set_breaker(messages.Breaker.STATE_CLOSED)
    assert asked.refunded.minor_units == 0
    await until(lambda: till.payment(paid.payment_id), holds=lambda found: found.refunded.minor_units == 700)
    await until(lambda: listed(operations, paid.payment_id), holds=lambda found: found is None)


@pytest.mark.requirement("INT-7", "HKI-5")
async def test_a_silence_that_could_not_be_looked_into_is_looked_into_again_soon(till: Till) -> None:
    created = await till.create(order())
    await till.sandbox.webhook_fault("withhold", times=None)
    await confirm(till.sandbox, created.client_secret)
    await till.sandbox.fault("error_500", call="payment_intents.retrieve", times=1)
    payment_id = created.payment.payment_id
    till.clock.advance(datetime.timedelta(minutes=1))
    await until(lambda: waiting_s(till, payment_id), holds=lambda found: 0 < found <= 30)
    till.clock.advance(datetime.timedelta(seconds=30))
    await till.reaches(payment_id, P.STATE_SUCCEEDED)


@pytest.mark.requirement("PAY-11")
async def test_a_refused_refund_is_made_again_at_its_time_however_often_its_caller_repeats(till: Till) -> None:
    created = await till.create(order())
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    await till.sandbox.fault("error_429", call="refunds.create", times=None)
    request = RefundPaymentRequest(request_id=fresh_key(), payment_id=paid.payment_id)
    asked = await till.payments.RefundPayment(request)
    # As if it had been refused for a balance that does not cover it, and is made again in an hour.
    in_an_hour = (till.clock.now() + datetime.timedelta(hours=1)).isoformat()
    await till.postpone_everything()
    await changed(till, paid.payment_id, f"next_attempt_time = '{in_an_hour}'")
    await changed(till, paid.payment_id, "refusals = 4, code = 'balance_insufficient'", of="attempt WHERE kind = 5 AND")
    await till.sandbox.clear()
    before = len(await till.requests("/v1/refunds"))

    repeated = [await till.payments.RefundPayment(request) for _ in range(3)]

    assert {again.refund.outcome for again in repeated} == {payment_pb2.Attempt.OUTCOME_PENDING}
    assert len(await till.requests("/v1/refunds")) == before
    till.clock.advance(datetime.timedelta(hours=1))
    assert (await till.reaches(paid.payment_id, P.STATE_REFUNDED)).attempts[-1].attempt_id == asked.refund.attempt_id


async def changed(till: Till, payment_id: str, values: str, *, of: str = "payment WHERE") -> None:
    """Changes a row by hand; `of`: the table, and which of the payment's rows."""
    table, _, which = of.partition(" WHERE")
    column = "id" if table == "payment" else "payment_id"
    async with reading(till.schemas, "payment") as connection:
        await connection.execute(f"UPDATE {table} SET {values} WHERE {which} {column} = '{payment_id}'")


async def waiting_s(till: Till, payment_id: str) -> float:
    """In how many seconds the provider is asked about the payment."""
    due = (await till.payment(payment_id)).next_attempt_time.ToDatetime(tzinfo=datetime.UTC)
    return (due - till.clock.now()).total_seconds()


async def test_nobody_is_asked_about_an_unknown_payment_or_under_a_used_key(till: Till, operations: Any) -> None:
    created = await till.create(order())
    request = asking(created.payment.payment_id)
    await operations.AskProvider(request)
    request.reason = "another"
    assert await refused(operations.AskProvider(request)) == "IDEMPOTENCY_KEY_REUSED"
    assert await refused(operations.AskProvider(asking(order().donation_id))) == "PAYMENT_NOT_FOUND"
