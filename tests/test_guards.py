"""The list of guards is the schemas' own, and what no service's tests violate is violated here by raw SQL."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from cli.servers.postgres import Postgres
from tests.support.books import reading
from tests.support.schemas import Schemas, make_database

DOCUMENT = Path(__file__).parents[1] / "docs" / "constraints.md"
LOG = "Event log and audit trail, in the schema of every service"
SECTIONS = {"donation": "Donation service", "payment": "Payment service", "aggregator": "Aggregator"}
GUARDS = """
SELECT conname AS name FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE connamespace = $1::text::regnamespace AND contype IN ('c', 'u', 'p', 'f', 't') AND NOT t.relispartition
UNION
SELECT tgname FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
WHERE t.relnamespace = $1::text::regnamespace AND NOT tgisinternal AND NOT t.relispartition
UNION
SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE i.relnamespace = $1::text::regnamespace AND x.indisunique AND NOT i.relispartition
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = x.indexrelid)
"""
# Columns of tables that are audited, and whether their trigger writes down what they held.
AUDITED = """
SELECT t.relname AS table, a.attname AS column,
       position(format('jsonb_build_object(%L, ', a.attname) IN pg_get_functiondef(g.tgfoid)) > 0 AS audited
FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid JOIN pg_attribute a ON a.attrelid = t.oid
WHERE t.relnamespace = $1::text::regnamespace AND g.tgname = 'audit_update' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY t.relname, a.attnum
"""
ONE = "'0190b4a2-0000-7000-8000-000000000001'::uuid"
TWICE = "FROM generate_series(1, 2)"
LETTER = "INSERT INTO dead_letter (consumer, event_id, event, state, reason, attempts)"
POSITION = "INSERT INTO relay (only_row, epoch, from_snapshot, to_snapshot, last_seq, day)"
CHECKPOINT = "INSERT INTO relay_checkpoint (ordinal, stream_created, stream_seq, epoch, snapshot, day)"
TOTALS = "INSERT INTO totals (campaign_id, currency, gross, refunded, disputed, donations, donors)"
BREAKER = "INSERT INTO breaker (only_row, held, reason, version, actor, correlation_id, update_time)"
APPLIED = "INSERT INTO applied (day, event_id, tx, epoch, "
REBUILD = "INSERT INTO rebuild (request_key, request_digest, reason, actor, correlation_id, create_time, done)"
ENTRY = "INSERT INTO audit (charity_id, reference_id, id, object, object_id, actor, correlation_id, reason)"
# schema → name of the guard → what it refuses
BY_STATEMENT = {
    "payment": {
        "account_kind_known": "INSERT INTO account VALUES ('petty_cash', 'hope', '')",
        "account_pkey": "INSERT INTO account VALUES ('bank', 'asset', '')",
        "posting_pkey": f"INSERT INTO posting (id, charity_id, kind, source) SELECT {ONE}, {ONE}, 'recorded', '' {TWICE}",
        "entry_pkey": f"""INSERT INTO entry (posting_id, line, account, currency, amount)
            SELECT {ONE}, 1, 'bank', 'USD', 1 {TWICE}""",
        "applied_pkey": f"{APPLIED} donation_id, posting_id, delta) SELECT now(), {ONE}, 1, 1, {ONE}, {ONE}, 1 {TWICE}",
        "breaker_only_row": f"{BREAKER} VALUES (false, false, '', 1, '', '', now())",
        "breaker_pkey": f"{BREAKER} VALUES (true, false, '', 1, '', '', now())",
        "breaker_version_positive": "UPDATE breaker SET version = 0",
        "breaker_held_has_reason": "UPDATE breaker SET held = true, actor = 'somebody'",
        "event_bucket_range": f"INSERT INTO event (epoch, id, bucket, payload) VALUES (1, {ONE}, 1024, '')",
        "event_pkey": f"INSERT INTO event (seq, epoch, id, bucket, payload) SELECT 1, 1, {ONE}, 0, '' {TWICE}",
        "relay_only_row": f"{POSITION} VALUES (false, 1, '3:3:', '3:3:', 0, now())",
        "relay_pkey": f"{POSITION} VALUES (true, 1, '3:3:', '3:3:', 0, now())",
        "relay_floors_form": "UPDATE relay SET floors = '[]'",
        "relay_checkpoint_pkey": f"{CHECKPOINT} SELECT 1, '', 0, 1, '3:3:', now() {TWICE}",
        "relay_checkpoint_ordinal_not_negative": f"{CHECKPOINT} VALUES (-1, '', 0, 1, '3:3:', now())",
        "epoch_pkey": "INSERT INTO epoch (epoch, system_identifier, reason) VALUES (1, '', '')",
        "dead_letter_state_known": f"{LETTER} VALUES ('c', {ONE}, '', 5, '', 1)",
        "dead_letter_attempts_positive": f"{LETTER} VALUES ('c', {ONE}, '', 1, '', 0)",
        "dead_letter_pkey": f"{LETTER} SELECT 'c', {ONE}, '', 1, '', 1 {TWICE}",
        "dead_letter_request_key": f"""{LETTER[:-1]}, request_key)
            SELECT 'c', gen_random_uuid(), '', 1, '', 1, {ONE} {TWICE}""",
        "schema_migration_pkey": "INSERT INTO schema_migration SELECT * FROM schema_migration",
        "audit_pkey": f"""ALTER TABLE audit DISABLE TRIGGER audit_written_by_triggers; {ENTRY} OVERRIDING SYSTEM VALUE
            SELECT {ONE}, {ONE}, 1, '', '', '', '', '' {TWICE}""",
        "audit_written_by_triggers": f"{ENTRY} OVERRIDING SYSTEM VALUE SELECT {ONE}, {ONE}, 1, '', '', '', '', ''",
        "audit_append_only": "UPDATE audit SET actor = 'eve'",
        "audit_truncate": "TRUNCATE payment CASCADE",
    },
    "aggregator": {
        "course_slot_whole": f"INSERT INTO course VALUES ({ONE}, '2026-01-01 00:07Z', 'USD', 0, 0, 0, 0)",
        "course_currency_form": f"INSERT INTO course VALUES ({ONE}, '2026-01-01Z', 'usd', 0, 0, 0, 0)",
        "course_gross_not_negative": f"INSERT INTO course VALUES ({ONE}, '2026-01-01Z', 'USD', -1, 0, 0, 0)",
        "course_donations_not_negative": f"INSERT INTO course VALUES ({ONE}, '2026-01-01Z', 'USD', 0, 0, 0, -1)",
        "course_pkey": f"INSERT INTO course SELECT {ONE}, '2026-01-01Z', 'USD', 0, 0, 0, 0 {TWICE}",
        "rebuild_pkey": f"{REBUILD} SELECT {ONE}, 1, '', '', '', now(), NULL {TWICE}",
        "rebuild_end_whole": f"{REBUILD} VALUES ({ONE}, 1, '', '', '', now(), 5)",
        "base_pkey": f"INSERT INTO base SELECT {ONE}, 1, '3:3:' {TWICE}",
        "base_totals_pkey": f"INSERT INTO base_totals SELECT {ONE}, 'USD', 0, 0, 0, 0 {TWICE}",
        "campaign_base": f"INSERT INTO campaign (id, version, as_of, base_id) VALUES ({ONE}, 1, now(), {ONE})",
        "staged_course_pkey": f"INSERT INTO staged_course SELECT {ONE}, {ONE}, '2026-01-01Z', 'USD', 0, 0, 0, 0 {TWICE}",
        "staged_donor_pkey": f"INSERT INTO staged_donor SELECT {ONE}, {ONE}, 'USD', {ONE} {TWICE}",
        "drift_pkey": f"INSERT INTO drift SELECT {ONE}, 'total', gen_random_uuid(), '', now() {TWICE}",
        "drift_cause_known": f"INSERT INTO drift VALUES ({ONE}, 'hope', {ONE}, '', now())",
        "drift_open": f"INSERT INTO drift SELECT gen_random_uuid(), 'total', {ONE}, '', now() {TWICE}",
        "verification_pkey": "INSERT INTO verification DEFAULT VALUES",
        "verification_only_row": "INSERT INTO verification (only_row) VALUES (false)",
        "applied_pkey": f"""{APPLIED} campaign_id, currency, gross, refunded, disputed, donations)
            SELECT now(), {ONE}, 1, 1, {ONE}, 'USD', 1, 0, 0, 1 {TWICE}""",
        "campaign_pkey": f"INSERT INTO campaign (id, version, as_of) SELECT {ONE}, 1, now() {TWICE}",
        "campaign_version_positive": f"INSERT INTO campaign (id, version, as_of) VALUES ({ONE}, 0, now())",
        "campaign_donor_pkey": f"INSERT INTO campaign_donor SELECT {ONE}, 'USD', {ONE} {TWICE}",
        "totals_pkey": f"{TOTALS} SELECT {ONE}, 'USD', 0, 0, 0, 0, 0 {TWICE}",
        "totals_currency_form": f"{TOTALS} VALUES ({ONE}, 'usd', 0, 0, 0, 0, 0)",
        "totals_gross_not_negative": f"{TOTALS} VALUES ({ONE}, 'USD', -1, 0, 0, 0, 0)",
        "totals_donations_not_negative": f"{TOTALS} VALUES ({ONE}, 'USD', 0, 0, 0, -1, 0)",
        "totals_donors_not_negative": f"{TOTALS} VALUES ({ONE}, 'USD', 0, 0, 0, 0, -1)",
    },
}


@pytest.fixture(scope="module")
async def schemas(postgres_server: Postgres) -> Schemas:
    return await make_database(postgres_server.dsn)


def listed(section: str) -> set[str]:
    """The names in the first column of a section's table."""
    text = re.split(r"^## ", DOCUMENT.read_text().split(f"## {section}\n")[1], flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| (`.*?`) \|", text, flags=re.MULTILINE)
    return set(re.findall(r"`(\w+)`", " ".join(rows)))


@pytest.mark.requirement("IDM-7")
@pytest.mark.parametrize("schema", SECTIONS)
async def test_the_list_of_guards_names_every_one_and_no_other(schemas: Schemas, schema: str) -> None:
    async with reading(schemas, schema) as connection:
        guards = {row["name"] for row in await connection.fetch(GUARDS, schema)}
    assert guards == listed(SECTIONS[schema]) | listed(LOG)


@pytest.mark.requirement("IDM-7")
@pytest.mark.parametrize(("schema", "name"), [(schema, name) for schema, names in BY_STATEMENT.items() for name in names])
async def test_raw_sql_past_a_guard_is_refused(schemas: Schemas, schema: str, name: str) -> None:
    async with reading(schemas, schema) as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
            await connection.execute(BY_STATEMENT[schema][name])
    # A partition's constraint is called like its parent's, with the day in between.
    assert re.sub(r"_\d{4}_\d\d_\d\d", "", str(caught.value.constraint_name)) == name


@pytest.mark.requirement("LED-5")
@pytest.mark.parametrize("schema", SECTIONS)
async def test_the_audited_tables_are_those_of_the_document_with_every_column_that_they_have(
    schemas: Schemas, schema: str
) -> None:
    async with reading(schemas, schema) as connection:
        columns = await connection.fetch(AUDITED, schema)
    assert {row["table"] for row in columns} == audited_by_document(schema)
    assert [f"{row['table']}.{row['column']}" for row in columns if not row["audited"]] == []


def audited_by_document(schema: str) -> set[str]:
    """The tables that the row of a service names."""
    rows = re.findall(r"^\| (\w+) \| (.*?) \|", (DOCUMENT.parent / "audit.md").read_text(), flags=re.MULTILINE)
    return {table for service, tables in rows if service == schema for table in re.findall(r"`(\w+)`", tables)}
