"""What the database itself refuses about payments, attempts and webhooks, by raw SQL past every line of code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from mesh.ids import new_id, new_tenant_id

PAYMENT = """
INSERT INTO payment (id, charity_id, campaign_id, donation_id, request_digest, state, currency, amount, manual_capture,
  provider_id, canceled, version, actor, correlation_id, create_time, update_time)
VALUES ($1, $2, $1, $3::uuid, 1, 3, 'USD', 2500, false, 'pi_' || $3::uuid, false, 1, 'test', '', now(), now())
"""
CHARGE = """
INSERT INTO attempt (id, charity_id, payment_id, kind, outcome, object_id, captured, create_time)
VALUES ('0190b4a2-0000-7000-8000-000000000001', $2, $1, 2, 2, 'ch_first', 2500, now())
"""
# The payment or the charge once more, with other values of some columns.
AGAIN = """
INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(t) || jsonb_build_object({changed}))).*
FROM {table} t WHERE {column} = $1 AND charity_id = $2
"""
# Keeps the last digits, in which the bucket is.
OTHER_ID = "'id', overlay(gen_random_uuid()::text PLACING right(t.id::text, 12) FROM 25)"
OTHER_DONATION = "'donation_id', gen_random_uuid()"
OTHER_INTENT = "'provider_id', 'pi_another'"
OTHER_ATTEMPT = "'id', gen_random_uuid()"
EVENT = """INSERT INTO provider_event
    (event_id, type, intent_id, state, next_attempt_time, body, signature, provider_time, create_time, update_time)
    SELECT $1::uuid::text || $2::uuid, '', '', {state}, NULL, '', '{signature}', now(), now(), now()
    FROM generate_series(1, {copies})"""
CHECKPOINT = "INSERT INTO checkpoint (name, cursor, holder) SELECT $1::uuid::text || $2::uuid, '{cursor}', '{holder}'"


def event(*, state: int, signature: str = "signed", copies: int = 1) -> str:
    return EVENT.format(state=state, signature=signature, copies=copies)


def payment_again(changed: str) -> str:
    return AGAIN.format(table="payment", column="id", changed=changed)


def charge_again(changed: str) -> str:
    return AGAIN.format(table="attempt", column="payment_id", changed=changed)


def payment_with(values: str) -> str:
    return f"UPDATE payment SET {values} WHERE id = $1 AND charity_id = $2"


def charge_with(values: str) -> str:
    return f"UPDATE attempt SET {values} WHERE payment_id = $1 AND charity_id = $2"


def calls(kind: int) -> str:
    """Two calls of ours of one kind."""
    return f"""INSERT INTO attempt (id, charity_id, payment_id, kind, outcome, create_time)
        SELECT gen_random_uuid(), $2, $1, {kind}, 1, now() FROM generate_series(1, 2)"""


def moves(kind: int, *, outcome: int = 1) -> str:
    """Two captures, or two refunds of the same wish."""
    return f"""INSERT INTO attempt (id, charity_id, payment_id, kind, outcome, amount, request_key, create_time)
        SELECT gen_random_uuid(), $2, $1, {kind}, {outcome}, 1, CASE WHEN {kind} = 5 THEN $1::uuid END, now()
        FROM generate_series(1, 2)"""


def dispute(*, payment: str = "$1", state: int = 3, amount: int = 1, withdrawals: int = 0, copies: int = 1) -> str:
    return f"""INSERT INTO dispute (provider_id, charity_id, payment_id, state, amount, withdrawals, reinstatements, reason,
                                    actor, correlation_id, create_time, update_time)
        SELECT 'dp_of_' || $1::uuid, $2, {payment}, {state}, {amount}, {withdrawals}, 0, 'fraudulent', 'test', '',
               now(), now()
        FROM generate_series(1, {copies})"""


# Name of the guard → what it refuses, beside a payment of 2,500 that has an intent and one charge, which succeeded.
BY_STATEMENT = {
    "payment_pkey": payment_again(f"{OTHER_DONATION}, {OTHER_INTENT}"),
    "payment_donation_key": payment_again(f"{OTHER_ID}, {OTHER_INTENT}"),
    "payment_provider_key": payment_again(f"{OTHER_ID}, {OTHER_DONATION}"),
    "payment_state_known": payment_with("state = 14"),
    "payment_currency_form": payment_with("currency = 'usd'"),
    "payment_amount_range": payment_with("amount = 100000000"),
    "payment_version_positive": payment_with("version = 0"),
    "payment_bucket": payment_with("id = encode(set_byte(uuid_send(id), 15, get_byte(uuid_send(id), 15) # 1), 'hex')::uuid"),
    "payment_captured_bounded": payment_with("captured = 2501"),
    "payment_returns_bounded": payment_with("captured = 2500, refunded = 2000, disputed = 501"),
    "payment_captured_at_provider": payment_with("captured = 2500, provider_id = NULL"),
    "payment_progress_whole": payment_with("progress_second = 1"),
    "attempt_pkey": charge_again("'object_id', 'ch_second', 'outcome', 3"),
    "attempt_payment": charge_with("payment_id = gen_random_uuid()"),
    "attempt_object_key": charge_again(f"{OTHER_ATTEMPT}, 'outcome', 3"),
    "attempt_one_success": charge_again(f"{OTHER_ATTEMPT}, 'object_id', 'ch_second'"),
    "attempt_one_intent": calls(1),
    "attempt_one_cancel": calls(3),
    "attempt_kind_known": charge_with("kind = 6, object_id = NULL"),
    "attempt_outcome_known": charge_with("outcome = 5"),
    "attempt_captured_not_negative": charge_with("captured = -1"),
    "attempt_object_named": charge_with("object_id = NULL"),
    "attempt_amount_of_moves": charge_with("amount = 1"),
    "attempt_request_key": moves(5, outcome=3),
    "attempt_one_capture": moves(4),
    "payment_lost_bounded": payment_with("captured = 2500, disputed = 100, lost = 101"),
    "payment_said_whole": payment_with("said_second = 1"),
    "dispute_pkey": dispute(copies=2),
    "dispute_payment": dispute(payment="gen_random_uuid()"),
    "dispute_state_known": dispute(state=6),
    "dispute_amount_positive": dispute(amount=0),
    "dispute_moves_not_negative": dispute(withdrawals=-1),
    "provider_event_pkey": event(state=1, copies=2),
    "provider_event_state_known": event(state=5),
    "provider_event_parked_is_due": event(state=2),
    "provider_event_delivered_is_signed": event(state=1, signature=""),
    "provider_event_skipped_has_reason": event(state=4),
    "checkpoint_pkey": "INSERT INTO checkpoint (name) SELECT $1::uuid::text || $2::uuid FROM generate_series(1, 2)",
    "checkpoint_walk_whole": CHECKPOINT.format(cursor="evt_1", holder=""),
    "checkpoint_lease_whole": CHECKPOINT.format(cursor="", holder="test"),
    "posting_of_payment": "INSERT INTO posting (id, charity_id, kind, source) VALUES ($1, $2, 'captured', 'test')",
    "posting_reversal_linked": """INSERT INTO posting (id, charity_id, kind, payment_id, source)
        VALUES ($1, $2, 'refunded', $1, 'test')""",
}


@pytest.fixture
async def payment(admin: asyncpg.Connection) -> AsyncIterator[tuple[UUID, UUID]]:
    """A payment and its charity, undone after the test."""
    charity_id = new_tenant_id()
    payment_id, donation_id = new_id(tenant_id=charity_id), new_id(tenant_id=charity_id)
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute(PAYMENT, payment_id, charity_id, donation_id)
    await admin.execute(CHARGE, payment_id, charity_id)
    yield payment_id, charity_id
    await transaction.rollback()


@pytest.mark.requirement("IDM-7", "PAY-1")
@pytest.mark.parametrize("name", BY_STATEMENT)
async def test_raw_sql_past_a_guard_of_payments_is_refused(
    admin: asyncpg.Connection, payment: tuple[UUID, UUID], name: str
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await admin.execute(BY_STATEMENT[name], *payment)
    assert caught.value.constraint_name == name


@pytest.mark.requirement("IDM-7", "LED-2")
@pytest.mark.parametrize("kind", ["excess_taken", "excess_returned"])
async def test_what_goes_beyond_what_was_taken_is_linked_to_what_was(
    admin: asyncpg.Connection, payment: tuple[UUID, UUID], kind: str
) -> None:
    statement = "INSERT INTO posting (id, charity_id, kind, payment_id, source) VALUES ($1, $2, $3, $1, 'test')"
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
        await admin.execute(statement, *payment, kind)
    assert caught.value.constraint_name == "posting_reversal_linked"


@pytest.mark.requirement("IDM-7", "HKI-5")
async def test_the_service_makes_no_checkpoint_and_deletes_none(service: asyncpg.Connection) -> None:
    for statement in ("INSERT INTO checkpoint (name) VALUES ('another')", "DELETE FROM checkpoint", "TRUNCATE checkpoint"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(statement)


@pytest.mark.requirement("IDM-7", "LED-2")
@pytest.mark.parametrize("table", ["payment", "attempt", "dispute", "command", "provider_event", "breaker"])
async def test_the_service_deletes_no_payment_no_attempt_no_webhook_and_no_decision(
    service: asyncpg.Connection, table: str
) -> None:
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await service.execute(statement)
