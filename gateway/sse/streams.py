"""Requests of server-streaming methods: bind, open, then hand the connection over."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from google.protobuf.message import Message
from prometheus_client import Gauge

from gateway.convert import Readers
from gateway.exchange import Answer, Exchange, Send
from gateway.identity import Doorkeeper, call_of
from gateway.sse.bridge import Bridge
from gateway.sse.outlet import Outlet, ReaderGoneError
from gateway.transcode.bind import bind
from gateway.transcode.routes import Match
from mesh.errors import DependencyUnavailable
from mesh.rpc.call import Call

_EVENT_STREAM = b"text/event-stream; charset=utf-8"
_RETRY_S = 5
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


class Reading(Protocol):
    """A stream that can begin."""

    async def run(self, outlet: Outlet) -> None:
        """Writes to the outlet until one of them is over."""
        ...

    def close(self) -> None:
        """Gives back what it holds."""
        ...


# By the method's path: what feeds readers from memory instead of a gRPC stream each.
LocalStreams: TypeAlias = Mapping[str, Callable[[Message, Call], Awaitable[Reading]]]


class Streams:
    """Opens event streams, counts them, and ends them at shutdown."""

    def __init__(
        self,
        *,
        doorkeeper: Doorkeeper,
        readers: Readers,
        bridge: Bridge,
        local: LocalStreams,
        gauge: Gauge,
        readers_max: int,
    ) -> None:
        self._doorkeeper = doorkeeper
        self._readers = readers
        self._bridge = bridge
        self._local = local
        self._gauge = gauge
        self._readers_max = readers_max
        self._outlets: set[Outlet] = set()
        self._closed = False

    async def __call__(self, match: Match, exchange: Exchange) -> Answer | OpenStream:
        """A stream that can begin; for HEAD only what its head would be.

        Raises:
            Refusal: before the first event, so it becomes a problem document.
        """
        if len(self._outlets) >= self._readers_max:
            raise DependencyUnavailable("as many readers as this process takes", retry_after_s=_RETRY_S, dependency="live")
        if exchange.method == "HEAD":
            return Answer(200, b"", _EVENT_STREAM, [(b"cache-control", b"no-store")])
        return OpenStream(self, await self._open(match, exchange), exchange)

    async def _open(self, match: Match, exchange: Exchange) -> Reading:
        method = match.route.method
        call = call_of(exchange, method, self._doorkeeper.identify(exchange))
        request = await bind(match, self._readers.of(method.descriptor.input_type), exchange)
        _resume(request, exchange.header(b"last-event-id"))
        local = self._local.get(method.path)
        return await (local(request, call) if local else self._bridge.open(method, request, call))

    def enter(self, outlet: Outlet) -> None:
        """Counts a reader in; one who came while the process closes is sent away at once."""
        self._outlets.add(outlet)
        if self._closed:
            outlet.close()
        self._gauge.set(len(self._outlets))

    def leave(self, outlet: Outlet) -> None:
        """Counts a reader out."""
        self._outlets.discard(outlet)
        self._gauge.set(len(self._outlets))

    def close(self) -> None:
        """Ends all streams; readers come back to another process."""
        self._closed = True
        for outlet in self._outlets:
            outlet.close()


class OpenStream:
    """A stream that can begin, on the connection that asked for it."""

    def __init__(self, streams: Streams, reading: Reading, exchange: Exchange) -> None:
        self._streams = streams
        self._reading = reading
        self._exchange = exchange

    async def serve(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        """Serves one reader from the head to the end."""
        outlet = Outlet(self._exchange, send)
        self._streams.enter(outlet)
        try:
            await outlet.open(headers)
            await self._reading.run(outlet)
        except ReaderGoneError:
            pass
        finally:
            self._reading.close()
            self._streams.leave(outlet)
            await outlet.finish()


def _resume(request: Any, last_event_id: str) -> None:
    """Puts the header into the field that the contract has for it; a header of another form is not ours."""
    if "after_version" in request.DESCRIPTOR.fields_by_name and _VERSION.fullmatch(last_event_id):
        request.after_version = int(last_event_id)
