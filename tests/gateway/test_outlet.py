import asyncio

import pytest

from gateway.exchange import Exchange
from gateway.sse import outlet
from gateway.sse.outlet import Outlet, ReaderGoneError


class Connection:
    """A connection whose reader takes nothing once it is stuck."""

    def __init__(self):
        self.sent, self.aborted, self.stuck = [], False, False

    def exchange(self):
        scope = {"method": "GET", "raw_path": b"/", "query_string": b"", "headers": [], "giving.abort": self.abort}
        return Exchange(scope, asyncio.Event().wait)

    def abort(self):
        self.aborted = True

    async def send(self, message):
        if self.stuck:
            await asyncio.Event().wait()
        self.sent.append(message)


@pytest.mark.requirement("TOT-8", "SEC-6")
async def test_a_reader_who_takes_nothing_is_dropped_and_not_waited_for(monkeypatch):
    monkeypatch.setattr(outlet, "_WRITE_S_MAX", 0.001)
    connection = Connection()
    reader = Outlet(connection.exchange(), connection.send)
    await reader.write(b"data: 1\n\n")
    connection.stuck = True
    with pytest.raises(ReaderGoneError):
        await reader.write(b"data: 2\n\n")
    assert connection.aborted
    assert reader.over
    await reader.finish()


async def test_a_stream_is_over_when_its_life_is(monkeypatch):
    monkeypatch.setattr(outlet, "_LIFE_S_MIN", 0.0)
    monkeypatch.setattr(outlet, "_LIFE_S_MAX", 0.0)
    connection = Connection()
    assert Outlet(connection.exchange(), connection.send).over


async def test_a_quiet_stream_is_pinged(monkeypatch):
    monkeypatch.setattr(outlet, "PING_S", 0.0)
    connection = Connection()
    reader = Outlet(connection.exchange(), connection.send)
    assert not await reader.woken()
    await reader.ping()
    assert connection.sent[-1]["body"] == b": ping\n\n"
