"""Every constraint that guards money, violated by raw SQL past all code: the database refuses each."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from mesh.idempotency import request_key
from mesh.ids import bucket_of, new_id, new_tenant_id
from tests.support.books import reading
from tests.support.giving import Cause, gift, reversal
from tests.support.mesh import Mesh, fresh_key

# name of the constraint → what breaks it, as SQL over the row of a recorded donation of 100 with 10 taken back
BY_UPDATE = {
    "donation_amount_range": "UPDATE donation SET amount = 0, gross = 0, refunded = 0 WHERE id = $1",
    "donation_gross_bounded": "UPDATE donation SET gross = 101 WHERE id = $1",
    "donation_gross_whole": "UPDATE donation SET gross = 99, manual_capture = true WHERE id = $1",
    "donation_hold_awaits": "UPDATE donation SET hold_end_time = now() WHERE id = $1",
    "donation_returns_bounded": "UPDATE donation SET refunded = 60, disputed = 41 WHERE id = $1",
    "donation_state_known": "UPDATE donation SET state = 99 WHERE id = $1",
    "donation_origin_known": "UPDATE donation SET origin = 9 WHERE id = $1",
    "donation_currency_form": "UPDATE donation SET currency = 'usd' WHERE id = $1",
    "donation_version_positive": "UPDATE donation SET version = 0 WHERE id = $1",
    "donation_recorded_fence": "UPDATE donation SET payment_ref = 'another' WHERE id = $1",
    "donation_bucket": """UPDATE donation
        SET id = encode(set_byte(uuid_send(id), 15, get_byte(uuid_send(id), 15) # 1), 'hex')::uuid WHERE id = $1""",
    "donation_fee_cover_bounded": "UPDATE donation SET fee_cover = 101 WHERE id = $1",
    "donation_retryable_failed": "UPDATE donation SET retryable = true WHERE id = $1",
    "donation_open_has_next_attempt": "UPDATE donation SET next_attempt_time = now() WHERE id = $1",
    "donation_unsettled_counts_nothing": "UPDATE donation SET state = 5 WHERE id = $1",
    "reversal_amount_positive": "UPDATE reversal SET amount = 0 WHERE donation_id = $1",
    "reversal_currency_form": "UPDATE reversal SET currency = 'usd' WHERE donation_id = $1",
    "reversal_fence": "UPDATE reversal SET refund_ref = 'another' WHERE donation_id = $1",
    "reversal_donation": "UPDATE reversal SET donation_id = gen_random_uuid() WHERE donation_id = $1",
}
AGAIN = """
INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(t) || $2::jsonb)).*
FROM {table} t WHERE {column} = $1 LIMIT 1
"""


@pytest.fixture
async def donation_id(mesh: Mesh, cause: Cause) -> UUID:
    request = gift(cause.campaign_id, 100)
    donation = (await mesh.donations.RecordDonation(request)).donation
    await mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, request.payment_ref, 10))
    return UUID(donation.donation_id)


async def violated(mesh: Mesh, statement: str, *arguments: Any) -> str:
    """The name of the constraint that refuses a statement of the administrator."""
    async with reading(mesh.schemas, "donation") as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
            await connection.execute(statement, *arguments)
    return str(caught.value.constraint_name)


@pytest.mark.requirement("IDM-7")
@pytest.mark.parametrize("name", BY_UPDATE)
async def test_a_raw_update_past_a_guard_is_refused(mesh: Mesh, donation_id: UUID, name: str) -> None:
    assert await violated(mesh, BY_UPDATE[name], donation_id) == name


@pytest.mark.requirement("IDM-7", "INT-3", "SCL-3")
async def test_a_raw_second_row_under_one_fence_is_refused(mesh: Mesh, donation_id: UUID) -> None:
    async with reading(mesh.schemas, "donation") as connection:
        charity_id = await connection.fetchval("SELECT charity_id FROM donation WHERE id = $1", donation_id)
    other = f'{{"id": "{new_id(tenant_id=charity_id)}"}}'

    again = AGAIN.format(table="donation", column="id")
    assert await violated(mesh, again, donation_id, "{}") == "donation_pkey"
    assert await violated(mesh, again, donation_id, other) == "donation_request_key"
    reversal_again = AGAIN.format(table="reversal", column="donation_id")
    assert await violated(mesh, reversal_again, donation_id, "{}") == "reversal_pkey"
    assert await violated(mesh, reversal_again, donation_id, other) == "reversal_request_key"


