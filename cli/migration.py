"""Brings every service's schema to today's form, as the database's administrator."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from cli import runfile
from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.processes import SERVICES, batch_password, service_password
from cli.refusal import CommandRefused
from cli.running import ignore
from cli.servers import Postgres
from cli.servers.postgres import administrator_dsn
from mesh.errors import DependencyUnavailable
from mesh.events import relay
from mesh.events.partitions import drop_expired
from mesh.migrate import migrate
from mesh.postgres import load_queries
from mesh.process import StartRefused

ResultT = TypeVar("ResultT")


async def migrate_all(*, folder: DataFolder, admin_dsn: str) -> list[str]:
    """The files that were applied.

    Raises:
        CommandRefused: the database does not answer, or refuses.
    """
    applied = []
    for service in SERVICES:
        try:
            names = await migrate(
                admin_dsn,
                service=service.package,
                schema=service.schema,
                password=service_password(folder, service),
                batch_password=batch_password(folder, service),
            )
        except (OSError, ImportError, StartRefused, DependencyUnavailable, asyncpg.PostgresError) as error:
            raise CommandRefused(f"migrating {service.package}: {error}") from error
        applied += [f"{service.package}: {name}" for name in names]
    return applied


async def migrate_here(*, folder: DataFolder, settings: MeshSettings) -> list[str]:
    """As `migrate_all`, with the PostgreSQL of the settings or of the folder, which is started if need be."""
    return await _as_administrator(lambda dsn: migrate_all(folder=folder, admin_dsn=dsn), folder=folder, settings=settings)


async def open_epoch(*, folder: DataFolder, settings: MeshSettings, service: str, reason: str) -> int:
    """The number of the epoch that was opened for a service's event log.

    Raises:
        CommandRefused: the service has no such log, or its database does not answer.
    """
    schemas = {known.name: known.schema for known in SERVICES if known.publishes}
    if service not in schemas:
        raise CommandRefused(f"{service} publishes no events of its own: name one of {', '.join(schemas)}")
    schema = schemas[service]
    return await _as_administrator(
        lambda dsn: _open_epoch(dsn, schema=schema, reason=reason), folder=folder, settings=settings
    )


async def _open_epoch(admin_dsn: str, *, schema: str, reason: str) -> int:
    connection = await asyncpg.connect(admin_dsn, timeout=10, server_settings={"search_path": schema})
    try:
        return await relay.open_epoch(connection, load_queries("mesh.events"), reason=reason)
    except asyncpg.PostgresError as error:
        raise CommandRefused(f"opening an epoch of {schema}: {error}; has it been migrated?") from error
    finally:
        await connection.close()


async def expire(*, folder: DataFolder, settings: MeshSettings) -> list[str]:
    """The days that were dropped from the services' event logs.

    Raises:
        CommandRefused: a relay has not published a day yet, or the database does not answer.
    """
    return await _as_administrator(_expire, folder=folder, settings=settings)


async def _expire(admin_dsn: str) -> list[str]:
    dropped = []
    today = datetime.datetime.now(datetime.UTC).date()
    for schema in (known.schema for known in SERVICES if known.publishes):
        settings = {"search_path": schema, "lock_timeout": "2s"}
        connection = await asyncpg.connect(admin_dsn, timeout=10, server_settings=settings)
        try:
            days = await drop_expired(connection, load_queries("mesh.events"), today=today)
        except asyncpg.PostgresError as error:
            raise CommandRefused(f"expiring events of {schema}: {error}") from error
        finally:
            await connection.close()
        dropped += [f"{schema}: {day}" for day in days]
    return dropped


async def _as_administrator(
    work: Callable[[str], Awaitable[ResultT]], *, folder: DataFolder, settings: MeshSettings
) -> ResultT:
    """Does `work` with the administrator's DSN of the PostgreSQL of the settings or of the folder."""
    folder.prepare()
    if settings.database_url is not None:
        return await work(settings.database_url.get_secret_value())
    run = runfile.read(folder) if folder.is_locked() else None
    if run and (address := run.address("postgres")):
        return await work(administrator_dsn(folder, address=address))
    with folder.locked():
        port = folder.ports().port("postgres", configured=settings.postgres_port)
        server = Postgres(folder=folder, port=port, show=ignore)
        await server.start()
        try:
            return await work(server.dsn)
        finally:
            await server.stop()
