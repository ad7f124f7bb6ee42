"""What the database itself refuses about settlement, by raw SQL past every line of code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID, uuid4

import asyncpg
import pytest

from mesh.ids import new_id, new_tenant_id
from tests.payment.test_payment_guards import CHARGE, PAYMENT

FILE = """INSERT INTO settlement_file (sha256, name, size_bytes, rows, actor, correlation_id, create_time)
    SELECT {sha256}, '', 1, 1, 'test', '', now() FROM generate_series(1, {copies})"""
MOVEMENT = """INSERT INTO balance_transaction
    (id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, net, provider_time, origin, class,
     payment_id, charity_id, our_currency, our_amount, posted, posting_id, posting_day, next_look_time, create_time,
     update_time)
    SELECT {id}, 'charge', '', '', '', '', {currency}, 100, 3, {net}, now(), {origin}, {item_class},
           {payment}, {charity}, {our_currency}, {our_amount}, {posted}, {posting}, {posting_day}, {next_look}, now(), now()
    FROM generate_series(1, {copies})"""
FINDING = """INSERT INTO settlement_finding
    (file, line, class, balance_transaction_id, source_id, currency, amount, fee, net, provider_time, create_time)
    SELECT {file}, 1, {item_class}, {movement}, '', 'USD', 100, 3, 97, now(), now() FROM generate_series(1, {copies})"""
LINE = """INSERT INTO settlement_line (file, class, currency, count, total)
    SELECT {file}, 'matched', 'USD', 1, 97 FROM generate_series(1, {copies})"""
KNOWN = "decode(repeat('ab', 32), 'hex')"


def file(*, sha256: str = "decode(repeat('cd', 32), 'hex')", copies: int = 1) -> str:
    return FILE.format(sha256=sha256, copies=copies)


def movement(**more: object) -> str:
    """One that a guard would let pass, but for what is named."""
    values: dict[str, object] = {
        "id": "'txn_new'", "currency": "'USD'", "net": 97, "origin": "'api'", "item_class": "'unknown_source'",
        "payment": "NULL::uuid", "charity": "NULL::uuid", "our_currency": "NULL", "our_amount": "NULL::bigint",
        "posted": "false", "posting": "NULL::uuid", "posting_day": "NULL::date", "next_look": "now()", "copies": 1,
    }  # fmt: skip
    return MOVEMENT.format(**values | more)


def finding(*, file: str = KNOWN, item_class: str = "'duplicate'", movement: str = "'txn_known'", copies: int = 1) -> str:
    return FINDING.format(file=file, item_class=item_class, movement=movement, copies=copies)


def line(*, file: str = KNOWN, copies: int = 1) -> str:
    return LINE.format(file=file, copies=copies)


# Name of the guard → what it refuses, beside a file, a movement and a payment ($1) of a charity ($2).
BY_STATEMENT = {
    "settlement_file_pkey": file(copies=2),
    "settlement_file_sha256_whole": file(sha256="'short'"),
    "settlement_line_pkey": line(copies=2),
    "settlement_line_file": line(file="'nobody'"),
    "balance_transaction_pkey": movement(id="'txn_known'"),
    "balance_transaction_currency_form": movement(currency="'usd'"),
    "balance_transaction_origin_known": movement(origin="'rumour'"),
    "balance_transaction_class_known": movement(item_class="'duplicate'"),
    "balance_transaction_net_is_what_is_left": movement(net=98),
    "balance_transaction_of_payment_whole": movement(payment="$1"),
    "balance_transaction_matched_is_known": movement(
        item_class="'matched'", payment="$1", charity="$2", our_currency="'USD'"
    ),
    "balance_transaction_posting_whole": movement(posted="true", posting="$1"),
    "balance_transaction_unposted_is_due": movement(next_look="NULL::timestamptz"),
    "balance_transaction_kept": "UPDATE balance_transaction SET fee = 4, net = 96 WHERE id = 'txn_known'",
    "settlement_finding_pkey": finding(copies=2),
    "settlement_finding_class_known": finding(item_class="'matched'"),
    "settlement_finding_file": finding(file="'nobody'"),
    "settlement_finding_transaction": finding(movement="'txn_of_nobody'"),
    "posting_of_movement": "INSERT INTO posting (id, charity_id, kind, source) VALUES ($1, $2, 'paid_out', 'test')",
    "clearing_pkey": """INSERT INTO clearing (payment_id, charity_id, currency, amount)
        SELECT $1, $2, 'USD', 1 FROM generate_series(1, 2)""",
}


@pytest.fixture
async def known(admin: asyncpg.Connection) -> AsyncIterator[tuple[UUID, UUID]]:
    """A payment and its charity, a file and a movement that is not posted; undone after the test."""
    charity_id = new_tenant_id()
    payment_id, donation_id = new_id(tenant_id=charity_id), new_id(tenant_id=charity_id)
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute(PAYMENT, payment_id, charity_id, donation_id)
    await admin.execute(CHARGE, payment_id, charity_id)
    await admin.execute(file(sha256=KNOWN))
    await admin.execute(movement(id="'txn_known'"))
    yield payment_id, charity_id
    await transaction.rollback()


@pytest.mark.requirement("IDM-7", "REC-2")
@pytest.mark.parametrize("name", BY_STATEMENT)
async def test_raw_sql_past_a_guard_of_settlement_is_refused(
    admin: asyncpg.Connection, known: tuple[UUID, UUID], name: str
) -> None:
    statement = BY_STATEMENT[name]
    given = [value for place, value in enumerate(known, start=1) if f"${place}" in statement]
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await admin.execute(statement, *given)
    assert caught.value.constraint_name == name


async def settle(
    connection: asyncpg.Connection, *, posted: int, kind: str = "provider_adjustment", known: bool = True
) -> None:
    """A posting of `txn_known`, which left 97, with so much on the provider's balance; `known`: the movement knows it."""
    posting_id = uuid4()
    await connection.execute(
        "INSERT INTO posting (id, charity_id, kind, settlement_id, source) VALUES ($1, $1, $2, 'txn_known', 'test')",
        posting_id,
        kind,
    )
    await connection.execute(
        """INSERT INTO entry (posting_id, line, account, currency, amount)
        VALUES ($1, 1, 'provider_balance', 'USD', $2), ($1, 2, 'adjustments', 'USD', -$2::bigint)""",
        posting_id,
        posted,
    )
    if known:
        await connection.execute(
            """UPDATE balance_transaction SET posted = true, posting_id = $1, posting_day = (now() AT TIME ZONE 'utc')::date
            WHERE id = 'txn_known'""",
            posting_id,
        )
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.requirement("REC-4", "LED-2")
async def test_a_movement_is_posted_once_and_to_the_cent(admin: asyncpg.Connection, known: tuple[UUID, UUID]) -> None:
    await settle(admin, posted=97)
    assert known


