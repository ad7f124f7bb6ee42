"""Refunds: bounded, partial, sent back by banks, made elsewhere."""

from __future__ import annotations

import asyncio

import pytest
import stripe

from tests.sandbox.payments import create, pay
from tests.support.sandbox import Sandbox
from tests.support.waiting import until


async def refund(client: stripe.StripeClient, intent: stripe.PaymentIntent, **more: object) -> stripe.Refund:
    return await client.v1.refunds.create_async({"payment_intent": intent.id, **more})


async def charge_of(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> stripe.Charge:
    return await client.v1.charges.retrieve_async(intent.latest_charge, {"expand": ["refunds"]})


async def test_partial_refunds_add_up_to_the_whole_and_not_beyond(client: stripe.StripeClient):
    intent = await pay(client)
    first, second = await refund(client, intent, amount=1000), await refund(client, intent, amount=700)
    assert ((await charge_of(client, intent)).amount_refunded, (await charge_of(client, intent)).refunded) == (1700, False)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded") as refused:
        await refund(client, intent, amount=801)
    assert refused.value.param == "amount"
    rest = await refund(client, intent)
    charge = await charge_of(client, intent)
    assert (rest.amount, charge.amount_refunded, charge.refunded) == (800, 2500, True)
    assert [one.id for one in charge.refunds.data] == [rest.id, second.id, first.id]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refund(client, intent)
    assert refused.value.code == "charge_already_refunded"


async def test_refunds_at_the_same_time_never_exceed_what_was_captured(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client)
    answers = await asyncio.gather(*(refund(client, intent, amount=1500) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, stripe.Refund) for answer in answers) == 1
    assert (await sandbox.book())[intent.id]["refunded"] == 1500


async def test_what_a_refund_announces_tells_the_sum_and_the_step(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client)
    for _ in range(2):
        await refund(client, intent, amount=1000)

    async def events() -> list[dict]:
        return sandbox.hooks.taken(about=intent.id, kind="charge.refunded")

    found = await until(events, holds=lambda events: len(events) == 2)
    steps = {
        (event["data"]["previous_attributes"]["amount_refunded"], event["data"]["object"]["amount_refunded"])
        for event in found
    }
    assert steps == {(0, 1000), (1000, 2000)}
    assert len(sandbox.hooks.taken(about=intent.id, kind="refund.created")) == 2


async def test_a_refund_that_the_bank_sends_back_gives_the_money_back(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client, "pm_card_refundFail")
    made = await refund(client, intent)
    assert made.status == "succeeded"
    await sandbox.advance(seconds=6)
    failed = await client.v1.refunds.retrieve_async(made.id, {"expand": ["failure_balance_transaction"]})
    charge = await charge_of(client, intent)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert (failed.failure_balance_transaction.amount, charge.amount_refunded, charge.refunded) == (2500, 0, False)
    assert "refund.failed" in await sandbox.hooks.kinds(about=made.id, count=4)
    assert (await sandbox.book())[intent.id]["refunded"] == 0


@pytest.mark.requirement("PAY-5")
async def test_a_bank_sends_a_refund_back_when_it_is_told_to_and_only_once(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client)
    made = await refund(client, intent, amount=900)
    for _ in range(2):
        failed = await sandbox.ask("POST", f"refunds/{made.id}/fail", failure_reason="declined")
        assert (failed["status"], failed["failure_reason"]) == ("failed", "declined")
    kinds = await sandbox.hooks.kinds(about=made.id, count=4)
    assert sorted(kinds) == ["charge.refund.updated", "refund.created", "refund.failed", "refund.updated"]
    (update,) = sandbox.hooks.taken(about=made.id, kind="refund.updated")
    assert update["data"]["previous_attributes"] == {
        "status": "succeeded",
        "failure_reason": None,
        "failure_balance_transaction": None,
    }
    moved = (await client.v1.balance_transactions.list_async({"source": made.id})).data
    assert [(entry.type, entry.reporting_category, entry.net) for entry in moved] == [
        ("refund_failure", "refund_failure", 900),
        ("refund", "refund", -900),
    ]
    entry = (await sandbox.book())[intent.id]
    assert (entry["refunded"], [one["status"] for one in entry["refunds"]]) == (0, ["failed"])
    assert (await refund(client, intent)).amount == 2500


@pytest.mark.requirement("PAY-5")
async def test_a_pending_refund_that_a_bank_sends_back_does_not_succeed_afterwards(
    sandbox: Sandbox, client: stripe.StripeClient
):
    made = await refund(client, await pay(client, "pm_card_pendingRefund"))
    failed = await sandbox.ask("POST", f"refunds/{made.id}/fail")
    assert (failed["status"], failed.get("pending_reason")) == ("failed", None)
    await sandbox.advance(seconds=6)
    assert (await client.v1.refunds.retrieve_async(made.id)).status == "failed"


async def test_refunds_are_listed_by_time(client: stripe.StripeClient):
    intent = await pay(client)
    made = await refund(client, intent, amount=100)
    for bounds, found in (({"gte": made.created}, [made.id]), ({"gt": made.created}, []), ({"lt": made.created}, [])):
        page = await client.v1.refunds.list_async({"payment_intent": intent.id, "created": bounds})
        assert [one.id for one in page.data] == found


async def test_a_pending_refund_succeeds_later(sandbox: Sandbox, client: stripe.StripeClient):
    made = await refund(client, await pay(client, "pm_card_pendingRefund"))
    assert made.status == "pending"
    await sandbox.advance(seconds=6)
    assert (await client.v1.refunds.retrieve_async(made.id)).status == "succeeded"


async def test_a_refund_made_in_the_dashboard_is_announced_like_any_other(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client)
    made = await sandbox.ask("POST", "refunds", payment_intent=intent.id, amount=300)
    assert (await client.v1.refunds.retrieve_async(made["id"])).amount == 300
    (event,) = (await client.v1.events.list_async({"type": "refund.created", "limit": 1})).data
    assert (event.data.object.id, event.request.id, event.request.idempotency_key) == (made["id"], None, None)


async def test_what_was_never_captured_cannot_be_refunded(client: stripe.StripeClient):
    for intent in (await create(client), await pay(client, capture_method="manual")):
        with pytest.raises(stripe.InvalidRequestError, match="does not have a successful charge"):
            await refund(client, intent)


async def test_a_refunds_metadata_changes_and_it_cannot_be_canceled(client: stripe.StripeClient):
    made = await refund(client, await pay(client), metadata={"a": "1", "b": "2"}, reason="duplicate")
    changed = await client.v1.refunds.update_async(made.id, {"metadata": {"a": "", "c": "3"}})
    assert (changed.metadata.to_dict(), changed.reason) == ({"b": "2", "c": "3"}, "duplicate")
    with pytest.raises(stripe.InvalidRequestError, match="requires_action"):
        await client.v1.refunds.cancel_async(made.id)
