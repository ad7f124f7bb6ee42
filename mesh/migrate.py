"""Migrations: NNNN_name.sql, each once, each in one transaction, in order, and never changed afterwards.

Every service's schema begins with the plumbing's own files (`mesh/migrations`), then its own. In a file `{schema}` stands
for the schema and `{owner}`, `{service}`, `{batch}` for its roles: the owner makes tables and partitions, the service
works, and the batch role only reads.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg

from mesh.postgres import BOUNDS, Connection, refusing
from mesh.process import StartRefused

_BATCH_STATEMENT_TIMEOUT = "120s"  # verification, rebuild and exports read everything
_LOCK_TIMEOUT = "5s"
_TURN_TIMEOUT = "60s"  # how long another migration of the same database may take
_ROLES_ATTEMPTS_MAX = 50  # each collision means that somebody else got through
# "tuple concurrently updated" has no code of its own.
_COLLISION = (asyncpg.InternalServerError, asyncpg.UniqueViolationError, asyncpg.DuplicateObjectError)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: where it comes from, its name, its text."""

    source: str
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class MigrationChanged(StartRefused):
    """A file that has been applied is no longer what it was."""


def migrations_of(service: str) -> list[Migration]:
    """The plumbing's files, then the service's."""
    return [*_read("mesh"), *_read(service)]


def _read(package: str) -> Iterator[Migration]:
    folder = importlib.resources.files(package).joinpath("migrations")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            yield Migration(package, file.name, file.read_text())


async def migrate(
    admin_dsn: str, *, service: str, schema: str, password: str, batch_password: str | None = None
) -> list[str]:
    """Brings the schema of a service to today's form; returns the names of the files that were applied.

    `admin_dsn` may create roles and schemas. Roles are `<schema>_owner`, `<schema>_service` and `<schema>_batch`.

    Raises:
        MigrationChanged: a file was edited after it had been applied.
        DependencyUnavailable: the database does not answer.
    """
    with refusing():
        connection = await asyncpg.connect(admin_dsn, timeout=10)
        try:
            await connection.execute(f"SET lock_timeout = '{_TURN_TIMEOUT}'")
            await connection.execute("SELECT pg_advisory_lock(hashtext('giving.migrate'))")
            await _make_roles_among_others(connection, schema, {"service": password, "batch": batch_password or password})
            return await _apply_missing(connection, migrations_of(service), schema)
        finally:
            await connection.close()


async def _make_roles_among_others(connection: Connection, schema: str, passwords: dict[str, str]) -> None:
    """Roles belong to all databases of the cluster, advisory locks to one: another database's migration may collide."""
    for _ in range(_ROLES_ATTEMPTS_MAX - 1):
        try:
            return await _make_roles(connection, schema, passwords)
        except _COLLISION:
            continue
    return await _make_roles(connection, schema, passwords)


async def _make_roles(connection: Connection, schema: str, passwords: dict[str, str]) -> None:
    await _make_role(connection, f"{schema}_owner", "NOLOGIN")
    for kind, password in passwords.items():
        role = f"{schema}_{kind}"
        quoted = await connection.fetchval("SELECT quote_literal($1)", password)
        await _make_role(connection, role, f"LOGIN PASSWORD {quoted}")
        bounds = BOUNDS if kind == "service" else {**BOUNDS, "statement_timeout": _BATCH_STATEMENT_TIMEOUT}
        for name, value in bounds.items():
            await connection.execute(f"ALTER ROLE {role} SET {name} = '{value}'")
    await connection.execute(f"ALTER ROLE {schema}_batch SET default_transaction_read_only = on")
    await connection.execute(f"GRANT {schema}_owner TO CURRENT_USER")
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {schema}_owner")
    await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}_service, {schema}_batch")


async def _make_role(connection: Connection, role: str, attributes: str) -> None:
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    await connection.execute(f"{'ALTER' if exists else 'CREATE'} ROLE {role} {attributes}")


async def _apply_missing(connection: Connection, migrations: list[Migration], schema: str) -> list[str]:
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {schema}.schema_migration (source text, name text, sha256 text NOT NULL, "
        "apply_time timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (source, name))"
    )
    await connection.execute(f"GRANT SELECT ON {schema}.schema_migration TO {schema}_service, {schema}_batch")
    applied = await _applied(connection, schema)
    _demand_unchanged(migrations, applied)
    missing = [migration for migration in migrations if (migration.source, migration.name) not in applied]
    for migration in missing:
        await _apply(connection, migration, schema)
    return [f"{migration.source}/{migration.name}" for migration in missing]


async def _applied(connection: Connection, schema: str) -> dict[tuple[str, str], str]:
    rows = await connection.fetch(f"SELECT source, name, sha256 FROM {schema}.schema_migration")  # noqa: S608 - a name of ours
    return {(row["source"], row["name"]): row["sha256"] for row in rows}


def _demand_unchanged(migrations: list[Migration], applied: dict[tuple[str, str], str]) -> None:
    for migration in migrations:
        digest = applied.get((migration.source, migration.name))
        if digest not in (None, migration.sha256):
            raise MigrationChanged(f"{migration.source}/{migration.name} was changed after it had been applied")


async def _apply(connection: Connection, migration: Migration, schema: str) -> None:
    text = migration.text
    for placeholder in ("owner", "service", "batch"):
        text = text.replace(f"{{{placeholder}}}", f"{schema}_{placeholder}")
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'; SET LOCAL ROLE {schema}_owner")
        await connection.execute(f"SET LOCAL search_path = {schema}")
        await connection.execute(text.replace("{schema}", schema))
        await connection.execute("RESET ROLE")
        await connection.execute(
            f"INSERT INTO {schema}.schema_migration (source, name, sha256) VALUES ($1, $2, $3)",  # noqa: S608
            migration.source,
            migration.name,
            migration.sha256,
        )


async def demand_current(connection: Connection, *, service: str) -> None:
    """Refuses to work on a schema that is empty, older or newer than this code.

    Raises:
        StartRefused: it says which file is missing and what to run.
    """
    if await connection.fetchval("SELECT to_regclass('schema_migration')") is None:
        raise StartRefused(f"the schema of {service} is empty; run `mesh migrate` first")
    rows = await connection.fetch("SELECT source, name, sha256 FROM schema_migration")
    applied = {(row["source"], row["name"]): row["sha256"] for row in rows}
    migrations = migrations_of(service)
    _demand_unchanged(migrations, applied)
    for migration in migrations:
        if (migration.source, migration.name) not in applied:
            raise StartRefused(f"{migration.source}/{migration.name} is not applied; run `mesh migrate` first")
    if len(applied) > len(migrations):
        raise StartRefused(f"the schema of {service} is newer than this version")
