"""The database: every wait bounded, every error of the driver a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cli.servers.postgres import Postgres
from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.postgres import BOUNDS, RETRIES_MAX, Database, fetch_one, load_queries, open_database
from mesh.process import StartRefused
from tests.support.log import Log
from tests.support.schemas import Schemas, make_database
from tests.support.waiting import until


@pytest.fixture
async def schemas(postgres_server: Postgres) -> Schemas:
    schemas = await make_database(postgres_server.dsn, "donation_svc")
    admin = await asyncpg.connect(schemas.admin_dsn)
    await admin.execute("CREATE TABLE donation.account (name text PRIMARY KEY, units int NOT NULL)")
    await admin.execute("INSERT INTO donation.account VALUES ('a', 0), ('b', 0)")
    await admin.execute("GRANT SELECT, INSERT, UPDATE ON donation.account TO donation_service")
    await admin.close()
    return schemas


@pytest.fixture
async def database(schemas: Schemas) -> AsyncIterator[Database]:
    async with open_database(schemas.dsn("donation"), schema="donation", pool_max=4, application="test") as database:
        yield database


RAISE = "UPDATE account SET units = units + 1 WHERE name = $1"


# Errors become refusals


async def test_a_row_that_another_holds_for_too_long_is_a_request_in_flight(database: Database) -> None:
    async with database.transaction() as holder:
        await holder.execute(RAISE, "a")
        with pytest.raises(RequestInFlight) as caught:
            async with database.transaction() as other:
                await other.execute("SET LOCAL lock_timeout = '1ms'")
                await other.execute(RAISE, "a")
    assert caught.value.retry_after_s


async def test_a_backend_that_was_killed_is_an_unavailable_dependency(database: Database) -> None:
    with pytest.raises(DependencyUnavailable) as caught:
        async with database.transaction() as victim:
            pid = victim.get_server_pid()
            async with database.connection() as other:
                # Its own role may end it.
                await other.execute("SELECT pg_terminate_backend($1)", pid)
            await victim.execute(RAISE, "a")
    assert caught.value.metadata == {"dependency": "postgres"}
    await database.ping()


async def test_a_statement_that_takes_too_long_is_an_unavailable_dependency(database: Database) -> None:
    with pytest.raises(DependencyUnavailable):
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL statement_timeout = '1ms'")
            await connection.execute("SELECT pg_sleep(60)")


async def test_a_pool_without_a_free_connection_is_an_unavailable_dependency(schemas: Schemas) -> None:
    async with (
        open_database(schemas.dsn("donation"), schema="donation", pool_max=2, application="test") as database,
        database.connection(),
        database.connection(),
    ):
        with pytest.raises(DependencyUnavailable):
            await database.run(lambda _connection: pytest.fail("there are two"))


async def test_a_violated_constraint_is_no_refusal(database: Database) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO account VALUES ('a', 1)")


async def test_a_server_that_is_not_there_is_an_unavailable_dependency() -> None:
    with pytest.raises(DependencyUnavailable):
        async with open_database("postgresql://a:b@127.0.0.1:9/x", schema="s", pool_max=2, application="test"):
            pytest.fail("nobody listens there")


@pytest.mark.requirement("SEC-7")
async def test_a_wrong_password_is_one_line_for_a_person_without_the_password(schemas: Schemas) -> None:
    dsn = schemas.dsn("donation").replace("for-tests-only", "hunter2-hunter2")
    with pytest.raises(StartRefused) as caught:
        async with open_database(dsn, schema="donation", pool_max=2, application="test"):
            pytest.fail("the password is wrong")
    assert "donation_service" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_database_that_does_not_exist_is_one_line_for_a_person(schemas: Schemas) -> None:
    dsn = schemas.dsn("donation").rpartition("/")[0] + "/no_such_database"
    with pytest.raises(StartRefused, match="no_such_database"):
        async with open_database(dsn, schema="donation", pool_max=2, application="test"):
            pytest.fail("there is none")


# Transactions


@pytest.mark.requirement("EVT-1")
async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(LookupError):
        async with database.transaction() as connection:
            await connection.execute(RAISE, "a")
            raise LookupError
    assert await units(database) == {"a": 0, "b": 0}


async def units(database: Database) -> dict[str, int]:
    async with database.connection() as connection:
        return {row["name"]: row["units"] for row in await connection.fetch("SELECT name, units FROM account")}


async def test_a_deadlock_is_run_again_until_both_are_done(database: Database) -> None:
    both = asyncio.Barrier(2)
    runs = 0

    async def move(connection: asyncpg.Connection[asyncpg.Record], first: str, second: str) -> None:
        nonlocal runs
        runs += 1
        await connection.execute(RAISE, first)
        if runs <= 2:
            await both.wait()
        await connection.execute(RAISE, second)

    await asyncio.gather(
        database.run(lambda connection: move(connection, "a", "b")),
        database.run(lambda connection: move(connection, "b", "a")),
    )

    assert runs == 3
    assert await units(database) == {"a": 2, "b": 2}


async def test_what_the_database_asks_for_too_often_is_a_request_in_flight(database: Database) -> None:
    runs = 0

    async def never(_connection: object) -> None:
        nonlocal runs
        runs += 1
        raise asyncpg.SerializationError("again")

    with pytest.raises(RequestInFlight):
        await database.run(never)
    assert runs == RETRIES_MAX + 1


async def test_a_deadlock_outside_of_run_is_a_request_in_flight_too(database: Database) -> None:
    with pytest.raises(RequestInFlight):
        async with database.transaction():
            raise asyncpg.DeadlockDetectedError("again")


async def test_a_cancelled_transaction_gives_its_connection_back_clean(database: Database) -> None:
    entered = asyncio.Event()

    async def stuck() -> None:
        async with database.transaction() as connection:
            await connection.execute(RAISE, "a")
            entered.set()
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(stuck()) for _ in range(1)]
    await entered.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(database.run(lambda connection: connection.execute(RAISE, "a")))
    assert await units(database) == {"a": 8, "b": 0}


# Bounds


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize("setting", sorted(BOUNDS))
async def test_the_session_bounds_every_wait(database: Database, setting: str) -> None:
    async with database.connection() as connection:
        assert await connection.fetchval(f"SHOW {setting}") == BOUNDS[setting]


@pytest.mark.requirement("SEC-6")
async def test_the_role_bounds_every_wait_of_whoever_connects(schemas: Schemas) -> None:
    connection = await asyncpg.connect(schemas.dsn("donation"))
    try:
        for setting, value in BOUNDS.items():
            assert await connection.fetchval(f"SHOW {setting}") == value
        roles = await connection.fetch("SELECT rolname, rolconfig FROM pg_roles WHERE rolname LIKE 'donation%' ORDER BY 1")
        configured = {row["rolname"]: dict(text.split("=") for text in row["rolconfig"] or ()) for row in roles}
    finally:
        await connection.close()
    assert configured["donation_service"] == BOUNDS
    assert configured["donation_batch"] == {**BOUNDS, "statement_timeout": "120s", "default_transaction_read_only": "on"}


async def test_the_batch_role_reads_and_does_not_write(schemas: Schemas) -> None:
    connection = await asyncpg.connect(schemas.dsn("donation", "batch"), server_settings={"search_path": "donation"})
    try:
        assert await connection.fetchval("SELECT count(*) FROM event") == 0
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("INSERT INTO epoch VALUES (9, 'x', 'x')")
        await connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO epoch VALUES (9, 'x', 'x')")
    finally:
        await connection.close()


# Grants


FORBIDDEN = {
    "change an event": "UPDATE event SET payload = ''",
    "delete an event": "DELETE FROM event",
    "empty the log": "TRUNCATE event",
    "write past the parent": "INSERT INTO event_{today} (epoch, id, bucket, payload) VALUES (1, gen_random_uuid(), 1, '')",
    "delete past the parent": "DELETE FROM event_{today}",
    "make a table": "CREATE TABLE mine (x int)",
    "make a table elsewhere": "CREATE TABLE public.mine (x int)",
    "begin an epoch": "INSERT INTO epoch VALUES (9, 'x', 'x')",
    "remove a letter": "DELETE FROM dead_letter",
    "forget a migration": "DELETE FROM schema_migration",
    "drop a partition": "DROP TABLE event_{today}",
    "jump in the sequence": "SELECT setval('event_seq', 1)",
}


@pytest.mark.requirement("EVT-1")
@pytest.mark.parametrize("deed", sorted(FORBIDDEN))
async def test_the_service_role_may_not(log: Log, deed: str) -> None:
    today = (await log.row("SELECT to_char(current_date, 'YYYY_MM_DD') AS day"))["day"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with log.database.connection() as connection:
            await connection.execute(FORBIDDEN[deed].format(today=today))


@pytest.mark.requirement("EVT-3")
async def test_a_partition_is_made_while_others_read_and_write(log: Log) -> None:
    async with log.database.transaction() as reader:
        await reader.execute("SELECT count(*) FROM event")
        async with log.database.transaction() as writer:
            await writer.execute("SELECT pg_current_xact_id()")
            await writer.execute("LOCK TABLE event IN ROW EXCLUSIVE MODE")
            async with log.database.connection() as maker:
                await maker.execute("SELECT make_partition('event', current_date + 30)")
    made = "SELECT to_regclass('event_' || to_char(current_date + 30, 'YYYY_MM_DD')) AS made"
    assert (await log.row(made))["made"]


async def test_a_partition_that_many_make_at_once_is_made_once(log: Log) -> None:
    async def make() -> None:
        async with log.database.connection() as connection:
            await connection.execute("SELECT make_partition('event', current_date + 40)")

    await asyncio.gather(*(make() for _ in range(8)))


# Statements


def test_statements_are_loaded_by_name_with_their_description() -> None:
    queries = load_queries("mesh.events")
    assert queries["append"].startswith("-- Appends")
    assert all(statement.endswith(";") for statement in queries.values())


async def test_a_statement_that_must_return_a_row_says_so(database: Database) -> None:
    async with database.connection() as connection:
        with pytest.raises(LookupError):
            await fetch_one(connection, "SELECT 1 WHERE false")


async def test_closing_waits_for_nobody_for_ever(schemas: Schemas) -> None:
    released = asyncio.Event()

    async def hold(database: Database, held: asyncio.Event) -> None:
        try:
            async with database.connection():
                held.set()
                await released.wait()
        except DependencyUnavailable:
            return

    held = asyncio.Event()
    async with open_database(schemas.dsn("donation"), schema="donation", pool_max=2, application="test") as database:
        task = asyncio.create_task(hold(database, held))
        await held.wait()
    released.set()
    await until(lambda: asyncio.sleep(0, task.done()))
