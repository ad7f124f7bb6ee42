"""Stripe's own mock: without memory, but it knows every parameter and every shape of Stripe's API."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.waiting import until

_TOOLS = Path(__file__).parents[2] / ".tools" / "bin"
STRIPE_MOCK = shutil.which("stripe-mock", path=os.pathsep.join([str(_TOOLS), os.environ["PATH"]])) or ""
NO_STRIPE_MOCK = "needs stripe-mock: run `make tools` where Go is"


@asynccontextmanager
async def running_stripe_mock() -> AsyncIterator[str]:
    """Its address, while it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # Left to itself it takes one port for TLS too, always the same: two at once would not start.
    addresses = ["-http-addr", f"127.0.0.1:{port}", "-https-addr", "127.0.0.1:"]
    process = await asyncio.create_subprocess_exec(STRIPE_MOCK, *addresses, stdout=asyncio.subprocess.DEVNULL)
    try:
        await until(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