@pytest.mark.requirement("IDM-7")
async def test_raw_personal_data_past_its_guards_is_refused(mesh: Mesh, donation_id: UUID) -> None:
    async with reading(mesh.schemas, "donation") as connection:
        charity_id = await connection.fetchval("SELECT charity_id FROM donation WHERE id = $1", donation_id)
    personal = "INSERT INTO personal SELECT $1::uuid, $2::uuid, $1::uuid, ''::bytea FROM generate_series(1, $3::int)"
    key = "INSERT INTO donor_key SELECT $1::uuid, ''::bytea, now() FROM generate_series(1, 2)"

    assert await violated(mesh, personal, donation_id, charity_id, 2) == "personal_pkey"
    assert await violated(mesh, personal, new_id(tenant_id=charity_id), charity_id, 1) == "personal_donation"
    assert await violated(mesh, key, donation_id) == "donor_key_pkey"


@pytest.mark.requirement("IDM-7")
async def test_raw_campaigns_and_charities_past_their_guards_are_refused(mesh: Mesh, cause: Cause) -> None:
    campaign = UUID(cause.campaign_id)
    by_update = {
        "campaign_state_known": "UPDATE campaign SET state = 9 WHERE id = $1",
        "campaign_version_positive": "UPDATE campaign SET version = 0 WHERE id = $1",
        "campaign_currency_bounds": "UPDATE campaign_currency SET minor_units_min = 0 WHERE campaign_id = $1",
        "campaign_currency_form": "UPDATE campaign_currency SET currency = 'us' WHERE campaign_id = $1",
        "campaign_currency_goal_positive": "UPDATE campaign_currency SET goal = 0 WHERE campaign_id = $1",
    }
    for name, statement in by_update.items():
        assert await violated(mesh, statement, campaign) == name
    other = f'{{"id": "{new_id(tenant_id=UUID(cause.charity_id))}"}}'
    again = AGAIN.format(table="campaign", column="id")
    assert await violated(mesh, again, campaign, other) == "campaign_request_key"
    stray = f'{{"charity_id": "{new_tenant_id()}"}}'
    assert await violated(mesh, again, campaign, stray) in {"campaign_bucket", "campaign_charity"}


@pytest.mark.requirement("IDM-7")
async def test_a_raw_second_charity_or_command_under_one_fence_is_refused(mesh: Mesh, cause: Cause) -> None:
    charity = UUID(cause.charity_id)
    other = f'{{"id": "{new_tenant_id()}"}}'

    assert await violated(mesh, AGAIN.format(table="charity", column="id"), charity, other) == "charity_request_key"
    assert await violated(mesh, AGAIN.format(table="command", column="charity_id"), charity, "{}") == "command_pkey"
    for name, statement in {
        "charity_state_known": "UPDATE charity SET state = 9 WHERE id = $1",
        "charity_mode_known": "UPDATE charity SET mode = 9 WHERE id = $1",
        "charity_currency_form": "UPDATE charity SET default_currency = 'us' WHERE id = $1",
        "charity_version_positive": "UPDATE charity SET version = 0 WHERE id = $1",
    }.items():
        assert await violated(mesh, statement, charity) == name


@pytest.mark.requirement("LED-2")
async def test_the_service_role_cannot_rewrite_what_is_append_only(mesh: Mesh) -> None:
    async with reading(mesh.schemas, "donation", role="service") as connection:
        for table in ("event", "reversal", "command", "donor_key", "personal", "audit"):
            for statement in (f"UPDATE {table} SET create_time = now()", f"DELETE FROM {table}"):
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedColumnError)):
                    await connection.execute(statement)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"DELETE FROM {table}")


