"""What the database itself refuses, by raw SQL."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

HEADER = "INSERT INTO posting (id, charity_id, campaign_id, kind, source) VALUES ($1, $1, $1, 'recorded', 'test')"
ENTRIES = """
INSERT INTO entry (posting_id, line, account, campaign_id, currency, amount)
SELECT $1, l.line, l.account, $1, l.currency, l.amount
FROM unnest($2::smallint[], $3::text[], $4::text[], $5::bigint[]) AS l (line, account, currency, amount)
"""
Line = tuple[int, str, int]  # number, currency, amount


async def write_entries(connection: asyncpg.Connection, posting_id: UUID, *lines: Line, account: str = "bank") -> None:
    numbers, currencies, amounts = (list(column) for column in zip(*lines, strict=True))
    await connection.execute(ENTRIES, posting_id, numbers, [account] * len(lines), currencies, amounts)


async def write_posting(connection: asyncpg.Connection, *lines: Line, account: str = "bank") -> UUID:
    posting_id = uuid4()
    async with connection.transaction():
        await connection.execute(HEADER, posting_id)
        if lines:
            await write_entries(connection, posting_id, *lines, account=account)
    return posting_id


async def visible(connection: asyncpg.Connection, posting_id: UUID) -> tuple[int, int]:
    """How many headers and entries anyone sees of it."""
    headers = await connection.fetchval("SELECT count(*) FROM posting WHERE id = $1", posting_id)
    return headers, await connection.fetchval("SELECT count(*) FROM entry WHERE posting_id = $1", posting_id)


@pytest.mark.requirement("LED-1")
async def test_a_balanced_posting_is_written(service: asyncpg.Connection) -> None:
    posting_id = await write_posting(service, (1, "USD", 5), (2, "USD", -5), (3, "EUR", -7), (4, "EUR", 7))
    assert await visible(service, posting_id) == (1, 4)


@pytest.mark.requirement("LED-1", "IDM-7")
@pytest.mark.parametrize(
    "lines",
    [
        [(1, "USD", 5)],
        [(1, "USD", 5), (2, "USD", -4)],
        # The sum over both currencies is zero; that of each is not.
        [(1, "USD", 5), (2, "EUR", -5)],
    ],
    ids=["one line", "a cent short", "across currencies"],
)
async def test_an_unbalanced_statement_is_refused(service: asyncpg.Connection, lines: list[Line]) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="not to zero") as caught:
        await write_posting(service, *lines)
    assert caught.value.constraint_name == "entry_statement_balanced"


@pytest.mark.requirement("LED-1", "IDM-7")
async def test_a_posting_is_not_written_a_line_at_a_time(service: asyncpg.Connection) -> None:
    posting_id = uuid4()
    transaction = service.transaction()
    await transaction.start()
    await service.execute(HEADER, posting_id)
    with pytest.raises(asyncpg.CheckViolationError, match="not to zero"):
        await write_entries(service, posting_id, (1, "USD", 5))
    await transaction.rollback()
    assert await visible(service, posting_id) == (0, 0)


@pytest.mark.requirement("LED-1", "IDM-7")
async def test_a_posting_without_entries_is_refused_at_commit(service: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="has no entries") as caught:
        await write_posting(service)
    assert caught.value.constraint_name == "posting_balanced"


@pytest.mark.requirement("LED-1", "IDM-7")
async def test_what_slips_past_the_statement_is_refused_at_commit(admin: asyncpg.Connection) -> None:
    """The owner may write into a partition, where no trigger of a statement fires; the commit still checks."""
    posting_id = uuid4()
    partition = await admin.fetchval("SELECT 'entry_' || to_char(now() AT TIME ZONE 'utc', 'YYYY_MM_DD')")
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute(HEADER, posting_id)
    await admin.execute(
        f"INSERT INTO {partition} (posting_id, line, account, currency, amount) VALUES ($1, 1, 'bank', 'USD', 5)",
        posting_id,
    )
    with pytest.raises(asyncpg.CheckViolationError, match="do not sum to zero: USD 5") as caught:
        await transaction.commit()
    assert caught.value.constraint_name == "posting_balanced"


@pytest.mark.requirement("LED-2", "IDM-7")
async def test_nothing_is_added_to_a_posting_of_an_earlier_transaction(service: asyncpg.Connection) -> None:
    posting_id = await write_posting(service, (1, "USD", 5), (2, "USD", -5))
    with pytest.raises(asyncpg.CheckViolationError, match="nothing is added to it") as caught:
        await write_entries(service, posting_id, (3, "USD", 1), (4, "USD", -1))
    assert caught.value.constraint_name == "entry_of_this_transaction"
    assert await visible(service, posting_id) == (1, 2)


@pytest.mark.requirement("LED-2", "IDM-7")
async def test_entries_without_a_posting_are_refused(service: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="nothing is added to it"):
        await write_entries(service, uuid4(), (1, "USD", 1), (2, "USD", -1))


@pytest.mark.requirement("LED-1", "IDM-7")
@pytest.mark.parametrize(
    ("lines", "account", "constraint"),
    [
        ([(1, "USD", 0), (2, "USD", 0)], "bank", "entry_amount_not_zero"),
        ([(0, "USD", 1), (1, "USD", -1)], "bank", "entry_line_positive"),
        ([(1, "usd", 1), (2, "usd", -1)], "bank", "entry_currency_form"),
        ([(1, "USD", 1), (2, "USD", -1)], "petty_cash", "entry_account"),
    ],
)
async def test_a_line_outside_the_rules_is_refused(
    service: asyncpg.Connection, lines: list[Line], account: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await write_posting(service, *lines, account=account)
    assert caught.value.constraint_name == constraint


@pytest.mark.requirement("LED-1", "IDM-7")
async def test_an_unknown_kind_of_posting_is_refused(service: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await service.execute(HEADER.replace("'recorded'", "'gift'"), uuid4())
    assert caught.value.constraint_name == "posting_kind_known"


@pytest.mark.requirement("LED-2", "IDM-7")
@pytest.mark.parametrize("table", ["posting", "entry", "applied", "account", "event"])
async def test_the_service_changes_and_deletes_nothing(service: asyncpg.Connection, table: str) -> None:
    column = "code" if table == "account" else "day"
    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(statement)


@pytest.mark.requirement("LED-2", "IDM-7")
@pytest.mark.parametrize("table", ["posting", "entry", "applied"])
async def test_the_service_cannot_write_into_a_partition(service: asyncpg.Connection, table: str) -> None:
    partition = await service.fetchval(f"SELECT '{table}_' || to_char(now() AT TIME ZONE 'utc', 'YYYY_MM_DD')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(f"INSERT INTO {partition} SELECT * FROM {table} LIMIT 0")


@pytest.mark.requirement("LED-2", "IDM-7")
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("posting", "tx", "'99'::xid8"),
        ("posting", "day", "'2020-01-01'::date"),
        ("entry", "day", "'2020-01-01'::date"),
        ("entry", "create_time", "now()"),
    ],
)
async def test_the_service_cannot_date_or_forge_what_it_writes(
    service: asyncpg.Connection, table: str, column: str, value: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(f"INSERT INTO {table} ({column}) VALUES ({value})")


@pytest.mark.requirement("LED-3")
async def test_killed_between_the_entries_of_a_posting_nothing_is_visible(
    service: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    posting_id = uuid4()
    await service.execute("BEGIN")
    await service.execute(HEADER, posting_id)
    await write_entries(service, posting_id, (1, "USD", 5), (2, "USD", -5))
    await write_entries(service, posting_id, (3, "EUR", 7), (4, "EUR", -7))
    ended = asyncio.Event()
    service.add_termination_listener(lambda _: ended.set())
    assert await visible(admin, posting_id) == (0, 0)

    await admin.fetchval("SELECT pg_terminate_backend($1)", service.get_server_pid())
    await ended.wait()

    assert await visible(admin, posting_id) == (0, 0)


@pytest.mark.requirement("LED-2")
async def test_every_account_of_the_chart_exists(service: asyncpg.Connection) -> None:
    from payment_svc.domain.ledger import Account  # noqa: PLC0415

    assert {row["code"] for row in await service.fetch("SELECT code FROM account")} == set(Account)
