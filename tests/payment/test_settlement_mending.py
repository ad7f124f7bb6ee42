"""What our books learn late: movements that did not agree are looked at again at once, however long they were listed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources

import asyncpg
import pytest
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1 import payment_pb2

from tests.payment.test_settlement_files import ALL, rows_of, text_of
from tests.support.mesh import fresh_key
from tests.support.sandbox import closing
from tests.support.settling import AT_ONCE, Settling
from tests.support.till import order

P = payment_pb2.Payment
_LISTED_FOR_GOOD = "UPDATE balance_transaction SET looks = 99, next_look_time = NULL WHERE id = $1"


@asynccontextmanager
async def paused(settling: Settling) -> AsyncIterator[None]:
    """Nobody calls the provider."""
    await settling.till.set_breaker(messages.Breaker.STATE_OPEN)
    try:
        yield
    finally:
        await settling.till.set_breaker(messages.Breaker.STATE_CLOSED)


async def upload_about(settling: Settling, intent_id: str, category: str) -> str:
    """Takes Stripe's own report of one movement of an intent; its id."""
    (row,) = [
        row
        for row in rows_of(await settling.till.sandbox.settlement(**ALL))
        if (row["payment_intent_id"], row["reporting_category"]) == (intent_id, category)
    ]
    await settling.upload(text_of([row]))
    await settling.looked()
    return row["balance_transaction_id"]


async def stands(settling: Settling, movement_id: str) -> tuple[str, int]:
    """A movement's class, and how many looks were counted."""
    row = await settling.rows.fetchrow("SELECT class, looks FROM balance_transaction WHERE id = $1", movement_id)
    return row["class"], row["looks"]


@pytest.mark.requirement("REC-3", "PAY-5")
async def test_what_an_operator_mends_is_listed_no_longer(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    await settling.till.sandbox.webhook_fault("withhold", times=None)
    await settling.till.sandbox.ask("POST", "refunds", payment_intent=payment.provider_id, amount=2_500)
    async with paused(settling):
        movement = await upload_about(settling, payment.provider_id, "refund")
        await settling.rows.execute(_LISTED_FOR_GOOD, movement)
        assert await stands(settling, movement) == ("missing_in_books", 99)
    request = messages.AskProviderRequest(request_id=fresh_key(), payment_id=payment.payment_id, reason="it is listed")
    assert (await settling.operator.AskProvider(request)).payment.refunded.minor_units == 2_500
    await settling.looked()
    assert (await stands(settling, movement))[0] == "imported"
    assert not [item for item in await settling.items() if item.balance_transaction_id == movement]


@pytest.mark.requirement("REC-3")
async def test_a_look_while_the_provider_may_not_be_asked_does_not_count(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    await settling.till.sandbox.webhook_fault("withhold", times=None)
    await settling.till.sandbox.ask("POST", "refunds", payment_intent=payment.provider_id, amount=2_500)
    async with paused(settling):
        movement = await upload_about(settling, payment.provider_id, "refund")
        for _ in range(3):
            # It is posted as it stands, and looked at again soon.
            assert await stands(settling, movement) == ("missing_in_books", 0)
            due = await settling.rows.fetchval("SELECT next_look_time FROM balance_transaction WHERE id = $1", movement)
            settling.till.clock.advance(due - settling.till.clock.now())
            await settling.looked()
    await settling.walk()
    assert (await stands(settling, movement))[0] == "imported"


@pytest.mark.requirement("REC-3", "PAY-3")
async def test_what_was_nobodys_is_a_payments_once_its_intent_is_known(settling: Settling) -> None:
    sandbox = settling.till.sandbox
    await sandbox.webhook_fault("withhold", times=None)
    await sandbox.fault("answer_lost", call="payment_intents.create", times=None)
    created = await settling.till.create(order(10_000, "SGD"))
    async with paused(settling):
        (intent_id,) = [
            entry["id"]
            for entry in (await sandbox.book()).values()
            if entry["metadata"].get("donation_id") == created.payment.donation_id
        ]
        async with closing(sandbox.client()) as client:
            await client.v1.payment_intents.confirm_async(
                intent_id, {"payment_method": AT_ONCE, "return_url": "http://127.0.0.1/back"}
            )
        movement = await upload_about(settling, intent_id, "charge")
        assert (await stands(settling, movement))[0] == "unknown_source"
        # A file alone is not believed what it says about nobody.
        assert "SGD" not in await settling.account("adjustments")
        await sandbox.ask("POST", "webhooks/release")
        await settling.till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
        await settling.looked()
        assert (await stands(settling, movement))[0] == "imported"
        assert "SGD" not in await settling.account("adjustments")


async def _forget_excess(rows: asyncpg.Connection, payment_id: str) -> None:
    """As the books of earlier versions are: nothing says what went beyond."""
    of_payment = "SELECT id FROM posting WHERE payment_id = $1::text::uuid AND kind = 'excess_taken'"
    await rows.execute(f"DELETE FROM entry WHERE posting_id IN ({of_payment})", payment_id)
    await rows.execute(f"DELETE FROM posting WHERE id IN ({of_payment})", payment_id)


def _posting_of_what_stands() -> str:
    text = (resources.files("payment_svc.migrations") / "0013_settlement.sql").read_text()
    return "WITH beyond" + text.split("WITH beyond")[1].split(";")[0]


@pytest.mark.requirement("LED-2", "PAY-6")
async def test_what_went_beyond_in_earlier_versions_is_posted_by_the_migration(settling: Settling) -> None:
    payment = await settling.paid(2_500)
    await settling.till.sandbox.dispute(payment_intent=payment.provider_id, amount=2_600)
    await settling.till.reaches(payment.payment_id, P.STATE_DISPUTED)
    posted = """SELECT p.kind, p.reverses, bucket_of(p.id) = bucket_of(p.charity_id) AS proper, e.account, e.amount,
                       e.campaign_id = p.campaign_id AS owned
                FROM posting p JOIN entry e ON e.day = p.day AND e.posting_id = p.id
                WHERE p.payment_id = $1::text::uuid AND p.kind = 'excess_taken' ORDER BY e.line"""
    wanted = [tuple(row) for row in await settling.rows.fetch(posted, payment.payment_id)]
    assert [(row[3], row[4]) for row in wanted] == [("adjustments", 100), ("provider_clearing", -100)]
    transaction = settling.rows.transaction()
    await transaction.start()
    await _forget_excess(settling.rows, payment.payment_id)
    await settling.rows.execute(_posting_of_what_stands())
    await settling.rows.execute("SET CONSTRAINTS ALL IMMEDIATE")
    found = [tuple(row) for row in await settling.rows.fetch(posted, payment.payment_id)]
    await transaction.rollback()
    assert found == wanted
    assert all(row[2] and row[5] for row in found)
