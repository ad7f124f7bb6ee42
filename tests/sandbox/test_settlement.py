"""The settlement report: every balance transaction once, as Stripe itemises it."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest
import stripe

from sandbox import book
from sandbox.stripe import report
from sandbox.stripe.engine import Engine
from sandbox.stripe.ledger import enter
from sandbox.stripe.money import Worth
from sandbox.stripe.switches import Given
from sandbox.stripe.work import Rules, Work
from tests.sandbox.payments import pay_at_once
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.requirement("REC-2")
HEAD = (
    "balance_transaction_id,created_utc,available_on_utc,currency,gross,fee,net,reporting_category,source_id,description,"
    "automatic_payout_id,automatic_payout_effective_at_utc,charge_id,payment_intent_id\n"
)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def utc(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


async def test_a_payouts_report_has_each_movement_and_adds_up_to_nothing(sandbox: Sandbox, client: stripe.StripeClient):
    paid, disputed, partly = [await pay_at_once(client, currency="sek", amount=amount) for amount in (9000, 8000, 7000)]
    refund = await client.v1.refunds.create_async({"payment_intent": paid.id, "amount": 1000})
    await sandbox.ask("POST", f"refunds/{refund.id}/fail")
    dispute = await sandbox.dispute(payment_intent=disputed.id)
    await sandbox.ask("POST", f"disputes/{dispute['id']}/win")
    await sandbox.ask("POST", "fees", currency="sek", amount=100)
    failed = await sandbox.payout("sek")
    await sandbox.ask("POST", f"payouts/{failed['id']}/fail")
    payout = await sandbox.payout("sek")
    text = await sandbox.settlement(payout=failed["id"])
    found = rows(text)
    assert text.startswith(HEAD)
    assert "\r" not in text
    charge_of = {intent.id: intent.latest_charge.id for intent in (paid, disputed, partly)}
    assert [(row["reporting_category"], row["source_id"], row["charge_id"], row["payment_intent_id"]) for row in found] == [
        *(("charge", charge, charge, intent) for intent, charge in charge_of.items()),
        ("refund", refund.id, charge_of[paid.id], paid.id),
        ("refund_failure", refund.id, charge_of[paid.id], paid.id),
        ("dispute", dispute["id"], charge_of[disputed.id], disputed.id),
        ("dispute_reversal", dispute["id"], charge_of[disputed.id], disputed.id),
        ("fee", "", "", ""),
        ("payout", failed["id"], "", ""),
    ]
    assert {row["automatic_payout_id"] for row in found} == {failed["id"]}
    assert {row["automatic_payout_effective_at_utc"] for row in found} == {utc(failed["arrival_date"])}
    assert all(Decimal(row["gross"]) - Decimal(row["fee"]) == Decimal(row["net"]) for row in found)
    assert sum(Decimal(row["net"]) for row in found) == 0
    back = rows(await sandbox.settlement(payout=payout["id"]))
    assert [(row["reporting_category"], row["source_id"]) for row in back] == [
        ("payout_reversal", failed["id"]),
        ("payout", payout["id"]),
    ]


@pytest.mark.parametrize(
    ("currency", "amount", "gross_fee_net"),
    [
        ("hkd", 2500, ("25.00", "1.03", "23.97")),
        ("jpy", 2500, ("2500", "103", "2397")),
        ("kwd", 2500, ("2.500", "0.163", "2.337")),
        ("isk", 250000, ("2500.00", "72.80", "2427.20")),
    ],
)
async def test_amounts_have_the_decimals_of_their_currency(
    sandbox: Sandbox, client: stripe.StripeClient, currency: str, amount: int, gross_fee_net: tuple[str, str, str]
):
    intent = await pay_at_once(client, currency=currency, amount=amount)
    entry = intent.latest_charge.balance_transaction
    text = await sandbox.settlement(start=str(entry.created), end=str(entry.created + 1))
    (row,) = [row for row in rows(text) if row["balance_transaction_id"] == entry.id]
    assert (row["currency"], row["gross"], row["fee"], row["net"]) == (currency, *gross_fee_net)
    assert (row["created_utc"], row["available_on_utc"]) == (utc(entry.created), utc(entry.available_on))
    assert (row["automatic_payout_id"], row["automatic_payout_effective_at_utc"]) == ("", "")


@pytest.mark.parametrize("description", ["a, b", 'so "they" say', "line\nline", "carriage\rreturn", "plain", " spaces "])
async def test_every_description_is_read_back_as_it_was(sandbox: Sandbox, client: stripe.StripeClient, description: str):
    intent = await pay_at_once(client, description=description)
    entry = intent.latest_charge.balance_transaction
    text = await sandbox.settlement(start=str(entry.created), end=str(entry.created + 1))
    (row,) = [row for row in rows(text) if row["balance_transaction_id"] == entry.id]
    assert row["description"] == description
    assert text.count(f"{entry.id},") == 1


async def test_a_report_begins_with_its_start_and_ends_before_its_end(sandbox: Sandbox, client: stripe.StripeClient):
    first = (await pay_at_once(client)).latest_charge.balance_transaction
    await sandbox.advance(seconds=10)
    second = (await pay_at_once(client)).latest_charge.balance_transaction
    text = await sandbox.settlement(start=str(first.created), end=str(second.created))
    assert first.id in text
    assert second.id not in text
    assert first.id not in await sandbox.settlement(start=str(first.created + 1), end=str(second.created + 1))
    assert await sandbox.settlement(start="0", end="0") == HEAD


@pytest.mark.parametrize(
    ("asked", "status"),
    [({}, 400), ({"start": "1"}, 400), ({"start": "x", "end": "2"}, 400), ({"payout": "po_nothing"}, 404)],
)
async def test_a_report_of_nothing_is_refused(sandbox: Sandbox, asked: dict[str, str], status: int):
    async with sandbox.control.get("/sandbox/settlement.csv", params=asked) as answer:
        assert answer.status == status


async def test_a_payout_without_known_contents_has_no_report(sandbox: Sandbox, client: stripe.StripeClient):
    await pay_at_once(client, currency="nzd")
    manual = await sandbox.payout("nzd", amount=100)
    async with sandbox.control.get("/sandbox/settlement.csv", params={"payout": manual["id"]}) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "payout")


def fill(work: Work) -> None:
    for number in range(1200):
        billed = {"id": None, "description": f"{number}"}
        enter(work, billed, Worth(-1, "usd"), kind="stripe_fee", available_on=work.now)


async def test_a_long_report_comes_in_pieces_and_is_all_of_one_moment(tmp_path: Path):
    schema = resources.files("sandbox.stripe").joinpath("schema.sql").read_text()
    async with book.opened(tmp_path / "book.sqlite", schema=schema) as opened:
        engine = Engine(opened, Rules(publishes=False, enabled_events=(), search_delay_s=0))
        await engine.transact(fill)
        given = Given({"start": 0, "end": 1 << 40})
        pieces = engine.stream(await engine.read(lambda work: report.asked(work, given)))
        first = [next(pieces), next(pieces)]
        await engine.transact(fill)
        counts = [piece.count("\n") for piece in (*first, *pieces)]
    assert counts == [1, 500, 500, 200]
