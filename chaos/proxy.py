"""A TCP connection that can be held, cut, slowed and reset: one proxy stands on each edge of the mesh.

What is held is not lost: as with a real partition it arrives when the edge heals, or the connection is reset before.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import AsyncIterator

_CHUNK = 1 << 16
_CONNECT_S_MAX = 5.0
# Closes with a reset instead of the usual farewell.
_RESET = struct.pack("ii", 1, 0)


class Mode(enum.StrEnum):
    """What an edge does with bytes."""

    PASS = "pass"  # noqa: S105 - a mode
    DROP = "drop"
    """Nothing arrives, either way; whoever connects is kept waiting."""
    HALF_IN = "half_in"
    """Questions arrive, answers do not."""
    HALF_OUT = "half_out"
    """Questions do not arrive."""
    RST = "rst"
    """Every connection is reset, old or new."""
    DELAY = "delay"
    """Every chunk takes longer, either way."""
    CUT = "cut"
    """Each connection is reset after so many bytes of answers, in the middle of one."""


_HELD_OUT = (Mode.DROP, Mode.HALF_OUT)
_HELD_IN = (Mode.DROP, Mode.HALF_IN)


class Cut(Exception):  # noqa: N818 - the purpose
    """The connection has come to the end that was set for it."""


class Proxy:
    """One edge. `amount`: milliseconds of a delay, bytes before a cut."""

    def __init__(self, *, name: str, port: int, target: str) -> None:
        self.name = name
        self.port = port
        self._host, _, target_port = target.rpartition(":")
        self._target_port = int(target_port)
        self._mode = Mode.PASS
        self._amount = 0
        self._changed = asyncio.Condition()
        self._pairs: set[_Pair] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def turn(self, mode: Mode, *, amount: int = 0) -> None:
        """From now on the edge behaves so."""
        async with self._changed:
            self._mode, self._amount = mode, amount
            for pair in self._pairs:
                pair.left = amount
            self._changed.notify_all()
        if mode is Mode.RST:
            self.reset()

    def reset(self) -> None:
        """Resets every connection that is open."""
        for pair in list(self._pairs):
            pair.reset()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        try:
            yield
        finally:
            server.close()
            self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, to_them = await self._connect()
        except (OSError, TimeoutError, Cut):
            _reset(writer)
            return
        pair = _Pair(writer, to_them, left=self._amount)
        self._pairs.add(pair)
        try:
            out = self._pump(reader, to_them, pair, held=_HELD_OUT)
            back = self._pump(theirs, writer, pair, held=_HELD_IN)
            await asyncio.gather(out, back)
        except (OSError, RuntimeError, Cut):  # uvloop's word for a transport that is closed is RuntimeError
            pair.reset()
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._mode is Mode.RST:
            raise Cut
        await self._until_passing(_HELD_OUT)
        async with asyncio.timeout(_CONNECT_S_MAX):
            return await asyncio.open_connection(self._host, self._target_port)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair, *, held: tuple[Mode, ...]
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._until_passing(held)
            if self._mode is Mode.DELAY:
                await asyncio.sleep(self._amount / 1000)
            if self._mode is Mode.CUT and held is _HELD_IN:
                pair.left -= len(data)
                if pair.left < 0:
                    writer.write(data[: pair.left])
                    raise Cut
            writer.write(data)
            await writer.drain()
        if not writer.is_closing():
            writer.write_eof()

    async def _until_passing(self, held: tuple[Mode, ...]) -> None:
        if self._mode in held:
            async with self._changed:
                await self._changed.wait_for(lambda: self._mode not in held)


class _Pair:
    """Both ends of a connection. `left`: bytes of answers before a cut."""

    def __init__(self, *writers: asyncio.StreamWriter, left: int) -> None:
        self._writers = writers
        self.left = left

    def reset(self) -> None:
        for writer in self._writers:
            _reset(writer)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    endpoint = writer.get_extra_info("socket")
    if endpoint is not None:
        with contextlib.suppress(OSError):
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
