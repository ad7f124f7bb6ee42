"""Stripe's balance beside our books: what moves is found, posted once, and foots to the cent, whoever knew it first."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from giving.common.v1.money_pb2 import Money
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1 import payment_pb2, payment_service_pb2

from tests.sandbox.payments import pay_at_once
from tests.support.mesh import fresh_key
from tests.support.refused import refused
from tests.support.sandbox import WEBHOOK_SECRETS, closing
from tests.support.settling import AT_ONCE, PERIOD, Settling, lines_of
from tests.support.till import confirm, order
from tests.support.waiting import until
from tests.support.webhooks import event_about, intent_shown, post, signed

P = payment_pb2.Payment
_CLEARING = "SELECT count(*) FROM clearing WHERE payment_id = $1::text::uuid"


async def refund(settling: Settling, payment: P, minor_units: int) -> payment_pb2.Attempt:
    request = payment_service_pb2.RefundPaymentRequest(
        request_id=fresh_key(),
        payment_id=payment.payment_id,
        amount=Money(minor_units=minor_units, currency=payment.amount.currency),
        reason="a wish",
    )
    return (await settling.till.payments.RefundPayment(request)).refund


@pytest.mark.requirement("REC-4", "LED-2")
async def test_what_a_charge_left_stands_on_the_balance_and_its_fee_on_fees(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    assert await settling.accounts(payment.payment_id) == {
        ("provider_clearing", "USD"): 10_000,
        ("campaign_payable", "USD"): -10_000,
    }
    await settling.walk()
    assert await settling.movements(payment.payment_id) == [("charge", "matched")]
    assert await settling.accounts(payment.payment_id) == {
        ("provider_balance", "USD"): 9_680,
        ("fees", "USD"): 320,
        ("campaign_payable", "USD"): -10_000,
    }


@pytest.mark.requirement("REC-4", "LED-2", "PAY-5", "PAY-6")
async def test_refunds_disputes_and_what_comes_back_clear_to_the_cent(settling: Settling) -> None:
    sandbox = settling.till.sandbox
    refunded, returned, won, lost, captured = [await settling.paid(10_000) for _ in range(5)]
    await refund(settling, refunded, 4_000)
    sent_back = await refund(settling, returned, 3_000)
    await sandbox.ask("POST", f"refunds/{sent_back.provider_id}/fail")
    await settling.till.reaches(returned.payment_id, P.STATE_SUCCEEDED)
    for payment, verdict in ((won, "win"), (lost, "lose")):
        dispute = await sandbox.dispute(payment_intent=payment.provider_id)
        await sandbox.ask("POST", f"disputes/{dispute['id']}/{verdict}")
        await settling.till.reaches(payment.payment_id, getattr(P, f"STATE_DISPUTE_{'WON' if verdict == 'win' else 'LOST'}"))
    await settling.walk()

    classes = {
        payment.payment_id: await settling.movements(payment.payment_id) for payment in (refunded, returned, won, lost)
    }
    assert classes == {
        refunded.payment_id: [("charge", "matched"), ("refund", "matched")],
        returned.payment_id: [("charge", "matched"), ("refund", "matched"), ("refund_failure", "matched")],
        won.payment_id: [("charge", "matched"), ("dispute", "matched"), ("dispute_reversal", "matched")],
        lost.payment_id: [("charge", "matched"), ("dispute", "matched")],
    }
    # A refund keeps its fee, a dispute costs one more.
    assert await settling.accounts(refunded.payment_id) == {
        ("provider_balance", "USD"): 5_680, ("fees", "USD"): 320, ("refunds", "USD"): 4_000,
        ("campaign_payable", "USD"): -10_000,
    }  # fmt: skip
    assert await settling.accounts(returned.payment_id) == await settling.accounts(captured.payment_id)
    assert await settling.accounts(won.payment_id) == {
        ("provider_balance", "USD"): 8_180, ("fees", "USD"): 1_820, ("campaign_payable", "USD"): -10_000,
    }  # fmt: skip
    assert await settling.accounts(lost.payment_id) == {
        ("provider_balance", "USD"): -1_820, ("fees", "USD"): 1_820, ("refunds", "USD"): 10_000,
        ("campaign_payable", "USD"): -10_000,
    }  # fmt: skip


@pytest.mark.requirement("LED-2", "PAY-7")
async def test_of_a_capture_in_part_the_rest_and_its_fee_go_back_by_themselves(settling: Settling) -> None:
    created = await settling.till.create(order(10_000, manual_capture=True))
    await confirm(settling.till.sandbox, created.client_secret)
    held = await settling.till.reaches(created.payment.payment_id, P.STATE_AUTHORIZED)
    await settling.till.payments.CapturePayment(
        payment_service_pb2.CapturePaymentRequest(
            request_id=fresh_key(), payment_id=held.payment_id, amount=Money(minor_units=6_000, currency="USD")
        )
    )
    await settling.walk()
    assert sorted(await settling.movements(held.payment_id)) == [
        ("charge", "matched"),
        ("partial_capture_reversal", "matched"),
    ]
    assert await settling.accounts(held.payment_id) == {
        ("provider_balance", "USD"): 5_796, ("fees", "USD"): 204, ("campaign_payable", "USD"): -6_000,
    }  # fmt: skip


@pytest.mark.requirement("LED-2", "REC-4")
async def test_what_settles_in_another_currency_balances_in_each(settling: Settling) -> None:
    sandbox = settling.till.sandbox
    await sandbox.ask("POST", "settlement", currency="usd", rates={"eur": "1.08", "jpy": "0.0065"})
    euros, yen = await settling.paid(10_000, "EUR"), await settling.paid(5_000, "JPY")
    await refund(settling, euros, 2_500)
    await sandbox.ask("POST", "settlement", currency=None)
    await settling.walk()
    assert await settling.accounts(euros.payment_id) == {
        ("campaign_payable", "EUR"): -10_000, ("refunds", "EUR"): 2_500, ("fx_clearing", "EUR"): 7_500,
        ("fx_clearing", "USD"): -8_100, ("provider_balance", "USD"): 7_757, ("fees", "USD"): 343,
    }  # fmt: skip
    assert await settling.accounts(yen.payment_id) == {
        ("campaign_payable", "JPY"): -5_000, ("fx_clearing", "JPY"): 5_000,
        ("fx_clearing", "USD"): -3_250, ("provider_balance", "USD"): 3_126, ("fees", "USD"): 124,
    }  # fmt: skip


@pytest.mark.requirement("LED-2", "LED-8")
async def test_what_is_paid_out_stands_at_the_bank_until_it_sends_it_back(settling: Settling) -> None:
    sandbox = settling.till.sandbox
    payment = await settling.paid(10_000, "SEK")
    payout = await sandbox.payout("sek")
    await settling.walk()
    assert (await settling.account("bank"))["SEK"] == payout["amount"]
    assert "SEK" not in await settling.account("provider_balance")
    await sandbox.ask("POST", f"payouts/{payout['id']}/fail")
    await settling.walk()
    assert "SEK" not in await settling.account("bank")
    assert (await settling.account("provider_balance"))["SEK"] == payout["amount"] == 10_000 - 470
    assert payment.captured.minor_units == 10_000


@pytest.mark.requirement("LED-2", "REC-3")
async def test_what_belongs_to_no_payment_of_ours_is_a_fee_or_an_adjustment(settling: Settling) -> None:
    sandbox = settling.till.sandbox
    fees = (await settling.account("fees")).get("NOK", 0)
    await sandbox.ask("POST", "fees", currency="nok", amount=700)
    async with closing(sandbox.client()) as client:
        stranger = await pay_at_once(client, currency="nok", amount=20_000)
    await settling.walk()
    (item,) = [
        item for item in await settling.items(**{"class": "unknown_source"}) if item.source_id == stranger.latest_charge.id
    ]
    assert (item.provider_amount, item.payment_id, list(item.allowed_actions)) == (
        Money(minor_units=20_000, currency="NOK"),
        "",
        [],
    )
    assert (await settling.account("adjustments"))["NOK"] == -20_000
    assert (await settling.account("fees"))["NOK"] - fees == 700 + 780


@pytest.mark.requirement("REC-3", "REC-4", "LED-2")
async def test_a_debit_that_the_bank_refuses_leaves_nothing(settling: Settling) -> None:
    created = await settling.till.create(order(2_500))
    await confirm(settling.till.sandbox, created.client_secret, "pm_usBankAccount_insufficientFunds")
    payment = await settling.till.reaches(created.payment.payment_id, P.STATE_PROCESSING)
    await settling.walk()
    # On its way it is on Stripe's balance, and ours to nobody yet.
    assert await settling.movements(payment.payment_id) == [("charge", "missing_in_books")]
    await settling.till.sandbox.advance(seconds=61)
    await settling.till.reaches(payment.payment_id, P.STATE_FAILED)
    await settling.walk()
    assert await settling.movements(payment.payment_id) == [("charge", "imported"), ("charge_failure", "matched")]
    assert await settling.accounts(payment.payment_id) == {}


@pytest.mark.requirement("REC-3", "LED-2")
async def test_a_debit_that_the_bank_accepts_is_taken_once(settling: Settling) -> None:
    created = await settling.till.create(order(2_500))
    await confirm(settling.till.sandbox, created.client_secret, "pm_usBankAccount_success")
    await settling.till.reaches(created.payment.payment_id, P.STATE_PROCESSING)
    await settling.walk()
    await settling.till.sandbox.advance(seconds=61)
    payment = await settling.till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    # The payment's own change has its movement looked at, without a walk.
    await settling.looked()
    assert await settling.movements(payment.payment_id) == [("charge", "imported")]
    assert await settling.accounts(payment.payment_id) == {
        ("provider_balance", "USD"): 2_397, ("fees", "USD"): 103, ("campaign_payable", "USD"): -2_500,
    }  # fmt: skip


@pytest.mark.requirement("LED-2", "REC-4", "PAY-6")
@pytest.mark.parametrize(("verdict", "beyond"), [("lose", 100), ("win", 0)])
async def test_a_bank_that_takes_more_than_was_captured_is_in_the_books(
    settling: Settling, verdict: str, beyond: int
) -> None:
    payment = await settling.paid(2_500)
    dispute = await settling.till.sandbox.dispute(payment_intent=payment.provider_id, amount=2_600)
    await settling.till.reaches(payment.payment_id, P.STATE_DISPUTED)
    assert (await settling.accounts(payment.payment_id))["adjustments", "USD"] == 100
    await settling.till.sandbox.ask("POST", f"disputes/{dispute['id']}/{verdict}")
    await settling.till.reaches(payment.payment_id, P.STATE_DISPUTE_LOST if verdict == "lose" else P.STATE_DISPUTE_WON)
    await settling.walk()
    assert {found for _, found in await settling.movements(payment.payment_id)} == {"matched"}
    held = await settling.accounts(payment.payment_id)
    assert ("provider_clearing", "USD") not in held
    assert held.get(("adjustments", "USD"), 0) == beyond
    assert await settling.rows.fetchval(_CLEARING, payment.payment_id) == 0


@pytest.mark.requirement("LED-2", "REC-4", "PAY-5", "PAY-6")
async def test_a_refund_and_a_dispute_of_the_same_money_clear_too(settling: Settling) -> None:
    payment = await settling.paid(2_500)
    dispute = await settling.till.sandbox.dispute(payment_intent=payment.provider_id, inquiry=True)
    sent = await refund(settling, payment, 1_000)
    await settling.till.sandbox.ask("POST", f"disputes/{dispute['id']}/lose")
    await settling.till.reaches(payment.payment_id, P.STATE_DISPUTE_LOST)
    await settling.walk()
    assert (await settling.accounts(payment.payment_id))["adjustments", "USD"] == 1_000
    assert await settling.rows.fetchval(_CLEARING, payment.payment_id) == 0
    # The bank sends the refund back: nothing is beyond what was taken any more.
    await settling.till.sandbox.ask("POST", f"refunds/{sent.provider_id}/fail")
    await until(lambda: settling.till.payment(payment.payment_id), holds=lambda found: not found.refunded.minor_units)
    await settling.walk()
    assert await settling.accounts(payment.payment_id) == {
        ("provider_balance", "USD"): -1_603, ("fees", "USD"): 1_603, ("refunds", "USD"): 2_500,
        ("campaign_payable", "USD"): -2_500,
    }  # fmt: skip
    assert await settling.rows.fetchval(_CLEARING, payment.payment_id) == 0


async def _checks_pause(settling: Settling, payment_id: str) -> bool:
    due = (await settling.till.payment(payment_id)).next_attempt_time.ToDatetime(datetime.UTC)
    return due > settling.till.clock.now() + PERIOD


async def _found(settling: Settling, payment_id: str, holds: Callable[[P], bool]) -> P:
    """The payment, once a walk has found what is true of it: an asking may take longer than a look waits for it."""

    async def walked() -> P:
        await settling.walk()
        return await settling.till.payment(payment_id)

    return await until(walked, holds=holds)


@pytest.mark.requirement("REC-3")
async def test_what_only_stripe_knows_is_imported(settling: Settling) -> None:
    sandbox = settling.till.sandbox
    await sandbox.webhook_fault("withhold", times=None)
    created = await settling.till.create(order(10_000))
    # After 15 minutes the payment's own checks pause for three quarters of an hour.
    await settling.walk()
    await settling.walk()
    await until(lambda: _checks_pause(settling, created.payment.payment_id))
    await confirm(sandbox, created.client_secret, AT_ONCE)
    payment = await _found(settling, created.payment.payment_id, lambda found: found.captured.minor_units == 10_000)
    assert await settling.movements(payment.payment_id) == [("charge", "imported")]

    await sandbox.ask("POST", "refunds", payment_intent=payment.provider_id, amount=2_500)
    await _found(settling, payment.payment_id, lambda found: found.refunded.minor_units == 2_500)
    dispute = await sandbox.dispute(payment_intent=payment.provider_id, amount=1_000)
    await _found(settling, payment.payment_id, lambda found: found.disputed.minor_units == 1_000)
    await sandbox.ask("POST", f"disputes/{dispute['id']}/win")
    await _found(settling, payment.payment_id, lambda found: not found.disputed.minor_units)
    await settling.walk()
    assert await settling.movements(payment.payment_id) == [
        ("charge", "imported"), ("dispute", "imported"), ("dispute_reversal", "imported"), ("refund", "imported"),
    ]  # fmt: skip
    assert not [item for item in await settling.items() if item.payment_id == payment.payment_id]


@pytest.mark.requirement("REC-3")
async def test_what_stripes_balance_does_not_show_is_listed_after_two_days_with_its_age(settling: Settling) -> None:
    till = settling.till
    created = await till.create(order(10_000))
    body = event_about(intent_shown(created.payment), f"evt_of_nothing_{created.payment.payment_id[-12:]}")
    assert await post(till, body, signed(body, WEBHOOK_SECRETS[1])) == 200
    payment = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)

    async def missing() -> list[Any]:
        items = await settling.items(**{"class": "missing_at_provider"})
        return [item for item in items if item.payment_id == payment.payment_id]

    await settling.walk()
    assert await missing() == []
    till.clock.advance(datetime.timedelta(days=2))
    (item,) = await missing()
    assert (item.our_amount, item.source_id) == (Money(minor_units=10_000, currency="USD"), payment.provider_id)
    assert item.age.ToTimedelta() >= datetime.timedelta(days=2)
    assert "AskProvider" in item.allowed_actions
    assert not item.HasField("provider_amount")
    report = await settling.report(item.time.ToDatetime().date())
    assert lines_of(report)["missing_at_provider", "USD"] == (1, 10_000)
    assert [one.outstanding.minor_units for one in report.currencies if one.currency == "USD"] == [10_000]


@pytest.mark.requirement("REC-3")
async def test_a_captured_payment_is_asked_about_though_nothing_of_it_is_open(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    await settling.till.sandbox.webhook_fault("withhold", times=None)
    await settling.till.sandbox.ask("POST", "refunds", payment_intent=payment.provider_id, amount=2_500)
    request = messages.AskProviderRequest(request_id=fresh_key(), payment_id=payment.payment_id, reason="it is missing")
    assert (await settling.operator.AskProvider(request)).payment.refunded.minor_units == 2_500


@pytest.mark.requirement("REC-4")
async def test_a_day_is_a_day_and_a_class_is_a_class(settling: Settling) -> None:
    for day in ("2026-02-30", "2026-13-01"):
        request = messages.GetReconciliationReportRequest(day=day)
        assert await refused(settling.operator.GetReconciliationReport(request)) == "INVALID_ARGUMENT"
    for narrowed in ({"day": "2026-02-30"}, {"class": "mismatch"}):
        request = messages.ListReconciliationItemsRequest(**narrowed)
        assert await refused(settling.operator.ListReconciliationItems(request)) == "INVALID_ARGUMENT"
    request = messages.ListReconciliationItemsRequest(page_token="of somebody else")
    assert await refused(settling.operator.ListReconciliationItems(request)) == "PAGE_TOKEN_INVALID"
    assert (await settling.report(datetime.date(2020, 1, 1))).foots


@pytest.mark.requirement("REC-4")
async def test_a_cent_more_in_the_ledger_than_at_stripe_does_not_foot(settling: Settling) -> None:
    payment = await settling.paid(10_000, "GBP")
    await settling.walk()
    day = await settling.rows.fetchval(
        "SELECT day FROM balance_transaction WHERE payment_id = $1::text::uuid", payment.payment_id
    )
    assert (await settling.report(day)).foots
    spoil = """UPDATE entry SET amount = amount + $2 WHERE account = 'provider_balance'
        AND posting_id = (SELECT posting_id FROM balance_transaction WHERE payment_id = $1::text::uuid)"""
    await settling.rows.execute(spoil, payment.payment_id, 1)
    report = await settling.report(day)
    await settling.rows.execute(spoil, payment.payment_id, -1)
    assert not report.foots
    (pounds,) = [one for one in report.currencies if one.currency == "GBP"]
    assert pounds.ledger_net.minor_units - pounds.provider_net.minor_units == 1
