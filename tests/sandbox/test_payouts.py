"""Payouts: what is available leaves for the bank, once, and comes back where the bank does not take it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import stripe

from tests.sandbox.payments import pay, pay_at_once
from tests.support.sandbox import Sandbox, closing, running_sandbox
from tests.support.waiting import until

pytestmark = pytest.mark.requirement("REC-2")
DAY_S = 86_400


async def contents(client: stripe.StripeClient, payout: dict, **more: object) -> list[stripe.BalanceTransaction]:
    return (await client.v1.balance_transactions.list_async({"payout": payout["id"], "limit": 100, **more})).data


async def announced(sandbox: Sandbox, payout: dict, *kinds: str) -> None:
    found = await sandbox.hooks.kinds(about=payout["id"], count=len(kinds))
    assert sorted(found) == sorted(kinds)


async def test_a_payout_is_all_that_is_available_and_knows_what_it_contains(sandbox: Sandbox, client: stripe.StripeClient):
    paid = [await pay_at_once(client, currency="nok", amount=amount) for amount in (5000, 7000)]
    later = await pay(client, currency="nok", amount=9000, capture_method="automatic", expand=["latest_charge"])
    await client.v1.refunds.create_async({"payment_intent": paid[0].id, "amount": 1000})
    payout = await sandbox.payout("nok")
    inside = await contents(client, payout)
    # 5000 and 7000 without 2.9 % and 2.00 each, and without what was given back.
    assert (payout["amount"], payout["automatic"], payout["reconciliation_status"]) == (10252, True, "completed")
    assert [entry.type for entry in inside] == ["payout", "refund", "charge", "charge"]
    assert (inside[0].id, inside[0].amount, inside[0].source) == (payout["balance_transaction"], -10252, payout["id"])
    assert sum(entry.net for entry in inside) == 0
    assert later.latest_charge.balance_transaction not in [entry.id for entry in inside]
    assert "insufficient" in await sandbox.refusal("payouts", currency="nok")


async def test_a_payout_arrives_after_a_day(sandbox: Sandbox, client: stripe.StripeClient):
    await pay_at_once(client, currency="dkk")
    payout = await sandbox.payout("dkk")
    assert (payout["status"], payout["arrival_date"]) == ("pending", payout["created"] + DAY_S)
    await announced(sandbox, payout, "payout.created", "payout.reconciliation_completed")
    await sandbox.advance(seconds=DAY_S)
    assert (await client.v1.payouts.retrieve_async(payout["id"])).status == "paid"
    await announced(sandbox, payout, "payout.created", "payout.reconciliation_completed", "payout.paid")


@pytest.mark.parametrize("paid", [True, False])
async def test_what_a_bank_sends_back_is_in_the_next_payout(sandbox: Sandbox, client: stripe.StripeClient, paid: bool):
    await pay_at_once(client, currency="pln", amount=5000)
    payout = await sandbox.payout("pln")
    if paid:
        await sandbox.advance(seconds=DAY_S)
    for _ in range(2):
        failed = await sandbox.ask("POST", f"payouts/{payout['id']}/fail", failure_code="account_closed")
        assert (failed["status"], failed["failure_code"]) == ("failed", "account_closed")
    await sandbox.advance(seconds=DAY_S)
    read = await client.v1.payouts.retrieve_async(payout["id"], {"expand": ["failure_balance_transaction"]})
    back = read.failure_balance_transaction
    assert (read.status, back.type, back.reporting_category) == ("failed", "payout_failure", "payout_reversal")
    assert (back.net, back.source) == (payout["amount"], payout["id"])
    again = await sandbox.payout("pln")
    assert [entry.id for entry in await contents(client, again, type="payout_failure")] == [back.id]
    assert (again["amount"], sum(entry.net for entry in await contents(client, payout))) == (payout["amount"], 0)
    told = ["payout.created", "payout.reconciliation_completed", "payout.failed", *(["payout.paid"] if paid else [])]
    await announced(sandbox, payout, *told)


async def test_a_payout_of_an_amount_knows_no_contents_and_the_next_one_settles_it(
    sandbox: Sandbox, client: stripe.StripeClient
):
    await pay_at_once(client, currency="huf", amount=90000)
    manual = await sandbox.payout("huf", amount=20000)
    assert (manual["automatic"], manual["reconciliation_status"]) == (False, "not_applicable")
    with pytest.raises(stripe.InvalidRequestError, match="automatic"):
        await contents(client, manual)
    rest = await sandbox.payout("huf")
    assert [entry.net for entry in await contents(client, rest)] == [-rest["amount"], -20000, 90000 - 2640]
    for members in ({"amount": 1}, {"amount": 0}, {"currency": "xyz"}):
        assert await sandbox.refusal("payouts", **{"currency": "huf"} | members)


async def test_a_fee_of_its_own_is_paid_before_the_payout(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay_at_once(client, currency="thb", amount=5000)
    fee = await sandbox.ask("POST", "fees", currency="thb", amount=400, description="Radar")
    assert (fee["type"], fee["reporting_category"], fee["net"], fee["source"]) == ("stripe_fee", "fee", -400, None)
    payout = await sandbox.payout("thb")
    assert payout["amount"] == intent.latest_charge.balance_transaction.net - 400
    assert await sandbox.refusal("fees", amount=0)


async def test_that_money_becomes_available_is_said_once(sandbox: Sandbox, client: stripe.StripeClient):
    paid = [await pay(client, currency="myr", capture_method="automatic") for _ in range(3)]
    before = await client.v1.events.list_async({"type": "balance.available", "limit": 1})
    charge = await client.v1.charges.retrieve_async(paid[0].latest_charge, {"expand": ["balance_transaction"]})
    available_on = charge.balance_transaction.available_on
    assert (available_on % DAY_S, charge.balance_transaction.status) == (0, "pending")
    await sandbox.advance(seconds=2 * DAY_S)
    bounds = {"gte": available_on, "lte": available_on}
    told = await client.v1.events.list_async({"type": "balance.available", "created": bounds})
    assert len(told.data) == 1
    assert told.data[0].id not in [event.id for event in before.data]
    amounts = {part.currency: part.amount for part in told.data[0].data.object.available}
    assert amounts["myr"] == 3 * charge.balance_transaction.net


async def test_balance_transactions_are_narrowed_down_and_paged(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay_at_once(client, currency="zar")
    await sandbox.advance(seconds=5)
    refund = await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 100})
    charged, back = intent.latest_charge.balance_transaction, refund.balance_transaction

    async def found(**narrowed: object) -> list[str]:
        return [
            entry.id for entry in (await client.v1.balance_transactions.list_async({"currency": "zar", **narrowed})).data
        ]

    assert await found() == [back, charged.id]
    assert await found(type="charge") == await found(source=intent.latest_charge.id) == [charged.id]
    assert await found(source=refund.id) == await found(limit=1) == [back]
    assert await found(created={"gt": charged.created}) == await found(ending_before=charged.id) == [back]
    assert await found(created={"gte": charged.created, "lte": charged.created}) == [charged.id]
    assert await found(created={"lt": charged.created}) == await found(starting_after=charged.id) == []
    with pytest.raises(stripe.InvalidRequestError, match="No such payout"):
        await found(payout="po_nothing")


async def test_payouts_are_narrowed_down(sandbox: Sandbox, client: stripe.StripeClient):
    await pay_at_once(client, currency="ils")
    payout = await sandbox.payout("ils")
    arrival = {"gte": payout["arrival_date"], "lte": payout["arrival_date"]}
    for narrowed, is_found in (
        ({"status": "pending", "arrival_date": arrival}, True),
        ({"status": "pending", "created": {"gt": payout["created"]}}, False),
        ({"status": "failed"}, False),
        ({"arrival_date": {"gt": payout["arrival_date"]}}, False),
    ):
        found = [one.id for one in (await client.v1.payouts.list_async({**narrowed, "limit": 100})).data]
        assert (payout["id"] in found) == is_found


async def test_the_book_says_what_all_movements_leave(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay_at_once(client, currency="inr", amount=50000)
    await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 10000})
    await sandbox.dispute(payment_intent=(await pay_at_once(client, currency="inr", amount=20000)).id)
    listed = await client.v1.balance_transactions.list_async({"currency": "inr", "limit": 100})
    left = sum(entry.net for entry in listed.data)
    assert (await sandbox.ask("GET", "book"))["balance"]["inr"] == left
    payout = await sandbox.payout("inr")
    assert (payout["amount"], (await sandbox.ask("GET", "book"))["balance"]["inr"]) == (left, 0)


async def test_a_book_from_before_there_were_payouts_is_paid_out(tmp_path: Path):
    async with running_sandbox(tmp_path) as older, closing(older.client()) as client:
        intent = await pay_at_once(client)
        await older.kill()
        with sqlite3.connect(tmp_path / "stripe.sqlite") as book:
            book.execute("DROP TABLE movement")
        book.close()
        await older.start()
        payout = await until(lambda: older.payout("usd"))
        assert payout["amount"] == intent.latest_charge.balance_transaction.net
