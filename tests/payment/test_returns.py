"""Money that goes back, from us, from Stripe's dashboard, by banks: the books of both sides agree at every step."""

from __future__ import annotations

import asyncio
import datetime
import secrets
from collections import Counter
from typing import Any

import pytest
from giving.common.v1.money_pb2 import Money
from giving.payment.v1 import ledger_service_pb2, payment_pb2, payment_service_pb2

from tests.support.books import owed, reading
from tests.support.mesh import fresh_key
from tests.support.refused import refused
from tests.support.sandbox import closing
from tests.support.till import Till, confirm, order
from tests.support.waiting import until
from tests.support.webhooks import event_about, post, signed

P = payment_pb2.Payment
A = payment_pb2.Attempt
DAY_S = 86_400


async def paid(till: Till, minor_units: int = 10_000, method: str = "pm_card_visa", **more: Any) -> P:
    created = await till.create(order(minor_units, **more))
    await confirm(till.sandbox, created.client_secret, method)
    return await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)


def refunding(payment: P, minor_units: int | None = None, **more: Any) -> payment_service_pb2.RefundPaymentRequest:
    amount = None if minor_units is None else Money(minor_units=minor_units, currency=payment.amount.currency)
    fields = {"request_id": fresh_key(), "payment_id": payment.payment_id, "amount": amount, "reason": "a wish"}
    return payment_service_pb2.RefundPaymentRequest(**fields | more)


async def figures(till: Till, payment_id: str) -> tuple[int, int, int]:
    """Captured, refunded and disputed of the payment, after the ledger said the same."""
    payment = await till.payment(payment_id)
    posted = await postings(till, payment_id)
    if (await till.payment(payment_id)).version != payment.version:
        return await figures(till, payment_id)
    shown = (payment.captured.minor_units, payment.refunded.minor_units, payment.disputed.minor_units)
    assert posted == shown
    assert not (await till.ledger.VerifyLedger(ledger_service_pb2.VerifyLedgerRequest())).violations
    return shown


async def postings(till: Till, payment_id: str) -> tuple[int, int, int]:
    """The same figures, as what the provider holds for the payment was posted."""
    sums: Counter[str] = Counter()
    request = ledger_service_pb2.ListEntriesRequest(reference_id=payment_id)
    for entry in (await till.ledger.ListEntries(request)).entries:
        if entry.account == "provider_clearing":
            sums[entry.kind] += entry.amount.minor_units
    refunded, disputed = sums["refunded"] + sums["refund_returned"], sums["dispute_held"] + sums["dispute_returned"]
    return sums["captured"], -refunded, -disputed


async def come(till: Till, payment_id: str, *, captured: int, refunded: int = 0, disputed: int = 0) -> None:
    await until(lambda: figures(till, payment_id), holds=lambda found: found == (captured, refunded, disputed))


async def refunded_at_stripe(till: Till, payment: P) -> int:
    return int((await till.sandbox.book())[payment.provider_id]["refunded"])


@pytest.mark.requirement("PAY-5", "LED-2")
async def test_a_refund_goes_back_once_however_often_it_is_asked_for(till: Till) -> None:
    payment = await paid(till)
    request = refunding(payment, 4_000)

    first = await till.payments.RefundPayment(request)
    again = await till.payments.RefundPayment(request)

    assert first.refund.outcome == A.OUTCOME_SUCCEEDED
    assert (first.refund.amount.minor_units, first.refund.reason) == (4_000, "a wish")
    assert again.refund == first.refund
    assert again.payment.state == P.STATE_PARTIALLY_REFUNDED
    await come(till, payment.payment_id, captured=10_000, refunded=4_000)
    assert await refunded_at_stripe(till, payment) == 4_000
    request.amount.minor_units = 5_000
    assert await refused(till.payments.RefundPayment(request)) == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.requirement("PAY-5")
async def test_without_an_amount_all_that_is_left_goes_back(till: Till) -> None:
    payment = await paid(till)
    await till.payments.RefundPayment(refunding(payment, 4_000))
    rest = await till.payments.RefundPayment(refunding(payment))
    assert (rest.refund.amount.minor_units, rest.payment.state) == (6_000, P.STATE_REFUNDED)
    assert await refused(till.payments.RefundPayment(refunding(payment))) == "REFUND_EXCEEDS_REMAINING"


