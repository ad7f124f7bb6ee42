"""Server streams without a source of their own here: one gRPC stream per reader."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf.message import Message

from gateway.clients import Clients, package_of
from gateway.convert import Writers
from gateway.sse.outlet import Outlet, frame
from mesh.errors import from_rpc_error
from mesh.rpc.call import Call
from mesh.rpc.contract import Method


class Bridge:
    """Opens gRPC streams for readers."""

    def __init__(self, *, clients: Clients, writers: Writers) -> None:
        self._clients = clients
        self._writers = writers

    async def open(self, method: Method, request: Message, call: Call) -> Bridged:
        """A stream whose first message has come.

        Raises:
            Refusal: it was refused before.
        """
        stream = self._clients.caller(method).stream(method, request, call)
        try:
            first = await stream.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, dependency=package_of(method)) from error
        return Bridged(stream, first, self._writers)


class Bridged:
    """One gRPC stream on its way to one reader."""

    def __init__(self, stream: Any, first: Any, writers: Writers) -> None:
        self._stream = stream
        self._message = first
        self._writers = writers

    async def run(self, outlet: Outlet) -> None:
        """Writes each message; an `end` event says that the service has nothing more to say.

        Raises:
            ReaderGoneError: he left.
        """
        try:
            while self._message is not grpc.aio.EOF and not outlet.over:
                await outlet.write(frame(self._writers.render(self._message)))
                self._message = await self._next(outlet)
            if self._message is grpc.aio.EOF:
                await outlet.write(frame(b"{}", event="end"))
        except grpc.aio.AioRpcError:
            # The head is sent; the reader sees the end without `end` and comes back.
            return

    def close(self) -> None:
        """Ends the gRPC stream."""
        self._stream.cancel()

    async def _next(self, outlet: Outlet) -> Any:
        # A read that is cancelled cancels the stream, so pings wait beside it.
        reading = asyncio.ensure_future(self._stream.read())
        # A donation may stand still for a day: without being woken we would see only at the next ping that nobody reads.
        reading.add_done_callback(lambda _: outlet.wake.set())
        try:
            while not outlet.over:
                outlet.wake.clear()
                if reading.done():
                    return reading.result()
                if not await outlet.woken():
                    await outlet.ping()
        finally:
            reading.cancel()
        return None
