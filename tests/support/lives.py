"""The mesh's own processes, each to be killed and started again: made like `mesh up` makes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL
from typing import Any

import aiohttp

from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.migration import migrate_all
from cli.ports import PortBook
from cli.processes import Ports, Processes, Servers
from cli.running import Running
from cli.stripe import stripe_of
from tests.support.schemas import make_empty_database
from tests.support.waiting import until

# A holder that died is followed sooner than in service: tests wait for it.
QUICK = {"ASKING_LEASE_S": "1", "DRAIN_S": "0", "GRACE_S": "1"}
NAMES = ("sandbox", "payment", "donation", "aggregator", "gateway", "live")


@dataclass(frozen=True)
class Lives:
    """Every process by its name."""

    running: Mapping[str, Running]
    base: str
    token: str
    sandbox_url: str
    secret_key: str
    publishable_key: str

    async def restart(self, name: str, *, crash_points: str = "") -> None:
        """Starts a process anew, armed to end itself at a point."""
        process = self.running[name]
        process.part = replace(process.part, environment={**process.part.environment, "CRASH_POINTS": crash_points})
        await process.start()

    async def died(self, name: str, *, meanwhile: Callable[[], Awaitable[object]] | None = None) -> bool:
        """Waits for a process's end, doing something again and again; whether it was killed."""
        ended = asyncio.ensure_future(self.running[name].ended())

        async def over() -> bool:
            if meanwhile and not ended.done():
                await meanwhile()
            return ended.done()

        await until(over)
        return ended.result() == -SIGKILL

    async def book(self) -> list[dict[str, Any]]:
        """What the sandbox charged, by intent."""
        headers = {"Authorization": f"Bearer {self.secret_key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{self.sandbox_url}/sandbox/book") as book,
        ):
            return list((await book.json())["payment_intents"])


@asynccontextmanager
async def running_lives(folder: Path, *, server_dsn: str, nats_url: str, redis_url: str) -> AsyncIterator[Lives]:
    """All processes, healthy, on a database of their own."""
    data = DataFolder(folder)
    data.prepare()
    ports = Ports(**{name: PortBook(folder / "test_ports.json").port(name) for name in NAMES})
    settings = MeshSettings(**{f"{name}_port": getattr(ports, name) for name in NAMES})
    stripe = stripe_of(settings, data)
    servers = Servers(admin_dsn=await make_empty_database(server_dsn), nats_url=nats_url, redis_url=redis_url)
    await migrate_all(folder=data, admin_dsn=servers.admin_dsn)
    parts = Processes(settings=settings, folder=data, ports=ports, servers=servers, stripe=stripe)
    async with AsyncExitStack() as stack:
        running = {}
        for part in (*parts.sandbox(), *parts.services(), *parts.gateways()):
            process = Running(replace(part, environment={**part.environment, **QUICK}))
            stack.push_async_callback(process.kill)
            await process.start()
            running[part.name] = process
        yield Lives(
            running=running,
            base=f"http://{ports.address('gateway')}",
            token=data.secret("development_token"),
            sandbox_url=stripe.sandbox_url,
            secret_key=stripe.api_key,
            publishable_key=stripe.publishable_key,
        )