@pytest.mark.requirement("PAY-5", "IDM-7")
async def test_of_two_refunds_of_sixty_on_a_hundred_at_once_exactly_one_passes(till: Till) -> None:
    payment = await paid(till)
    both = await asyncio.gather(
        *(till.payments.RefundPayment(refunding(payment, 6_000)) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(answer, Exception) for answer in both) == 1
    await come(till, payment.payment_id, captured=10_000, refunded=6_000)
    assert await refunded_at_stripe(till, payment) == 6_000


@pytest.mark.requirement("PAY-5")
async def test_more_than_is_left_is_refused_with_what_is_left(till: Till) -> None:
    payment = await paid(till)
    request = refunding(payment, 10_001)
    refusal = await refused(till.payments.RefundPayment(request), whole=True)
    assert (refusal.reason_name, refusal.metadata["remaining_minor_units"]) == ("REFUND_EXCEEDS_REMAINING", "10000")
    # Nothing was written, so the key is still free for what can be done.
    request.amount.minor_units = 10_000
    assert (await till.payments.RefundPayment(request)).payment.state == P.STATE_REFUNDED


@pytest.mark.requirement("PAY-5")
async def test_what_somebody_refunds_in_stripes_dashboard_is_followed(till: Till) -> None:
    payment = await paid(till)
    await till.sandbox.ask("POST", "refunds", payment_intent=payment.provider_id, amount=2_500)
    await come(till, payment.payment_id, captured=10_000, refunded=2_500)
    found = (await till.payment(payment.payment_id)).attempts[-1]
    assert (found.kind, found.outcome, found.amount.minor_units) == (A.KIND_REFUND, A.OUTCOME_SUCCEEDED, 2_500)


@pytest.mark.requirement("PAY-5", "HKI-5")
async def test_a_refund_whose_own_webhooks_never_come_is_found_by_what_the_charge_says(till: Till) -> None:
    payment = await paid(till)
    await till.sandbox.webhook_fault(
        "withhold", types=["refund.created", "refund.updated", "charge.refund.updated"], times=20
    )
    await till.sandbox.ask("POST", "refunds", payment_intent=payment.provider_id, amount=2_500)
    await come(till, payment.payment_id, captured=10_000, refunded=2_500)


@pytest.mark.requirement("PAY-5", "LED-2")
async def test_a_refund_that_the_bank_sends_back_later_counts_no_more(till: Till) -> None:
    payment = await paid(till, method="pm_card_refundFail")
    await till.payments.RefundPayment(refunding(payment, 4_000))
    await come(till, payment.payment_id, captured=10_000, refunded=4_000)
    await till.sandbox.advance(seconds=10)
    await come(till, payment.payment_id, captured=10_000)
    found = await till.payment(payment.payment_id)
    assert (found.state, found.attempts[-1].outcome) == (P.STATE_SUCCEEDED, A.OUTCOME_REFUSED)
    assert found.attempts[-1].provider_code == "expired_or_canceled_card"
    # What came back can go back again.
    await till.payments.RefundPayment(refunding(payment))


@pytest.mark.requirement("PAY-3", "PAY-5")
@pytest.mark.parametrize("fault", ["answer_lost", "garbled", "truncated", "error_500_after"])
async def test_a_refund_whose_answer_was_lost_is_made_once(till: Till, fault: str) -> None:
    payment = await paid(till)
    await till.sandbox.fault(fault, call="refunds.create", times=3)
    await till.sandbox.webhook_fault("withhold", times=None)
    request = refunding(payment, 4_000)
    asked = await till.payments.RefundPayment(request)
    assert asked.refund.outcome == A.OUTCOME_UNKNOWN
    assert asked.payment.refunding.minor_units == 4_000
    assert asked.payment.refunded.minor_units == 0
    # Nothing is asked twice while it is unproven, and nothing more than is left.
    assert await refused(till.payments.RefundPayment(refunding(payment, 6_001))) == "REFUND_EXCEEDS_REMAINING"
    till.clock.advance(datetime.timedelta(minutes=11))
    await come(till, payment.payment_id, captured=10_000, refunded=4_000)
    assert await refunded_at_stripe(till, payment) == 4_000
    assert (await till.payments.RefundPayment(request)).refund.outcome == A.OUTCOME_SUCCEEDED


@pytest.mark.requirement("PAY-4")
async def test_a_refund_that_stripe_never_had_is_made_under_another_key_once_that_is_proven(till: Till) -> None:
    payment = await paid(till)
    await till.sandbox.fault("error_500", call="refunds.create", times=1)
    asked = await till.payments.RefundPayment(refunding(payment, 4_000))
    assert asked.refund.outcome == A.OUTCOME_UNKNOWN
    till.clock.advance(datetime.timedelta(minutes=11))
    await come(till, payment.payment_id, captured=10_000, refunded=4_000)
    keys = [request["key"] for request in await till.requests("/v1/refunds") if request["method"] == "POST"]
    ours = [key for key in keys if asked.refund.attempt_id in key]
    assert ours[-1] == f"giving-{asked.refund.attempt_id}-1"
    assert set(ours[:-1]) == {f"giving-{asked.refund.attempt_id}"}


@pytest.mark.requirement("PAY-4", "PAY-5")
async def test_nobody_else_asks_while_one_asking_takes_its_next_step(till: Till) -> None:
    payment = await paid(till)
    await till.sandbox.fault("error_500", call="refunds.create", times=1)
    asked = await till.payments.RefundPayment(refunding(payment, 4_000))
    await till.sandbox.webhook_fault("withhold", types=["refund.created", "charge.refunded"], times=20)
    await till.sandbox.fault("slow", call="refunds.create", times=1, seconds=1.5)
    till.clock.advance(datetime.timedelta(minutes=11))
    # The look-up is the first step, the call under its next key the second.
    await come(till, payment.payment_id, captured=10_000, refunded=4_000)
    async with reading(till.schemas, "payment") as books:
        counted = "SELECT calls FROM attempt WHERE id = $1::text::uuid"
        assert await books.fetchval(counted, asked.refund.attempt_id) == 2


@pytest.mark.requirement("PAY-11")
async def test_what_stripe_refuses_for_good_is_told_and_holds_nothing(till: Till) -> None:
    payment = await paid(till)
    await till.sandbox.dispute(payment_intent=payment.provider_id, amount=3_000)
    await come(till, payment.payment_id, captured=10_000, disputed=3_000)
    request = refunding(payment, 1_000)
    refusals = [await refused(till.payments.RefundPayment(request), whole=True) for _ in range(2)]
    assert {(refusal.reason_name, refusal.metadata["provider_code"]) for refusal in refusals} == {
        ("PROVIDER_REFUSED", "charge_disputed")
    }
    assert (await till.payment(payment.payment_id)).refunding.minor_units == 0


@pytest.mark.requirement("PAY-5")
async def test_a_payment_that_took_nothing_has_nothing_to_give_back(till: Till) -> None:
    created = await till.create(order())
    assert await refused(till.payments.RefundPayment(refunding(created.payment))) == "PAYMENT_STATE_CONFLICT"
    stranger = refunding(created.payment, payment_id=order().donation_id)
    assert await refused(till.payments.RefundPayment(stranger)) == "PAYMENT_NOT_FOUND"


@pytest.mark.requirement("PAY-6", "LED-2")
@pytest.mark.parametrize("won", [True, False])
async def test_a_dispute_is_followed_to_its_end(till: Till, won: bool) -> None:
    payment = await paid(till)
    opened = await till.sandbox.dispute(payment_intent=payment.provider_id)
    await come(till, payment.payment_id, captured=10_000, disputed=10_000)
    held = await till.payment(payment.payment_id)
    assert (held.state, held.disputes[0].held) == (P.STATE_DISPUTED, True)

    await till.sandbox.ask("POST", f"disputes/{opened['id']}/{'win' if won else 'lose'}")

    state = P.STATE_DISPUTE_WON if won else P.STATE_DISPUTE_LOST
    ended = await till.reaches(payment.payment_id, state)
    assert ended.disputes[0].state == (payment_pb2.Dispute.STATE_WON if won else payment_pb2.Dispute.STATE_LOST)
    await come(till, payment.payment_id, captured=10_000, disputed=0 if won else 10_000)
    async with reading(till.schemas, "payment") as books:
        campaign_id = await books.fetchval("SELECT campaign_id FROM payment WHERE id = $1::text::uuid", payment.payment_id)
    assert await owed(till.ledger, str(campaign_id)) == {"USD": 10_000 if won else 0}


@pytest.mark.requirement("PAY-6")
async def test_an_inquiry_holds_no_money_until_it_becomes_a_dispute(till: Till) -> None:
    payment = await paid(till)
    opened = await till.sandbox.dispute(payment_intent=payment.provider_id, inquiry=True)
    asked = await until(lambda: till.payment(payment.payment_id), holds=lambda found: bool(found.disputes))
    assert (asked.state, asked.disputes[0].held) == (P.STATE_SUCCEEDED, False)
    await till.sandbox.ask("POST", f"disputes/{opened['id']}/lose")
    await till.reaches(payment.payment_id, P.STATE_DISPUTE_LOST)
    await come(till, payment.payment_id, captured=10_000, disputed=10_000)


@pytest.mark.requirement("PAY-7")
@pytest.mark.parametrize("minor_units", [None, 6_000])
async def test_what_is_held_is_taken_all_or_in_part(till: Till, minor_units: int | None) -> None:
    held = await authorised(till)
    request = capturing(held, minor_units)
    taken = await till.payments.CapturePayment(request)
    again = await till.payments.CapturePayment(request)
    assert (taken.payment.state, taken.capture.outcome) == (P.STATE_SUCCEEDED, A.OUTCOME_SUCCEEDED)
    assert again.capture == taken.capture
    await come(till, held.payment_id, captured=minor_units or 10_000)
    assert (await till.sandbox.book())[held.provider_id]["captured"] == (minor_units or 10_000)
    assert await refused(till.payments.CapturePayment(capturing(held))) == "PAYMENT_STATE_CONFLICT"


@pytest.mark.requirement("PAY-6", "PAY-7")
async def test_what_a_capture_left_of_an_authorisation_is_no_refund_whatever_is_told_of_it(till: Till) -> None:
    held = await authorised(till)
    await till.payments.CapturePayment(capturing(held, 6_000))
    async with closing(till.sandbox.client()) as client:
        listed = await client.v1.refunds.list_async({"payment_intent": held.provider_id})
        (released,) = [shown.to_dict() async for shown in listed.auto_paging_iter()]
    # Such as when somebody notes something on it in the dashboard: nothing here says that it is no refund.
    for _ in range(2):
        body = event_about(released, f"evt_{secrets.token_hex(8)}", kind="refund.updated")
        assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
        await come(till, held.payment_id, captured=6_000, refunded=0)
    payment = await till.payment(held.payment_id)
    assert (payment.state, payment.manual_reason) == (P.STATE_SUCCEEDED, "")
    async with reading(till.schemas, "payment") as books:
        campaign_id = await books.fetchval("SELECT campaign_id FROM payment WHERE id = $1::text::uuid", payment.payment_id)
    assert await owed(till.ledger, str(campaign_id)) == {"USD": 6_000}


@pytest.mark.requirement("PAY-3", "PAY-7")
@pytest.mark.parametrize("fault", ["answer_lost", "error_500_after", "error_500"])
async def test_a_capture_whose_answer_was_lost_takes_once(till: Till, fault: str) -> None:
    held = await authorised(till)
    await till.sandbox.fault(fault, call="payment_intents.capture", times=3 if fault == "answer_lost" else 1)
    await till.sandbox.webhook_fault(
        "withhold", types=["payment_intent.succeeded", "charge.captured", "charge.updated"], times=20
    )
    asked = await till.payments.CapturePayment(capturing(held, 6_000))
    assert asked.capture.outcome == A.OUTCOME_UNKNOWN
    assert await refused(till.payments.CancelPayment(canceling(held))) == "PAYMENT_STATE_CONFLICT"
    till.clock.advance(datetime.timedelta(minutes=11))
    await come(till, held.payment_id, captured=6_000)


@pytest.mark.requirement("PAY-7")
async def test_what_is_held_is_let_go(till: Till) -> None:
    held = await authorised(till)
    request = canceling(held)
    canceled = await till.payments.CancelPayment(request)
    assert canceled.payment.state == P.STATE_CANCELED
    assert (await till.payments.CancelPayment(request)).payment.state == P.STATE_CANCELED
    assert await refused(till.payments.CapturePayment(capturing(held))) == "PAYMENT_STATE_CONFLICT"
    assert (await till.sandbox.book())[held.provider_id]["captured"] == 0


@pytest.mark.requirement("PAY-7")
async def test_what_is_being_called_off_is_not_taken(till: Till) -> None:
    held = await authorised(till)
    await till.sandbox.fault("error_429", call="payment_intents.cancel", times=None)
    await till.payments.CancelPayment(canceling(held))
    assert await refused(till.payments.CapturePayment(capturing(held))) == "PAYMENT_STATE_CONFLICT"
    await till.sandbox.clear()
    till.clock.advance(datetime.timedelta(seconds=5))
    await till.reaches(held.payment_id, P.STATE_CANCELED)


@pytest.mark.requirement("PAY-7")
async def test_what_is_held_ends_by_itself_when_the_authorisation_does(till: Till) -> None:
    held = await authorised(till)
    await till.sandbox.advance(seconds=8 * DAY_S)
    await till.reaches(held.payment_id, P.STATE_CANCELED)


async def test_more_than_is_held_or_another_currency_is_refused(till: Till) -> None:
    held = await authorised(till)
    assert await refused(till.payments.CapturePayment(capturing(held, 10_001))) == "INVALID_ARGUMENT"
    request = capturing(held, 100)
    request.amount.currency = "EUR"
    assert await refused(till.payments.CapturePayment(request)) == "INVALID_ARGUMENT"


async def authorised(till: Till) -> P:
    created = await till.create(order(10_000, manual_capture=True))
    await confirm(till.sandbox, created.client_secret)
    return await till.reaches(created.payment.payment_id, P.STATE_AUTHORIZED)


def capturing(payment: P, minor_units: int | None = None) -> payment_service_pb2.CapturePaymentRequest:
    amount = None if minor_units is None else Money(minor_units=minor_units, currency="USD")
    return payment_service_pb2.CapturePaymentRequest(request_id=fresh_key(), payment_id=payment.payment_id, amount=amount)


def canceling(payment: P) -> payment_service_pb2.CancelPaymentRequest:
    return payment_service_pb2.CancelPaymentRequest(request_id=fresh_key(), payment_id=payment.payment_id, reason="a wish")


@pytest.mark.requirement("IDM-4", "PAY-4")
@pytest.mark.parametrize("age", [datetime.timedelta(hours=25), datetime.timedelta(days=40)])
async def test_however_late_a_repeat_comes_stripe_is_asked_nothing(till: Till, age: datetime.timedelta) -> None:
    promise = order(10_000)
    created = await till.create(promise)
    await confirm(till.sandbox, created.client_secret)
    payment = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    request = refunding(payment, 4_000)
    first = await till.payments.RefundPayment(request)
    till.clock.advance(age)
    before = await till.calls_about(payment)

    again = await till.payments.RefundPayment(request)

    assert again.refund == first.refund
    assert (await till.create(promise)).payment.payment_id == payment.payment_id
    assert await till.calls_about(payment) == before


@pytest.mark.requirement("PAY-5", "IDM-3")
async def test_a_wish_that_comes_while_something_else_is_asked_does_not_wait_for_the_next_look(till: Till) -> None:
    payment = await paid(till)
    await till.sandbox.fault("slow", call="refunds.list", seconds=0.5)
    await till.sandbox.webhook_fault("withhold", types=["refund.created", "refund.updated"], times=20)
    # The charge speaks of a refund that is not known: the provider is being asked for all of them when the wish comes.
    await till.sandbox.ask("POST", "refunds", payment_intent=payment.provider_id, amount=1_000)
    await until(lambda: till.requests("/v1/refunds"), holds=lambda asked: payment.provider_id in str(asked))
    wished = await till.payments.RefundPayment(refunding(payment, 2_000))
    assert wished.refund.outcome == A.OUTCOME_SUCCEEDED
    assert wished.payment.refunded.minor_units == 3_000


@pytest.mark.requirement("IDM-3")
async def test_a_webhook_takes_the_payment_from_nobody_who_asks(till: Till) -> None:
    payment = await paid(till)
    await till.sandbox.fault("slow", call="refunds.create", seconds=0.5)
    wish = asyncio.ensure_future(till.payments.RefundPayment(refunding(payment, 2_000)))
    async with reading(till.schemas, "payment") as books:
        held = "SELECT leased_until IS NOT NULL FROM payment WHERE id = $1::text::uuid"
        await until(lambda: books.fetchval(held, payment.payment_id))
        await till.sandbox.dispute(payment_intent=payment.provider_id, inquiry=True)
        await until(lambda: till.payment(payment.payment_id), holds=lambda found: bool(found.disputes))
        assert await books.fetchval(held, payment.payment_id) or wish.done()
    await wish
