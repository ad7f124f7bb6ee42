"""The settlement currency: money that came in another one is exchanged on its way to the balance."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import stripe

from tests.sandbox.payments import pay, pay_at_once
from tests.support.sandbox import Sandbox, closing

pytestmark = pytest.mark.requirement("REC-2")


@pytest.fixture(autouse=True)
async def _as_it_was(sandbox: Sandbox) -> AsyncIterator[None]:
    yield
    await settle(sandbox, None)


async def settle(sandbox: Sandbox, currency: str | None, **rates: str) -> None:
    answer = await sandbox.ask("POST", "settlement", currency=currency, rates=rates)
    assert answer == await sandbox.ask("GET", "settlement") == {"currency": currency, "rates": rates}


async def settled(client: stripe.StripeClient, currency: str, amount: int) -> stripe.BalanceTransaction:
    return (await pay_at_once(client, currency=currency, amount=amount)).latest_charge.balance_transaction


@pytest.mark.parametrize(
    ("into", "rate", "given", "worth"),
    [
        ("usd", "1.08", (2500, "eur"), (2700, 1.08)),
        ("usd", "1.01", (50, "eur"), (50, 1.01)),  # 50.5
        ("usd", "1.01", (150, "eur"), (152, 1.01)),  # 151.5
        ("usd", "0.0065", (1000, "jpy"), (650, 0.65)),
        ("usd", "3.25", (5000, "kwd"), (1625, 0.325)),
        ("jpy", "150.5", (100, "usd"), (150, 1.505)),  # 150.5
        ("usd", "123456.0123456789", (99_999_999, "eur"), (12345601111112, 123456.0123456789)),  # ….88
    ],
)
async def test_a_charge_settles_at_the_rate_rounded_half_to_even(
    sandbox: Sandbox, into: str, rate: str, given: tuple[int, str], worth: tuple[int, float]
):
    amount, currency = given
    await settle(sandbox, into, **{currency: rate})
    async with closing(sandbox.client()) as client:
        entry = await settled(client, currency, amount)
    assert (entry.amount, entry.exchange_rate, entry.currency) == (*worth, into)
    assert (entry.fee, entry.fee_details[0].currency) == ((worth[0] * 29 + 500) // 1000 + 30, into)
    assert entry.net == entry.amount - entry.fee


async def test_refunds_and_disputes_settle_too_and_what_is_undone_comes_back_at_the_old_rate(
    sandbox: Sandbox, client: stripe.StripeClient
):
    await settle(sandbox, "usd", eur="1.10")
    intent = await pay_at_once(client, currency="eur", amount=3000)
    refund = await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 999})
    dispute = await sandbox.dispute(payment_intent=intent.id, amount=2001)
    await settle(sandbox, "usd", eur="2.00")
    await sandbox.ask("POST", f"refunds/{refund.id}/fail")
    won = await sandbox.ask("POST", f"disputes/{dispute['id']}/win")
    moved = (await client.v1.balance_transactions.list_async({"source": refund.id})).data
    assert [(one.amount, one.currency, one.exchange_rate) for one in moved] == [(1099, "usd", 1.1), (-1099, "usd", 1.1)]
    assert [(one["amount"], one["fee"], one["currency"]) for one in won["balance_transactions"]] == [
        (-2201, 1500, "usd"),
        (2201, 0, "usd"),
    ]
    assert (refund.amount, refund.currency, dispute["amount"], dispute["currency"]) == (999, "eur", 2001, "eur")


@pytest.mark.requirement("PAY-7")
async def test_a_capture_in_part_settles_as_what_was_authorised_and_what_was_released(
    sandbox: Sandbox, client: stripe.StripeClient
):
    await settle(sandbox, "usd", eur="1.10")
    held = await pay(client, currency="eur", amount=3000, capture_method="manual")
    taken = await client.v1.payment_intents.capture_async(held.id, {"amount_to_capture": 2500})
    (rest,) = (await client.v1.refunds.list_async({"charge": taken.latest_charge})).data
    moved = [
        (await client.v1.balance_transactions.list_async({"source": source})).data[0]
        for source in (taken.latest_charge, rest.id)
    ]
    assert [(one.amount, one.fee, one.currency) for one in moved] == [(3300, 126, "usd"), (-550, -16, "usd")]


async def test_a_currency_without_a_rate_settles_as_itself(sandbox: Sandbox, client: stripe.StripeClient):
    await settle(sandbox, "usd", eur="1.08")
    for currency in ("gbp", "usd"):
        entry = await settled(client, currency, 2500)
        assert (entry.amount, entry.currency, entry.exchange_rate) == (2500, currency, None)
    await settle(sandbox, None)
    entry = await settled(client, "eur", 2500)
    assert (entry.amount, entry.currency, entry.exchange_rate) == (2500, "eur", None)


async def test_what_was_exchanged_is_paid_out_in_the_settlement_currency(sandbox: Sandbox, client: stripe.StripeClient):
    await settle(sandbox, "chf", aud="0.5")
    entry = await settled(client, "aud", 5000)
    payout = await sandbox.ask("POST", "payouts")
    assert (payout["currency"], payout["amount"]) == ("chf", entry.net)
    assert "charge,ch_" in await sandbox.settlement(payout=payout["id"])


@pytest.mark.parametrize(
    "members",
    [
        {"currency": "xyz", "rates": {}},
        {"currency": "usd", "rates": {"xyz": "1"}},
        {"currency": "usd", "rates": {"usd": "1"}},
        {"currency": "usd", "rates": ["eur"]},
        *(
            {"currency": "usd", "rates": {"eur": rate}}
            for rate in ("0", "-1", "much", "1e3", "1.12345678901", "1234567", "")
        ),
    ],
)
async def test_what_is_no_rate_is_refused(sandbox: Sandbox, members: dict):
    assert await sandbox.refusal("settlement", **members)
    assert (await sandbox.ask("GET", "settlement"))["currency"] is None