@pytest.mark.requirement("IDM-4")
async def test_the_database_and_the_code_make_the_same_fence(mesh: Mesh) -> None:
    charity = new_tenant_id()
    for key in ("order-1", fresh_key(), "~" * 255):
        async with reading(mesh.schemas, "donation") as connection:
            theirs = await connection.fetchval("SELECT fence('caller', 'RecordDonation', $1, $2)", charity, key)
        assert theirs == request_key(caller="caller", method="RecordDonation", tenant_id=str(charity), key=key)


@pytest.mark.requirement("SCL-3")
async def test_every_unique_key_of_money_contains_the_charity(mesh: Mesh) -> None:
    async with reading(mesh.schemas, "donation") as connection:
        rows = await connection.fetch(
            """SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
            FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
            WHERE t.relnamespace = 'donation'::regnamespace AND i.indisunique
              AND t.relname IN ('donation', 'reversal', 'campaign', 'campaign_currency', 'command', 'audit')"""
        )
    assert rows
    assert [row["name"] for row in rows if "charity_id" not in row["definition"]] == []


@pytest.mark.requirement("SCL-3")
async def test_everything_of_a_charity_carries_its_bucket(mesh: Mesh, donation_id: UUID) -> None:
    async with reading(mesh.schemas, "donation") as connection:
        row = await connection.fetchrow(
            """SELECT d.id, d.charity_id, d.campaign_id, r.id AS reversal_id FROM donation d
            JOIN reversal r ON r.donation_id = d.id WHERE d.id = $1""",
            donation_id,
        )
        buckets = await connection.fetch("SELECT DISTINCT bucket FROM event WHERE bucket = $1", bucket_of(donation_id))
    assert len({bucket_of(some_id) for some_id in row}) == 1
    assert [record["bucket"] for record in buckets] == [bucket_of(donation_id)]


@pytest.mark.requirement("SCL-3")
async def test_only_append_only_tables_are_partitioned_by_time(mesh: Mesh) -> None:
    async with reading(mesh.schemas, "donation") as connection:
        rows = await connection.fetch(
            """SELECT relnamespace::regnamespace::text || '.' || relname AS name FROM pg_class
            WHERE relkind = 'p' AND relnamespace::regnamespace::text IN ('donation', 'payment', 'aggregator')"""
        )
    assert {row["name"] for row in rows} == {
        "donation.event", "payment.event", "payment.posting", "payment.entry", "payment.applied",
        "aggregator.event", "aggregator.applied",
    }  # fmt: skip


COPIES = """
INSERT INTO donation
SELECT copy.* FROM donation d, generate_series(1, $2::integer) AS number, LATERAL jsonb_populate_record(NULL::donation,
    to_jsonb(d) || jsonb_build_object(
      'id', overlay(gen_random_uuid()::text PLACING right(d.id::text, 12) FROM 25),
      'request_key', gen_random_uuid(), 'origin', 1, 'payment_ref', NULL, 'version', number)) AS copy
WHERE d.id = $1
"""
# A UUID and a bigint of each row.
COLUMNS_BYTES = 16 + 8
KEY_BYTES_MAX = 100


@pytest.mark.requirement("IDM-4")
async def test_a_key_that_is_kept_for_ever_costs_less_than_a_hundred_bytes(mesh: Mesh, donation_id: UUID) -> None:
    async with reading(mesh.schemas, "donation") as connection:
        transaction = connection.transaction()
        await transaction.start()
        before = await connection.fetchval("SELECT pg_relation_size('donation_request_key')")
        await connection.execute(COPIES, donation_id, 20_000)
        grown = await connection.fetchval("SELECT pg_relation_size('donation_request_key')") - before
        await transaction.rollback()
    print(f"{grown / 20_000 + COLUMNS_BYTES:.0f} bytes a key")  # noqa: T201 - the figure
    assert grown / 20_000 + COLUMNS_BYTES <= KEY_BYTES_MAX
