"""What is asked many times a second, or in the middle of money's moves, reads no table that grows from end to end."""

from __future__ import annotations

import re

import asyncpg
import pytest

from mesh.ids import new_id, new_tenant_id
from mesh.postgres import load_queries
from tests.payment.test_payment_guards import PAYMENT
from tests.support.plans import grown, plan

QUERIES = load_queries("payment_svc")
# One posting with an entry in each day that there is.
_ALL_DAYS = """
WITH days AS (
  SELECT (now() AT TIME ZONE 'utc')::date + ahead AS day, gen_random_uuid() AS id FROM generate_series(-1, 7) AS ahead
), posted AS (
  INSERT INTO posting (day, id, charity_id, campaign_id, kind, source, payment_id)
  SELECT day, id, id, id, 'captured', 'test', id FROM days
)
INSERT INTO entry (day, posting_id, line, account, currency, amount)
SELECT day, id, 1, 'campaign_payable', 'USD', -1 FROM days
"""
_BOUND = "SELECT prosrc FROM pg_proc WHERE proname = 'demand_bounded_reversal' AND pronamespace = 'payment'::regnamespace"


@pytest.mark.requirement("INT-7", "PAY-11")
@pytest.mark.parametrize(
    ("name", "parameters", "index"), [("claim_due", 3, "payment_due"), ("open_payments", 4, "payment_open")]
)
async def test_what_is_open_is_found_by_its_index(admin: asyncpg.Connection, name: str, parameters: int, index: str) -> None:
    charity = new_tenant_id()
    async with grown(admin, "payment") as connection:
        await connection.execute(PAYMENT, new_id(tenant_id=charity), charity, new_id(tenant_id=charity))
        found = await plan(connection, QUERIES[name], parameters=parameters)
    assert index in found
    assert not reads_more(found)


@pytest.mark.requirement("LED-2")
async def test_what_a_payment_took_is_found_without_reading_the_days_before(admin: asyncpg.Connection) -> None:
    # Small days: reading them one by one until the first posting is found seems cheap then.
    async with grown(admin, "payment", rows=1000) as connection:
        await _fill_all_days(connection)
        found = await plan(connection, QUERIES["captured_posting"], parameters=1)
    assert "payment_id_idx" in found
    assert "_pkey" not in found


@pytest.mark.requirement("LED-2", "PAY-5")
async def test_a_reversal_is_bounded_without_reading_the_ledger(admin: asyncpg.Connection) -> None:
    async with grown(admin, "payment") as connection:
        await _fill_all_days(connection)
        (statement,) = re.findall("SELECT.*?;", await connection.fetchval(_BOUND), flags=re.DOTALL)
        statement = statement.replace("INTO captured, owed", "").replace("NEW.payment_id", "$1")
        found = await plan(connection, statement, parameters=1)
    assert "payment_id_idx" in found
    assert not reads_more(found)


@pytest.mark.requirement("LED-2")
async def test_the_entries_of_one_payment_are_found_without_reading_the_ledger(admin: asyncpg.Connection) -> None:
    async with grown(admin, "payment") as connection:
        await _fill_all_days(connection)
        found = await plan(connection, QUERIES["entries_of_reference"], parameters=1)
    assert "payment_id_idx" in found
    assert not re.search("Seq Scan on (posting|entry)|(Hash|Merge) Join", found)


def reads_more(plan: str) -> bool:
    """Whether more is read than rows by their keys: a join is planned for as many rows as there may be, not as there are."""
    return bool(re.search("Seq Scan|Nested Loop|Join", plan))


async def _fill_all_days(connection: asyncpg.Connection) -> None:
    await connection.execute("SET LOCAL session_replication_role = replica")
    await connection.execute(_ALL_DAYS)
    await connection.execute("SET LOCAL session_replication_role = origin")
