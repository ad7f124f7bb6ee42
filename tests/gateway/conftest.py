import asyncio
import contextlib
import socket

import aiohttp
import pytest
import pytest_asyncio
from gateway_upstreams import Upstreams

from gateway.app import application
from gateway.config import GatewaySettings

TOKEN = "a development token"


def settings_of(upstreams, **changes):
    values = {
        "mesh_mode": "development",
        "listen_port": 0,
        "donation_target": upstreams.target,
        "payment_target": upstreams.target,
        "aggregator_target": upstreams.target,
        "development_token": TOKEN,
        "cors_origins": ("https://shop.example",),
        "live_url": "http://live.example",
        "drain_s": 0,
        "grace_s": 2,
    }
    return GatewaySettings(**{**values, **changes})


@contextlib.asynccontextmanager
async def open_gateway(upstreams, **changes):
    """A client session whose base is a running gateway."""
    async with application(settings_of(upstreams, **changes)) as gateway:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        base = f"http://127.0.0.1:{gateway.port}"
        plain = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(base, connector=connector, headers=plain, auto_decompress=False) as session:
            yield session


@pytest_asyncio.fixture
async def upstreams():
    async with Upstreams().running() as running:
        yield running


@pytest_asyncio.fixture
async def rest(upstreams):
    async with open_gateway(upstreams) as session:
        yield session


@pytest_asyncio.fixture
async def live(upstreams):
    async with open_gateway(upstreams, gateway_role="live") as session:
        yield session


@pytest.fixture
def gateway_of(upstreams):
    """Opens a gateway over the test's upstreams with changed settings."""
    return lambda **changes: open_gateway(upstreams, **changes)


@pytest.fixture
def settings_for(upstreams):
    """Settings over the test's upstreams, changed."""
    return lambda **changes: settings_of(upstreams, **changes)


@pytest.fixture
def unused_tcp_target():
    """host:port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return f"127.0.0.1:{port}"


@pytest.fixture
def token():
    return TOKEN


@pytest.fixture
def raw():
    """Sends bytes as they are and returns everything that comes back before the connection closes."""

    async def exchange(session, text):
        reader, writer = await asyncio.open_connection("127.0.0.1", session._base_url.port)
        writer.write(text.encode("latin-1"))
        try:
            return await reader.read()
        finally:
            writer.close()

    return exchange
