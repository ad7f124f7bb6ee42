"""Databases for tests: one cluster, a migrated database a test that needs its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from mesh.migrate import migrate

PASSWORD = "for-tests-only"
SCHEMAS = {"donation_svc": "donation", "payment_svc": "payment", "aggregator_svc": "aggregator"}


@dataclass(frozen=True, slots=True)
class Schemas:
    """A database in which services have their schemas."""

    admin_dsn: str

    def dsn(self, schema: str, role: str = "service") -> str:
        """The DSN of a service's own role, or of its batch role."""
        parts = urlsplit(self.admin_dsn)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{schema}_{role}:{PASSWORD}@{host}"))


async def make_empty_database(server_dsn: str) -> str:
    """The administrator's DSN of a new database."""
    name = f"test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server_dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}"))


async def make_database(server_dsn: str, *services: str) -> Schemas:
    """A new database with the schemas of `services`, brought to today's form."""
    schemas = Schemas(await make_empty_database(server_dsn))
    for service in services or SCHEMAS:
        await migrate(schemas.admin_dsn, service=service, schema=SCHEMAS[service], password=PASSWORD)
    return schemas
