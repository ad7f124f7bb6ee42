"""The pages as a donor's browser reaches them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

import gateway.app
from tests.support.mesh import TOKEN, gateway_settings


@dataclass(frozen=True)
class Site:
    """Where the pages are, and a campaign that takes gifts."""

    base: str
    campaign_id: str

    @property
    def address(self) -> str:
        return f"{self.base}/c/{self.campaign_id}"

    async def donations(self) -> list[dict[str, Any]]:
        """Every donation of the campaign, promised or paid."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(self.base, headers=headers) as session:
            async with session.get(f"/v1/donations?campaign_id={self.campaign_id}") as answer:
                return list((await answer.json())["donations"])


@asynccontextmanager
async def running_pages(**settings: Any) -> AsyncIterator[str]:
    """Both gateway processes in one, each an origin of its own; yields the pages' origin."""
    # Each has to know the other's origin before it starts.
    rest_port, live_port = free_ports(2)
    common = {"cors_origins": (f"http://127.0.0.1:{rest_port}",), "live_url": f"http://127.0.0.1:{live_port}", **settings}
    async with AsyncExitStack() as stack:
        live = gateway_settings(gateway_role="live", listen_port=live_port, **common)
        await stack.enter_async_context(gateway.app.application(live))
        await stack.enter_async_context(gateway.app.application(gateway_settings(listen_port=rest_port, **common)))
        yield f"http://127.0.0.1:{rest_port}"


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
