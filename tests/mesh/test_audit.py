"""The audit trail that the database writes: what of a table's changes stands in it, whoever makes them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from cli.servers.postgres import Postgres
from tests.support.schemas import Schemas, make_database

# A shelf of a charity, with things by their place in it.
THING = """
CREATE TABLE thing (
  charity_id uuid NOT NULL, shelf uuid NOT NULL, place integer NOT NULL, state smallint NOT NULL DEFAULT 1, code text,
  password text NOT NULL DEFAULT 'sesame', due timestamptz, version bigint NOT NULL DEFAULT 1, actor text NOT NULL,
  correlation_id text NOT NULL DEFAULT 'first call', PRIMARY KEY (shelf, place, charity_id));
GRANT SELECT, INSERT, UPDATE, DELETE ON thing TO donation_service;
SELECT audit_changes('thing', 'shelf', scheduling => '{due}', secret => '{password}');
"""
ROWS = "INSERT INTO thing (charity_id, shelf, place, actor) SELECT $1, $2, n, 'ann' FROM generate_series(1, 2) n"
CHARITY, SHELF = uuid4(), uuid4()
ENTRIES = """SELECT charity_id, reference_id, object, object_id, before, after, actor, correlation_id, reason, database_role
FROM audit ORDER BY id"""
SERVICE = "donation_service"
DEEDS = {
    "forge": """INSERT INTO audit (charity_id, reference_id, object, object_id, actor, correlation_id, reason)
        SELECT shelf, shelf, 'thing', '1', 'eve', '', '' FROM thing""",
    "change": "UPDATE audit SET actor = 'eve'",
    "delete": "DELETE FROM audit",
    "empty": "TRUNCATE audit",
    "empty what is audited": "TRUNCATE thing",
}


@pytest.fixture(scope="module")
async def schemas(postgres_server: Postgres) -> Schemas:
    return await make_database(postgres_server.dsn, "donation_svc")


@pytest.fixture
async def admin(schemas: Schemas) -> AsyncIterator[asyncpg.Connection]:
    """A superuser beside a table that its owner has had audited, with two rows; undone after the test."""
    connection = await asyncpg.connect(schemas.admin_dsn, server_settings={"search_path": "donation"})
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"SET LOCAL ROLE donation_owner; {THING} RESET ROLE")
    await connection.execute(ROWS, CHARITY, SHELF)
    yield connection
    await transaction.rollback()
    await connection.close()


async def entries(admin: asyncpg.Connection) -> list[dict[str, Any]]:
    """What was written, oldest first."""
    await admin.execute("RESET SESSION AUTHORIZATION")
    rows = [dict(row) for row in await admin.fetch(ENTRIES)]
    for row in rows:
        row |= {side: json.loads(row[side]) if row[side] else None for side in ("before", "after")}
    return rows


async def change(admin: asyncpg.Connection, statement: str, *, role: str = "postgres") -> None:
    """Executes a statement as if `role` had connected."""
    await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {role}")
    await admin.execute(statement)


async def attempt(admin: asyncpg.Connection, statement: str, *, role: str = "postgres") -> None:
    """The same in a transaction of its own, so that the test goes on after a refusal."""
    async with admin.transaction():
        await change(admin, statement, role=role)


@pytest.mark.requirement("LED-5")
@pytest.mark.parametrize("role", ["postgres", "donation_owner", SERVICE])
async def test_whoever_changes_a_row_leaves_an_entry_of_what_changed(admin: asyncpg.Connection, role: str) -> None:
    await change(admin, "UPDATE thing SET state = 2, code = 'sold' WHERE place = 1", role=role)
    (entry,) = await entries(admin)
    assert entry == {
        "charity_id": CHARITY,
        "reference_id": SHELF,
        "object": "thing",
        "object_id": f"{SHELF}/1",
        "before": {"state": 1, "code": None},
        "after": {"state": 2, "code": "sold"},
        # Only the service's statements always say who acts: of anybody else the row's last actor must not be blamed.
        "actor": "ann" if role == SERVICE else "",
        "correlation_id": "first call" if role == SERVICE else "",
        "reason": "",
        "database_role": role,
    }


@pytest.mark.requirement("LED-5")
async def test_who_changes_a_row_by_hand_may_say_who_why_and_in_which_call(admin: asyncpg.Connection) -> None:
    await admin.execute("SET LOCAL audit.reason = 'ticket 7'")
    await change(admin, "UPDATE thing SET state = 2, actor = 'bob', correlation_id = 'by hand' WHERE place = 1")
    await change(admin, "UPDATE thing SET state = 3 WHERE place = 1")
    said = [(entry["actor"], entry["correlation_id"], entry["reason"]) for entry in await entries(admin)]
    assert said == [("bob", "by hand", "ticket 7"), ("", "", "ticket 7")]


@pytest.mark.requirement("LED-5")
async def test_a_session_that_says_it_replicates_leaves_an_entry_too(admin: asyncpg.Connection) -> None:
    await admin.execute("SET LOCAL session_replication_role = replica")
    await admin.execute("UPDATE thing SET state = 2 WHERE place = 1; DELETE FROM thing WHERE place = 2")
    assert [entry["object_id"] for entry in await entries(admin)] == [f"{SHELF}/1", f"{SHELF}/2"]


@pytest.mark.requirement("LED-5")
async def test_a_statement_over_many_rows_writes_all_their_entries_at_once(admin: asyncpg.Connection) -> None:
    await admin.execute("""
        INSERT INTO thing (charity_id, shelf, place, actor)
        SELECT charity_id, shelf, n, actor FROM thing, generate_series(3, 99) n WHERE place = 1;
        CREATE TEMP TABLE written (rows bigint);
        CREATE FUNCTION pg_temp.count_rows() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN INSERT INTO pg_temp.written SELECT count(*) FROM rows; RETURN NULL; END';
        CREATE TRIGGER counted AFTER INSERT ON audit REFERENCING NEW TABLE AS rows
        FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.count_rows();
        GRANT ALL ON pg_temp.written TO donation_owner;""")
    await change(admin, "UPDATE thing SET state = state + place % 2", role=SERVICE)
    found = await entries(admin)
    assert [row["rows"] for row in await admin.fetch("SELECT rows FROM pg_temp.written")] == [50]
    assert {entry["object_id"] for entry in found} == {f"{SHELF}/{place}" for place in range(1, 100, 2)}


@pytest.mark.requirement("LED-5")
async def test_a_deleted_row_stands_whole_in_its_entry_and_blames_nobody(admin: asyncpg.Connection) -> None:
    await change(admin, "DELETE FROM thing WHERE place = 2", role=SERVICE)
    (entry,) = await entries(admin)
    assert (entry["after"], entry["actor"], entry["database_role"]) == (None, "", SERVICE)
    assert entry["before"] == {
        "charity_id": str(CHARITY), "shelf": str(SHELF), "place": 2, "state": 1, "code": None, "password": None, "due": None,
        "version": 1, "actor": "ann", "correlation_id": "first call",
    }  # fmt: skip


@pytest.mark.requirement("LED-5")
async def test_a_row_that_gets_another_key_is_gone_under_the_one_and_appears_under_the_other(
    admin: asyncpg.Connection,
) -> None:
    await change(admin, "UPDATE thing SET place = 7 WHERE place = 2", role=SERVICE)
    halves = {entry["object_id"]: (entry["before"], entry["after"]) for entry in await entries(admin)}
    gone, come = halves[f"{SHELF}/2"], halves[f"{SHELF}/7"]
    assert (gone[1], come[0]) == (None, None)
    assert gone[0] | {"place": 7} == come[1]
    assert come[1]["password"] is None


@pytest.mark.requirement("LED-5")
@pytest.mark.parametrize("role", ["postgres", SERVICE])
async def test_a_secret_never_stands_in_the_trail_only_that_it_changed(admin: asyncpg.Connection, role: str) -> None:
    await change(admin, "UPDATE thing SET password = 'pst' WHERE place = 1", role=role)
    await change(admin, "DELETE FROM thing", role=role)
    found = await entries(admin)
    assert (found[0]["before"], found[0]["after"]) == ({"password": None}, {"password": None})
    assert not {"sesame", "pst"} & set(json.dumps(found, default=str).split('"'))


@pytest.mark.requirement("LED-5")
async def test_when_something_is_due_is_no_news_of_the_service_by_itself(admin: asyncpg.Connection) -> None:
    await change(admin, "UPDATE thing SET due = now(), version = version + 1", role=SERVICE)
    await change(admin, "UPDATE thing SET state = state, actor = actor", role=SERVICE)
    assert await entries(admin) == []
    await change(admin, "UPDATE thing SET due = NULL, version = 5, state = 2 WHERE place = 1", role=SERVICE)
    # Whoever comes by hand leaves an entry of that too.
    await change(admin, "UPDATE thing SET version = 6 WHERE place = 1")
    await change(admin, "UPDATE thing SET version = version")
    assert [sorted(entry["after"]) for entry in await entries(admin)] == [["due", "state", "version"], ["version"]]


@pytest.mark.requirement("LED-5")
@pytest.mark.parametrize("role", ["postgres", "donation_owner", SERVICE])
@pytest.mark.parametrize("deed", DEEDS)
async def test_nobody_adds_to_the_trail_or_takes_from_it_by_hand(admin: asyncpg.Connection, role: str, deed: str) -> None:
    await change(admin, "UPDATE thing SET state = 2 WHERE place = 1")
    refusal = asyncpg.InsufficientPrivilegeError if role == SERVICE else asyncpg.RestrictViolationError
    with pytest.raises(refusal):
        await attempt(admin, DEEDS[deed], role=role)
    assert [entry["actor"] for entry in await entries(admin)] == [""]


@pytest.mark.requirement("LED-5")
async def test_the_service_cannot_put_the_writer_on_a_table_of_its_own(admin: asyncpg.Connection) -> None:
    await change(admin, "CREATE TEMP TABLE mine (LIKE donation.thing)", role=SERVICE)
    trigger = """CREATE TRIGGER forge AFTER UPDATE ON mine REFERENCING OLD TABLE AS old_row NEW TABLE AS new_row
        FOR EACH STATEMENT EXECUTE FUNCTION donation.audit_thing()"""
    for statement in (trigger, "SELECT audit_changes('mine', 'shelf')"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for function"):
            await attempt(admin, statement, role=SERVICE)


@pytest.mark.requirement("LED-5")
async def test_a_column_that_comes_later_is_audited_when_it_is_asked_for_again(admin: asyncpg.Connection) -> None:
    await admin.execute("ALTER TABLE thing ADD COLUMN colour text")
    await admin.execute("UPDATE thing SET colour = 'red' WHERE place = 1")
    await admin.execute("SELECT audit_changes('thing', 'shelf')")
    await admin.execute("UPDATE thing SET colour = 'blue' WHERE place = 1")
    found = [(entry["before"], entry["after"]) for entry in await entries(admin)]
    # Before it is, a change by hand still leaves an entry, which shows nothing.
    assert found == [({}, {}), ({"colour": "red"}, {"colour": "blue"})]


@pytest.mark.requirement("LED-5")
@pytest.mark.parametrize(
    "wrong", ["secret => '{pasword}'", "scheduling => '{do}'", "tenant => 'charity'", "reference => 'shelves'"]
)
async def test_a_column_that_is_misspelt_is_refused(admin: asyncpg.Connection, wrong: str) -> None:
    reference = "" if wrong.startswith("reference") else "reference => 'shelf', "
    with pytest.raises(asyncpg.RaiseError, match="has no such columns"):
        await attempt(admin, f"SELECT audit_changes(audited => 'thing', {reference}{wrong})")


@pytest.mark.requirement("LED-5")
async def test_what_belongs_to_nothing_and_nobody_is_written_down_too(admin: asyncpg.Connection) -> None:
    await admin.execute("CREATE TABLE loose (id text PRIMARY KEY, payment_id uuid, note text)")
    await admin.execute("SELECT audit_changes('loose', 'payment_id', tenant => '')")
    await admin.execute("INSERT INTO loose VALUES ('txn_1'); UPDATE loose SET note = 'found'")
    (entry,) = await entries(admin)
    nobody = UUID(int=0)
    assert (entry["charity_id"], entry["reference_id"], entry["object_id"]) == (nobody, nobody, "txn_1")
