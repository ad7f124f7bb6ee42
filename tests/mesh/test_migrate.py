"""Migrations: each once, each whole, never changed afterwards."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.servers.postgres import Postgres
from mesh.migrate import MigrationChanged, demand_current, migrate, migrations_of
from mesh.process import StartRefused
from tests.support.schemas import PASSWORD, Schemas, make_database

_NUMBERS = itertools.count()
MESH = Path(__file__).parents[2] / "mesh" / "migrations"


class Package:
    """A service's package with migrations, importable by its name."""

    def __init__(self, folder: Path) -> None:
        self.name = f"migrating_svc_{next(_NUMBERS)}"
        self._folder = folder / self.name / "migrations"
        self._folder.mkdir(parents=True)
        for package in (self._folder, self._folder.parent):
            (package / "__init__.py").touch()

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    package = Package(tmp_path)
    package.write("0001_table.sql", "CREATE TABLE thing (x int); GRANT SELECT ON thing TO {service};")
    return package


@pytest.fixture
async def schemas(postgres_server: Postgres) -> Schemas:
    return await make_database(postgres_server.dsn, "donation_svc")


async def apply(schemas: Schemas, package: Package) -> list[str]:
    return await migrate(schemas.admin_dsn, service=package.name, schema="migrating", password=PASSWORD)


async def ask(dsn: str, statement: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "migrating"})
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


async def demand(schemas: Schemas, package: Package) -> None:
    connection = await asyncpg.connect(schemas.dsn("migrating"), server_settings={"search_path": "migrating"})
    try:
        await demand_current(connection, service=package.name)
    finally:
        await connection.close()


async def test_files_are_applied_in_order_and_the_schema_is_then_current(schemas: Schemas, package: Package) -> None:
    package.write("0002_column.sql", "ALTER TABLE thing ADD COLUMN y int;")
    plumbing = [f"mesh/{path.name}" for path in sorted(MESH.glob("*.sql"))]
    assert plumbing[:2] == ["mesh/0001_event_log.sql", "mesh/0002_audit.sql"]
    assert await apply(schemas, package) == [
        *plumbing,
        f"{package.name}/0001_table.sql",
        f"{package.name}/0002_column.sql",
    ]
    await demand(schemas, package)
    assert await ask(schemas.dsn("migrating"), "SELECT count(y) FROM thing") == 0


async def test_a_second_run_does_nothing(schemas: Schemas, package: Package) -> None:
    await apply(schemas, package)
    assert await apply(schemas, package) == []


async def test_a_file_that_comes_later_is_applied_alone(schemas: Schemas, package: Package) -> None:
    await apply(schemas, package)
    package.write("0002_later.sql", "CREATE TABLE later (x int);")
    assert await apply(schemas, package) == [f"{package.name}/0002_later.sql"]


async def test_a_file_that_was_edited_is_refused_by_the_run_and_by_the_start(schemas: Schemas, package: Package) -> None:
    await apply(schemas, package)
    package.write("0001_table.sql", "CREATE TABLE thing (x bigint);")
    with pytest.raises(MigrationChanged, match="0001_table"):
        await apply(schemas, package)
    with pytest.raises(MigrationChanged, match="0001_table"):
        await demand(schemas, package)


async def test_a_file_that_is_not_applied_refuses_the_start_and_says_what_to_do(schemas: Schemas, package: Package) -> None:
    await apply(schemas, package)
    package.write("0002_later.sql", "SELECT 1;")
    with pytest.raises(StartRefused, match=r"0002_later.*mesh migrate"):
        await demand(schemas, package)


async def test_a_schema_that_is_newer_than_the_code_refuses_the_start(schemas: Schemas, package: Package) -> None:
    package.write("0002_newer.sql", "SELECT 1;")
    await apply(schemas, package)
    package.remove("0002_newer.sql")
    with pytest.raises(StartRefused, match="newer"):
        await demand(schemas, package)


async def test_an_empty_schema_refuses_the_start(schemas: Schemas, package: Package) -> None:
    await apply(schemas, package)
    await ask(schemas.admin_dsn, "DROP TABLE schema_migration")
    with pytest.raises(StartRefused, match="empty"):
        await demand(schemas, package)


async def test_a_file_that_fails_leaves_nothing_behind_and_those_before_it_stay(schemas: Schemas, package: Package) -> None:
    package.write("0002_fails.sql", "CREATE TABLE half (x int); SELECT no_such_column;")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await apply(schemas, package)
    assert await ask(schemas.admin_dsn, "SELECT to_regclass('half')") is None
    assert await ask(schemas.admin_dsn, "SELECT to_regclass('thing')::text") == "thing"

    package.write("0002_fails.sql", "CREATE TABLE half (x int);")
    assert await apply(schemas, package) == [f"{package.name}/0002_fails.sql"]


async def test_two_migrators_at_once_apply_each_file_once(schemas: Schemas, package: Package) -> None:
    applied = await asyncio.gather(*(apply(schemas, package) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == sorted(
        f"{file.source}/{file.name}" for file in migrations_of(package.name)
    )


async def test_migrators_of_several_databases_do_not_break_each_others_roles(
    postgres_server: Postgres, package: Package
) -> None:
    several = [await make_database(postgres_server.dsn, "donation_svc") for _ in range(4)]
    for _ in range(3):
        await asyncio.gather(*(apply(schemas, package) for schemas in several))
    for schemas in several:
        await demand(schemas, package)


async def test_a_new_password_takes_the_place_of_the_old_one(schemas: Schemas, package: Package) -> None:
    await apply(schemas, package)
    await migrate(schemas.admin_dsn, service=package.name, schema="migrating", password='it\'s "new" \\ %s $1')
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(schemas.dsn("migrating"), "SELECT 1")
    await apply(schemas, package)


async def test_tables_belong_to_the_owner_who_cannot_log_in(schemas: Schemas, package: Package) -> None:
    await apply(schemas, package)
    assert await ask(schemas.admin_dsn, "SELECT tableowner FROM pg_tables WHERE tablename = 'thing'") == "migrating_owner"
    assert await ask(schemas.admin_dsn, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'migrating_owner'") is False
