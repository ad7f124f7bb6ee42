"""HTTP connections with the bounds that uvicorn lacks."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Heads that trickle in or never end would hold connections for ever. uvicorn bounds idle time between requests only; its
# limit of header bytes is h11's, and neither httptools nor uvicorn bounds the time or the size of a request's head.
# Connections per address are left to the edge in front of us: here every caller may come from one proxy.
HEAD_DEADLINE_S = 10.0
HEAD_BYTES_MAX = 32 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(HttpToolsProtocol):
    """Cuts callers whose request head is too slow or too long; lets streams abort their transport."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Starts the clock: a connection that sends nothing is cut, too."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        # The rest of a body that was answered already comes under the same clock: uvicorn's has been stopped by it.
        if self._in_head or (self.cycle is not None and self.cycle.response_complete):
            self._start_timer()
        super().data_received(data)
        # A head and its body may come in one piece; only what is still a head after parsing has to be short.
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["giving.abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key] # read by sse.outlet

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        # Between requests uvicorn's keep-alive timer runs; ours starts with the next head's first byte.
        self._in_head, self._head_bytes = True, 0

    def _expect_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._start_timer()

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_DEADLINE_S, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_head(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()
