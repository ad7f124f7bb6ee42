"""What an edge does with bytes in each of its modes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from chaos.proxy import Mode, Proxy
from cli.ports import PortBook

HELD_S = 0.1


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(100):
            writer.write(data.upper())
            await writer.drain()
    writer.close()


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    ports = PortBook(tmp_path / "ports.json")
    port = ports.port("echo")
    server = await asyncio.start_server(echo, "127.0.0.1", port)
    edge = Proxy(name="edge", port=ports.port("edge"), target=f"127.0.0.1:{port}")
    async with edge.listening():
        yield edge
    server.close()


@asynccontextmanager
async def connection(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: bytes) -> bytes:
    writer.write(words)
    async with asyncio.timeout(5):
        return await reader.readexactly(len(words))


async def test_bytes_pass_both_ways(proxy: Proxy):
    async with connection(proxy) as (reader, writer):
        assert await said(reader, writer, b"gift") == b"GIFT"


@pytest.mark.parametrize("mode", [Mode.DROP, Mode.HALF_IN, Mode.HALF_OUT])
async def test_what_is_held_arrives_when_the_edge_heals(proxy: Proxy, mode: Mode):
    async with connection(proxy) as (reader, writer):
        assert await said(reader, writer, b"before") == b"BEFORE"
        await proxy.turn(mode)
        answer = asyncio.create_task(said(reader, writer, b"after"))
        assert not (await asyncio.wait({answer}, timeout=HELD_S))[0]
        await proxy.turn(Mode.PASS)
        assert await answer == b"AFTER"


async def test_a_reset_ends_connections_that_are_open_and_those_that_come(proxy: Proxy):
    async with connection(proxy) as (reader, writer):
        assert await said(reader, writer, b"before") == b"BEFORE"
        await proxy.turn(Mode.RST)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await said(reader, writer, b"after")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with connection(proxy) as (reader, writer):
            await said(reader, writer, b"new")


async def test_a_cut_comes_in_the_middle_of_an_answer(proxy: Proxy):
    await proxy.turn(Mode.CUT, amount=4)
    async with connection(proxy) as (reader, writer):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await said(reader, writer, b"twelve bytes")


async def test_a_delayed_answer_is_whole(proxy: Proxy):
    await proxy.turn(Mode.DELAY, amount=20)
    async with connection(proxy) as (reader, writer):
        assert await said(reader, writer, b"late") == b"LATE"
