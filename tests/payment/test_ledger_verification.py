"""VerifyLedger and balances over a ledger of their own, which a superuser then forges."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest

from cli.servers.postgres import Postgres
from mesh.money import Money
from mesh.postgres import Database, open_database
from payment_svc.consumer import RecordedDonations
from payment_svc.domain.ledger import Violation
from payment_svc.refusals import AccountNotFound
from payment_svc.service.ledger import Ledger
from tests.payment.conftest import make_handler, make_ledger
from tests.support.donation_events import Giver
from tests.support.schemas import make_database


@dataclass(frozen=True)
class Books:
    """A ledger with three gifts of 250 USD and one of 700 JPY, and a superuser who may forge it."""

    ledger: Ledger
    handler: RecordedDonations
    giver: Giver
    forger: asyncpg.Connection
    database: Database


@pytest.fixture
async def books(postgres_server: Postgres) -> AsyncIterator[Books]:
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    async with open_database(schemas.dsn("payment"), schema="payment", pool_max=4, application="test") as database:
        forger = await asyncpg.connect(schemas.admin_dsn, server_settings={"search_path": "payment"})
        # Switches triggers and foreign keys off; only a superuser can.
        await forger.execute("SET session_replication_role = replica")
        handler, giver = make_handler(database), Giver()
        for _ in range(3):
            await handler.apply([giver.succeeded(250)])
        await handler.apply([giver.succeeded(700, "JPY")])
        yield Books(make_ledger(database), handler, giver, forger, database)
        await forger.close()


@pytest.mark.requirement("LED-1")
async def test_an_intact_ledger_has_no_violation(books: Books) -> None:
    verification = await books.ledger.verify_ledger()
    assert (verification.violations, verification.postings, verification.entries) == ((), 4, 8)


@pytest.mark.requirement("LED-1")
async def test_an_entry_that_a_superuser_changed_is_found(books: Books) -> None:
    forged: UUID = await books.forger.fetchval(
        "UPDATE entry SET amount = amount + 1 WHERE amount = 700 RETURNING posting_id"
    )
    assert (await books.ledger.verify_ledger()).violations == (Violation(forged, Money(1, "JPY")),)


@pytest.mark.requirement("LED-1")
async def test_entries_that_a_superuser_deleted_are_found(books: Books) -> None:
    forged: UUID = await books.forger.fetchval("DELETE FROM entry WHERE currency = 'JPY' RETURNING posting_id")
    assert (await books.ledger.verify_ledger()).violations == (Violation(forged, None),)


@pytest.mark.requirement("LED-1")
async def test_balanced_entries_without_a_posting_are_found(books: Books) -> None:
    forged = uuid4()
    await books.forger.execute(
        "INSERT INTO entry (posting_id, line, account, currency, amount) "
        "VALUES ($1, 1, 'bank', 'USD', 9), ($1, 2, 'fees', 'USD', -9)",
        forged,
    )
    assert (await books.ledger.verify_ledger()).violations == (Violation(forged, Money(0, "USD")),)


async def test_a_forged_sum_beyond_the_message_still_travels(books: Books) -> None:
    from payment_svc.convert import verification_message  # noqa: PLC0415

    await books.forger.execute("UPDATE entry SET amount = 9223372036854775807 WHERE currency = 'JPY'")
    message = verification_message(await books.ledger.verify_ledger())
    assert [violation.sum.minor_units for violation in message.violations] == [2**63 - 1]


@pytest.mark.requirement("LED-6")
async def test_a_balance_is_per_currency_and_debit_positive(books: Books) -> None:
    owed = await books.ledger.get_balance("campaign_payable", campaign_id=None, as_of=None)
    held = await books.ledger.get_balance("external_clearing", campaign_id=books.giver.campaign_id, as_of=None)
    assert owed == [Money(-700, "JPY"), Money(-750, "USD")]
    assert held == [Money(700, "JPY"), Money(750, "USD")]
    assert await books.ledger.get_balance("bank", campaign_id=None, as_of=None) == []
    assert await books.ledger.get_balance("campaign_payable", campaign_id=uuid4(), as_of=None) == []


@pytest.mark.requirement("LED-6")
async def test_a_balance_as_of_a_time_holds_what_was_posted_before_it(books: Books) -> None:
    times = await books.forger.fetch("SELECT create_time FROM posting ORDER BY create_time")
    third: datetime.datetime = times[2]["create_time"]
    before = await books.ledger.get_balance("external_clearing", campaign_id=None, as_of=third)
    assert before == [Money(500, "USD")]
    yesterday = third - datetime.timedelta(days=1)
    assert await books.ledger.get_balance("external_clearing", campaign_id=None, as_of=yesterday) == []


async def test_an_unknown_account_is_refused(books: Books) -> None:
    with pytest.raises(AccountNotFound) as caught:
        await books.ledger.get_balance("petty_cash", campaign_id=None, as_of=None)
    assert caught.value.metadata == {"account": "petty_cash"}


async def test_the_batch_role_reads_and_does_not_write(books: Books) -> None:
    for table in ("account", "posting", "entry", "applied"):
        rights = await books.forger.fetchrow(
            "SELECT has_table_privilege('payment_batch', $1, 'SELECT') AS reads, "
            "has_any_column_privilege('payment_batch', $1, 'INSERT, UPDATE') AS writes",
            table,
        )
        assert (rights["reads"], rights["writes"]) == (True, False)


@pytest.mark.requirement("LED-2")
async def test_the_service_has_no_right_to_change_entries(books: Books) -> None:
    for privilege in ("UPDATE", "DELETE", "TRUNCATE"):
        assert not await books.forger.fetchval("SELECT has_table_privilege('payment_service', 'entry', $1)", privilege)
