"""Where is this money, and why: one call over every service and Stripe's sandbox, by whatever id somebody holds."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from giving.donation.v1.donation_operations_service_pb2 import TraceDonationRequest, TraceDonationResponse
from giving.donation.v1.donation_operations_service_pb2_grpc import DonationOperationsServiceStub
from giving.donation.v1.donation_service_pb2 import RefundDonationRequest

from tests.support.giving import Cause, gift, reversal
from tests.support.mesh import Mesh, fresh_key
from tests.support.till import confirm
from tests.support.waiting import until

pytestmark = pytest.mark.requirement("OPS-3")
DECLINED = "insufficient_funds (the account does not hold the amount)"


@pytest.fixture
async def operations(mesh: Mesh) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.donation_port}") as channel:
        yield DonationOperationsServiceStub(channel)


async def trace(operations: Any, reference: str) -> TraceDonationResponse:
    return await operations.TraceDonation(TraceDonationRequest(reference=reference))


def said(answer: TraceDonationResponse) -> list[str]:
    return [f"{step.service}: {step.what}" for step in answer.steps]


async def told(operations: Any, reference: str, *words: str) -> TraceDonationResponse:
    """The trace, once its `why` has all these words."""
    return await until(lambda: trace(operations, reference), holds=lambda found: all(each in found.why for each in words))


async def test_a_gift_is_traced_from_its_promise_to_its_dispute_by_any_id(mesh: Mesh, cause: Cause, operations: Any) -> None:
    call = f"call-{uuid.uuid4()}"
    headers = {"Idempotency-Key": str(uuid.uuid4()), "x-request-id": call}
    body = {"campaign_id": cause.campaign_id, "amount": {"minor_units": "2500", "currency": "USD"}}
    async with mesh.rest.post("/v1/donations", json=body, headers=headers) as response:
        assert response.headers["x-request-id"] == call
        promised = await response.json()
    donation_id, secret = promised["donation"]["donation_id"], promised["client_secret"]
    intent = secret.partition("_secret_")[0]
    waiting = await told(operations, donation_id, "the provider waits for the donor to confirm it")
    assert waiting.HasField("next_time")

    await confirm(mesh.sandbox, secret, "pm_card_chargeDeclinedInsufficientFunds")
    declined = f"It counts only if another charge succeeds: the last charge was declined with {DECLINED}"
    assert (await told(operations, intent, declined)).donation.retryable
    await confirm(mesh.sandbox, secret)
    await told(operations, donation_id, "It counts for 25.00 USD: 25.00 USD was taken")
    refund = RefundDonationRequest(request_id=fresh_key(), donation_id=donation_id, reason="asked for it")
    refund.amount.minor_units, refund.amount.currency = 500, "USD"
    await mesh.donations.RefundDonation(refund)
    await mesh.sandbox.ask("POST", "refunds", payment_intent=intent, amount=300)
    await told(operations, donation_id, "It counts for 17.00 USD: 8.00 USD of 25.00 USD went back to the donor")
    dispute = await mesh.sandbox.dispute(payment_intent=intent, amount=700)
    disputed = (
        "It counts for 10.00 USD: the donor's bank holds 7.00 USD of 25.00 USD (fraudulent); 8.00 USD went back before"
    )
    answer = await told(operations, call, disputed)

    # Of a charge and its intent the provider speaks at once; either may be heard of first.
    assert "payment: a charge that the donor's browser caused succeeded" in said(answer)
    steps = iter(said(answer))
    expected = (
        "donation: promised, before its payment was asked for",
        "payment: recorded, before the provider was asked",
        "payment: begun: our call that makes the intent",
        "donation: the donation became AWAITING_PAYMENT",
        f"payment: a charge that the donor's browser caused was declined: {DECLINED}",
        "donation: the donation became FAILED",
        "payment: posted to the ledger: captured",
        "donation: the donation became SUCCEEDED",
        "donation: it began to count",
        "donation: RefundDonation was asked for",
        "payment: RefundPayment was asked for",
        "payment: begun: our refund",
        "payment: a refund that somebody made at the provider succeeded",
        "payment: the donor's bank disputes it",
        "donation: the donation became DISPUTED",
    )
    assert [each for each in expected if each not in steps] == [], said(answer)
    assert answer.next == "The donor's bank decides, and the provider tells its verdict by webhook."
    details = [dict(step.details) for step in answer.steps]
    ids = {each[name] for each in details for name in ("provider_id", "event_id", "payment_id") if name in each}
    assert {each.partition("_")[0] for each in ids if "_" in each} == {"ch", "re", "evt"}
    for reference in (*ids, dispute["id"], intent):
        assert (await trace(operations, reference)).donation.donation_id == donation_id, reference
    assert {each["correlation_id"] for each in details if each.get("actor") == "donation"} >= {call}


@pytest.mark.requirement("INT-3")
async def test_what_a_checkout_charged_is_traced_into_the_ledger(mesh: Mesh, cause: Cause, operations: Any) -> None:
    request = gift(cause.campaign_id, 250)
    await mesh.donations.RecordDonation(request)
    await told(operations, request.payment_ref, "it is posted to the ledger")
    await mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, request.payment_ref, 30))
    answer = await until(
        lambda: trace(operations, request.payment_ref),
        holds=lambda found: "payment: posted to the ledger: recorded_reversal" in said(found),
    )
    assert said(answer) == [
        "donation: recorded: a checkout had charged it",
        "donation: it began to count",
        "payment: posted to the ledger: recorded",
        "donation: the checkout took it back",
        "donation: the donation became PARTIALLY_REFUNDED",
        "payment: posted to the ledger: recorded_reversal",
    ]
    assert [step.details["amount"] for step in answer.steps if step.service == "payment"] == ["2.50 USD", "-0.30 USD"]
    why = "A checkout charged it, and it counts for 2.20 USD; 0.30 USD was taken back; it is posted to the ledger."
    assert (answer.why, answer.next) == (why, "Nothing: it has ended.")


async def test_nobody_knows_what_nobody_has_made(operations: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trace(operations, fresh_key("pi"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
