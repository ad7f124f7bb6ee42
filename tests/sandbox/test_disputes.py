"""Disputes, from the card that brings one to the bank's verdict."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.payments import pay
from tests.support.sandbox import Sandbox


async def dispute_of(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> stripe.Dispute:
    (dispute,) = (await client.v1.disputes.list_async({"payment_intent": intent.id})).data
    return dispute


@pytest.mark.parametrize(
    ("method", "reason", "status"),
    [
        ("pm_card_createDispute", "fraudulent", "needs_response"),
        ("pm_card_createDisputeProductNotReceived", "product_not_received", "needs_response"),
        ("pm_card_createDisputeInquiry", "fraudulent", "warning_needs_response"),
    ],
)
async def test_a_card_brings_a_dispute(sandbox: Sandbox, client: stripe.StripeClient, method: str, reason: str, status: str):
    intent = await pay(client, method)
    await sandbox.advance(seconds=2)
    dispute = await dispute_of(client, intent)
    charge = await client.v1.charges.retrieve_async(dispute.charge)
    assert (dispute.reason, dispute.status, dispute.amount, charge.disputed) == (reason, status, 2500, True)
    withdrawn = [(entry.amount, entry.fee, entry.net) for entry in dispute.balance_transactions]
    assert withdrawn == ([] if status.startswith("warning") else [(-2500, 1500, -4000)])


@pytest.mark.parametrize(
    ("evidence", "status", "moved"),
    [("winning_evidence", "won", [-2500, 2500]), ("losing_evidence", "lost", [-2500])],
)
async def test_evidence_decides(sandbox: Sandbox, client: stripe.StripeClient, evidence: str, status: str, moved: list[int]):
    intent = await pay(client)
    opened = await sandbox.dispute(payment_intent=intent.id)
    reviewed = await client.v1.disputes.update_async(opened["id"], {"evidence": {"uncategorized_text": evidence}})
    assert (reviewed.status, reviewed.evidence_details.submission_count) == ("under_review", 1)
    await sandbox.advance(seconds=3)
    closed = await client.v1.disputes.retrieve_async(opened["id"])
    assert (closed.status, [entry.amount for entry in closed.balance_transactions]) == (status, moved)
    kinds = set(await sandbox.hooks.kinds(about=opened["id"], count=len(moved) + 3))
    assert {"charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"} <= kinds
    assert ("charge.dispute.funds_reinstated" in kinds) == (status == "won")
    assert (await sandbox.book())[intent.id]["disputed"] == (0 if status == "won" else 2500)


@pytest.mark.requirement("PAY-6")
@pytest.mark.parametrize("inquiry", [True, False])
async def test_the_first_event_of_a_chargeback_shows_what_it_took_already(
    sandbox: Sandbox, client: stripe.StripeClient, inquiry: bool
):
    opened = await sandbox.dispute(payment_intent=(await pay(client)).id, inquiry=inquiry)
    await sandbox.hooks.kinds(about=opened["id"], count=1 if inquiry else 2)
    (event,) = sandbox.hooks.taken(about=opened["id"], kind="charge.dispute.created")
    taken = event["data"]["object"]["balance_transactions"]
    shown = [(entry["reporting_category"], entry["net"], entry["status"]) for entry in taken]
    assert shown == ([] if inquiry else [("dispute", -4000, "available")])
    assert len(sandbox.hooks.taken(about=opened["id"], kind="charge.dispute.funds_withdrawn")) == len(taken)


@pytest.mark.requirement("PAY-6")
async def test_an_inquiry_that_is_lost_became_a_chargeback_before(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client)
    opened = await sandbox.dispute(payment_intent=intent.id, inquiry=True)
    lost = await sandbox.ask("POST", f"disputes/{opened['id']}/lose")
    assert (lost["status"], [entry["net"] for entry in lost["balance_transactions"]]) == ("lost", [-4000])
    await sandbox.hooks.kinds(about=opened["id"], count=4)
    (update,) = sandbox.hooks.taken(about=opened["id"], kind="charge.dispute.updated")
    assert update["data"]["object"]["status"] == "needs_response"
    assert update["data"]["previous_attributes"]["status"] == "warning_needs_response"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"


@pytest.mark.requirement("PAY-6")
async def test_a_dispute_that_is_won_brings_back_what_it_took_and_not_its_fee(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client)
    opened = await sandbox.dispute(payment_intent=intent.id, amount=700)
    won = await sandbox.ask("POST", f"disputes/{opened['id']}/win")
    moved = [(entry["reporting_category"], entry["amount"], entry["fee"]) for entry in won["balance_transactions"]]
    assert moved == [("dispute", -700, 1500), ("dispute_reversal", 700, 0)]
    (told,) = (await sandbox.book())[intent.id]["disputes"]
    assert told == {"id": opened["id"], "amount": 700, "status": "won", "metadata": {}}


async def test_disputes_are_listed_by_charge_and_time(sandbox: Sandbox, client: stripe.StripeClient):
    opened = await sandbox.dispute(payment_intent=(await pay(client)).id)
    for bounds, found in (({"lte": opened["created"]}, [opened["id"]]), ({"gt": opened["created"]}, [])):
        page = await client.v1.disputes.list_async({"charge": opened["charge"], "created": bounds})
        assert [one.id for one in page.data] == found


async def test_a_merchant_may_give_in(client: stripe.StripeClient, sandbox: Sandbox):
    opened = await sandbox.dispute(payment_intent=(await pay(client)).id)
    assert (await client.v1.disputes.close_async(opened["id"])).status == "lost"
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.disputes.close_async(opened["id"])


@pytest.mark.parametrize(("act", "status"), [("win", "won"), ("lose", "lost")])
async def test_a_bank_decides_on_demand_and_only_once(sandbox: Sandbox, client: stripe.StripeClient, act: str, status: str):
    opened = await sandbox.dispute(payment_intent=(await pay(client)).id, amount=700)
    for _ in range(2):
        assert (await sandbox.ask("POST", f"disputes/{opened['id']}/{act}"))["status"] == status
    closed = await client.v1.events.list_async({"type": "charge.dispute.closed"})
    assert [event.data.object.id for event in closed.data].count(opened["id"]) == 1


async def test_disputed_money_cannot_be_refunded_but_that_of_an_inquiry_can(sandbox: Sandbox, client: stripe.StripeClient):
    disputed, asked = await pay(client), await pay(client)
    await sandbox.dispute(payment_intent=disputed.id)
    await sandbox.dispute(payment_intent=asked.id, inquiry=True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.refunds.create_async({"payment_intent": disputed.id})
    assert refused.value.code == "charge_disputed"
    assert (await client.v1.refunds.create_async({"payment_intent": asked.id})).status == "succeeded"
