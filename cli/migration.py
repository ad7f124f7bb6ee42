"""Brings every service's schema to today's form, as the database's administrator."""

from __future__ import annotations

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
from mesh.migrate import migrate
from mesh.process import StartRefused


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
    folder.prepare()
    if settings.database_url is not None:
        return await migrate_all(folder=folder, admin_dsn=settings.database_url.get_secret_value())
    run = runfile.read(folder) if folder.is_locked() else None
    if run and (address := run.address("postgres")):
        return await migrate_all(folder=folder, admin_dsn=administrator_dsn(folder, address=address))
    with folder.locked():
        port = folder.ports().port("postgres", configured=settings.postgres_port)
        server = Postgres(folder=folder, port=port, show=ignore)
        await server.start()
        try:
            return await migrate_all(folder=folder, admin_dsn=server.dsn)
        finally:
            await server.stop()
