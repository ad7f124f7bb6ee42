"""Windows: bounded, of one shard, in the order of the log, readable as the contract says."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import signal
from uuid import UUID

import pytest
from giving.common.v1.event_pb2 import Event, EventWindow
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import Error as NatsError

from cli import family
from cli.servers.nats import nats
from mesh.events.stream import (
    WINDOW_BYTES_MAX,
    WINDOW_EVENTS_MAX,
    LogRow,
    Window,
    ask,
    connect,
    stream_name,
    subject,
    windows,
)
from tests.support.folders import reachable_folder
from tests.support.waiting import until


@pytest.mark.requirement("EVT-2", "RES-1")
async def test_a_broker_that_was_asked_in_vain_is_heard_as_soon_as_it_answers_again() -> None:
    with reachable_folder() as folder:
        async with nats(folder) as server, connect(server.url, name="test") as client:

            async def is_connected() -> bool:
                return client.is_connected

            await until(is_connected)
            for key in server.family():
                family.send(key, signal.SIGSTOP)
            for _ in range(3):
                with pytest.raises((TimeoutError, NatsError)):
                    async with asyncio.timeout(0.1):
                        await ask(client)
            for key in server.family():
                family.send(key, signal.SIGCONT)
            # A client that does not read gives its connection up fifteen seconds after it was made.
            async with asyncio.timeout(8):
                await ask(client)
            assert client.is_connected


async def test_a_broker_that_is_away_is_not_asked() -> None:
    async with connect("nats://127.0.0.1:1", name="test") as client:
        with pytest.raises(ConnectionError):
            await ask(client)


def payload(word: str = "", size: int = 0) -> bytes:
    return Event(correlation_id=word, data=b"x" * size).SerializeToString()


def row(seq: int, *, bucket: int = 0, tx: int = 1, epoch: int = 1, day: int = 1, size: int = 0) -> LogRow:
    return LogRow(seq, tx, epoch, day, bucket, UUID(int=seq), payload(str(seq), size))


rows_of_a_log = st.lists(
    st.builds(
        row,
        st.just(0),
        bucket=st.integers(0, 1023),
        tx=st.integers(0, 2**63 - 1),
        epoch=st.integers(1, 2**31 - 1),
        day=st.integers(0, 2**31 - 1),
        size=st.sampled_from([0, 1, 100, 60_000]),
    ),
    max_size=60,
).map(
    lambda found: [LogRow(n, r.tx, r.epoch, r.day, r.bucket, UUID(int=n), payload(str(n), 1)) for n, r in enumerate(found)]
)


@pytest.mark.requirement("EVT-2")
@given(rows=rows_of_a_log, shards=st.integers(1, 16))
def test_what_is_packed_is_read_again_with_its_place_in_the_log(rows: list[LogRow], shards: int) -> None:
    packed = list(windows(rows, shards=shards))

    read = {UUID(int=int(event.correlation_id)): event for window in packed for event in events(window)}
    assert len(read) == len(rows) == sum(window.events for window in packed)
    for one in rows:
        event = read[one.event_id]
        assert (event.tx, event.epoch, event.day, event.data) == (one.tx, one.epoch, one.day, b"x")


@pytest.mark.requirement("EVT-2")
@given(rows=rows_of_a_log, shards=st.integers(1, 16))
def test_a_window_holds_one_shard_in_the_order_of_the_log(rows: list[LogRow], shards: int) -> None:
    buckets = {str(one.seq): one.bucket for one in rows}
    last: dict[int, int] = {}
    for window in windows(rows, shards=shards):
        for event in events(window):
            assert buckets[event.correlation_id] % shards == window.shard
            assert last.get(window.shard, -1) < int(event.correlation_id)
            last[window.shard] = int(event.correlation_id)


def events(window: Window) -> list[Event]:
    return list(EventWindow.FromString(window.data).events)


@pytest.mark.requirement("EVT-2")
def test_a_window_holds_at_most_200_events() -> None:
    packed = list(windows([row(seq) for seq in range(2 * WINDOW_EVENTS_MAX + 1)], shards=1))
    assert [window.events for window in packed] == [200, 200, 1]


@pytest.mark.requirement("EVT-2")
@given(sizes=st.lists(st.integers(0, 66_000), min_size=1, max_size=40))
def test_a_window_holds_at_most_256_kib(sizes: list[int]) -> None:
    packed = list(windows([row(seq, size=size) for seq, size in enumerate(sizes)], shards=1))
    assert all(len(window.data) <= WINDOW_BYTES_MAX for window in packed)
    for one, following in itertools.pairwise(packed):
        assert len(one.data) + len(next(iter(frames(following)))) > WINDOW_BYTES_MAX, "it was full"


def frames(window: Window) -> list[bytes]:
    return [EventWindow(events=[event]).SerializeToString() for event in events(window)]


@pytest.mark.requirement("EVT-2")
def test_the_message_id_is_the_events_own_for_one_and_a_digest_for_more() -> None:
    [alone] = windows([row(7)], shards=1)
    [many] = windows([row(7), row(8)], shards=1)
    assert alone.message_id == str(UUID(int=7))
    assert many.message_id == hashlib.sha256(UUID(int=7).bytes + UUID(int=8).bytes).hexdigest()
    assert many.message_id != next(iter(windows([row(8), row(7)], shards=1))).message_id


@pytest.mark.requirement("EVT-2")
def test_a_republication_has_message_ids_of_its_own() -> None:
    [window] = windows([row(7)], shards=1, suffix=":r2")
    assert window.message_id == f"{UUID(int=7)}:r2"


def test_nothing_packs_into_nothing() -> None:
    assert list(windows([], shards=8)) == []


def test_names_follow_the_service() -> None:
    assert stream_name("donation") == "GIVING_DONATION"
    assert subject("donation", 3) == "giving.donation.v1.3"