@pytest.mark.requirement("IDM-7", "REC-4", "LED-2")
@pytest.mark.parametrize(
    ("posted", "movement_knows"), [(96, True), (98, True), (97, False)], ids=["a cent less", "a cent more", "for nobody"]
)
async def test_another_amount_than_a_movement_left_is_not_posted_for_it(
    admin: asyncpg.Connection, known: tuple[UUID, UUID], posted: int, movement_knows: bool
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await settle(admin, posted=posted, known=movement_knows)
    assert (caught.value.constraint_name, bool(known)) == ("posting_settles_exactly", True)


UNPOST = """UPDATE balance_transaction SET posted = false, posting_id = NULL, posting_day = NULL, next_look_time = now()
    WHERE id = 'txn_known'"""
# What is tried with a movement that was posted → what refuses it.
AGAIN: dict[str, tuple[Callable[[asyncpg.Connection], Awaitable[object]], str]] = {
    "a second posting": (lambda admin: settle(admin, posted=97, known=False), "posting_settles_exactly"),
    "a posting in the place of the first": (lambda admin: settle(admin, posted=97), "balance_transaction_kept"),
    "as if it had never been posted": (lambda admin: admin.execute(UNPOST), "balance_transaction_kept"),
    "a correction that corrects nothing": (
        lambda admin: settle(admin, posted=97, kind="resettled", known=False),
        "posting_settles_exactly",
    ),
}


@pytest.mark.requirement("IDM-7", "REC-4")
@pytest.mark.parametrize("how", AGAIN)
async def test_what_was_posted_is_not_posted_again(admin: asyncpg.Connection, known: tuple[UUID, UUID], how: str) -> None:
    attempt, guard = AGAIN[how]
    await settle(admin, posted=97)
    await admin.execute("SET CONSTRAINTS ALL DEFERRED")
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await attempt(admin)
    assert (caught.value.constraint_name, bool(known)) == (guard, True)


@pytest.mark.requirement("REC-2")
async def test_stripes_own_answer_outweighs_a_file_and_nothing_outweighs_stripe(
    admin: asyncpg.Connection, known: tuple[UUID, UUID]
) -> None:
    await admin.execute(movement(id="'txn_of_a_file'", origin="'file'"))
    overrule = "UPDATE balance_transaction SET fee = 4, net = 96, origin = {} WHERE id = 'txn_of_a_file'"
    await admin.execute(overrule.format("'api'"))
    with pytest.raises(asyncpg.CheckViolationError, match="does not change"):
        await admin.execute("UPDATE balance_transaction SET fee = 3, net = 97, origin = 'file' WHERE id = 'txn_of_a_file'")
    assert known


@pytest.mark.requirement("IDM-7", "REC-3")
async def test_what_stands_on_clearing_is_kept_by_the_entries_themselves(
    admin: asyncpg.Connection, known: tuple[UUID, UUID]
) -> None:
    payment_id, charity_id = known

    async def post(amount: int) -> int | None:
        posting_id = uuid4()
        await admin.execute(
            "INSERT INTO posting (id, charity_id, kind, payment_id, source) VALUES ($1, $2, 'captured', $3, 'test')",
            posting_id,
            charity_id,
            payment_id,
        )
        await admin.execute(
            """INSERT INTO entry (posting_id, line, account, currency, amount)
            VALUES ($1, 1, 'provider_clearing', 'USD', $2), ($1, 2, 'campaign_payable', 'USD', -$2::bigint)""",
            posting_id,
            amount,
        )
        kept = "SELECT amount FROM clearing WHERE payment_id = $1 AND currency = 'USD'"
        return await admin.fetchval(kept, payment_id)

    assert [await post(amount) for amount in (100, -30, -70, 5)] == [100, 70, None, 5]


@pytest.mark.requirement("IDM-7", "LED-2")
@pytest.mark.parametrize(
    "table", ["balance_transaction", "settlement_file", "settlement_line", "settlement_finding", "clearing"]
)
async def test_the_service_deletes_nothing_of_settlement(service: asyncpg.Connection, table: str) -> None:
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(statement)


@pytest.mark.requirement("IDM-7", "REC-3")
async def test_nobody_else_puts_the_trigger_of_clearing_on_a_table_of_his_own(service: asyncpg.Connection) -> None:
    await service.execute("CREATE TEMPORARY TABLE forged (LIKE entry)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="keep_clearing"):
        await service.execute(
            """CREATE TRIGGER forging AFTER INSERT ON forged REFERENCING NEW TABLE AS new_entry
            FOR EACH STATEMENT EXECUTE FUNCTION keep_clearing()"""
        )


@pytest.mark.requirement("IDM-7", "LED-2")
async def test_the_service_writes_no_clearing_and_changes_no_file(service: asyncpg.Connection) -> None:
    for statement in (
        "INSERT INTO clearing (payment_id, charity_id, currency, amount) SELECT id, id, 'USD', 1 FROM payment",
        "UPDATE clearing SET amount = 0",
        "UPDATE settlement_file SET rows = 0",
        "UPDATE settlement_line SET count = 0",
        "UPDATE settlement_finding SET fee = 0",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(statement)
