"""A stream that lost messages: nothing is missed, and what everybody has is not sent again."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from giving.common.v1.event_pb2 import EventWindow
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from cli.servers.nats import Nats, nats
from cli.servers.postgres import Postgres
from mesh.events.relay import Position, Relay
from mesh.events.stream import ack_floors, make_stream
from mesh.events.transport import StreamLost
from tests.support.log import Log, fact, open_log
from tests.support.waiting import until


class Reader:
    """A durable consumer that acknowledges what it is told to, and remembers what it has applied."""

    def __init__(self, log: Log, durable: str) -> None:
        self._log = log
        self._durable = durable
        self.applied: set[UUID] = set()

    async def open(self) -> None:
        await self._log.client.jetstream().add_consumer(self._log.stream, ConsumerConfig(durable_name=self._durable))

    async def read(self, messages: int) -> None:
        """Applies and acknowledges so many messages."""
        js = self._log.client.jetstream()
        subscription = await js.pull_subscribe_bind(self._durable, self._log.stream)
        while messages:
            for message in await subscription.fetch(messages, timeout=5):
                self.applied |= {UUID(bytes=event.id) for event in EventWindow.FromString(message.data).events}
                await message.ack_sync()
                messages -= 1
        await subscription.unsubscribe()

    async def read_everything(self) -> None:
        await self.open()
        info = await self._log.client.jetstream().consumer_info(self._log.stream, self._durable)
        await self.read(info.num_pending or 0)


class Hand:
    """A relay that is worked by hand: each step drains, looks at the stream and sets a checkpoint."""

    def __init__(self, log: Log, **more: Any) -> None:
        self._log = log
        self._now = 0.0
        self.relay: Relay = log.relay(shards=1, monotonic=lambda: self._now, **more)
        self.position: Position | None = None

    async def begin(self) -> None:
        """What the relay does at its start and after a failure."""
        await self._log.as_admin("UPDATE relay SET expire_time = now() - interval '1 second'")
        position = await self.relay._take_lease()
        assert position is not None
        await make_stream(self._log.client.jetstream(), service=self._log.service, replicas=1)
        self.position = await self.relay._heal(position)

    async def publish(self, times: int) -> list[UUID]:
        """So many messages of one event, each with its checkpoint."""
        written = []
        for _ in range(times):
            written += await self._log.write(fact())
            await self.step()
        return written

    async def step(self) -> None:
        assert self.position is not None
        self.position = await self.relay.drain(self.position)
        self._now += 2
        await self.relay._beat(self.position)


@pytest.fixture
async def hand(log: Log) -> Hand:
    hand = Hand(log)
    await hand.begin()
    return hand


async def lose(log: Log) -> None:
    await log.client.jetstream().delete_stream(log.stream)


async def heals(log: Log) -> int:
    return int((await log.row("SELECT heals FROM relay"))["heals"])


# What is sent again


@pytest.mark.requirement("EVT-5")
async def test_a_deleted_stream_gets_what_one_of_its_consumers_had_not_acknowledged(log: Log, hand: Hand) -> None:
    quick, slow = Reader(log, "quick"), Reader(log, "slow")
    await quick.open()
    await slow.open()
    written = await hand.publish(20)
    await quick.read(20)
    await slow.read(17)
    await hand.step()
    await lose(log)

    await hand.begin()

    assert await log.published() == written[17:]
    assert await heals(log) == 1
    await slow.read_everything()
    assert slow.applied == set(written)
    # It goes on from there.
    later = await hand.publish(2)
    assert await log.published() == written[17:] + later


@pytest.mark.requirement("EVT-5")
async def test_a_floor_that_was_seen_long_ago_costs_duplicates_and_nothing_else(log: Log, hand: Hand) -> None:
    reader = Reader(log, "reader")
    await reader.open()
    written = await hand.publish(5)
    await reader.read(5)
    await hand.step()  # the last time that anybody looked
    written += await log.write(fact(), fact())
    assert hand.position is not None
    await hand.relay.drain(hand.position)
    await reader.read(1)
    await lose(log)

    await hand.begin()

    assert await log.published() == written[5:]


@pytest.mark.requirement("EVT-5")
async def test_a_second_loss_goes_back_no_farther_than_the_first(log: Log, hand: Hand) -> None:
    reader = Reader(log, "reader")
    await reader.open()
    written = await hand.publish(6)
    await reader.read(4)
    await hand.step()
    for _ in range(2):
        await lose(log)
        await hand.begin()
        assert await log.published() == written[4:]
        written += await hand.publish(3)

    await reader.read_everything()
    assert reader.applied == set(written)


@pytest.mark.requirement("EVT-5", "EVT-3")
async def test_a_transaction_that_was_open_at_the_checkpoint_is_sent_again(log: Log, hand: Hand) -> None:
    reader = Reader(log, "reader")
    await reader.open()
    async with log.database.transaction() as early:
        late = await log.write(fact("drawn early, committed late"), connection=early)
        seen = await hand.publish(2)
        await reader.read(2)
        await hand.step()
    await hand.step()
    assert await log.published() == seen + late
    await lose(log)

    await hand.begin()

    assert await log.published() == late


@pytest.mark.requirement("EVT-5")
async def test_a_crash_in_the_middle_of_healing_begins_again(log: Log) -> None:
    hand = Hand(log, page=2)
    await hand.begin()
    reader = Reader(log, "reader")
    await reader.open()
    written = await hand.publish(9)
    await reader.read(3)
    await hand.step()
    await lose(log)
    store = hand.relay._store

    async def crash(position: Position) -> None:
        await store(position)
        raise ConnectionError

    hand.relay._store = crash  # type: ignore[method-assign] # the crash
    with pytest.raises(ConnectionError):
        await hand.begin()
    assert await log.published() == written[3:5]

    survivor = Hand(log, page=2, holder="second")
    await survivor.begin()

    assert await log.published() == written[3:]
    assert await heals(log) == 2
    ids = [message_id for message_id, _ in await log.messages()]
    assert {message_id.partition(":")[2] for message_id in ids} == {"r1.2"}


@pytest.mark.requirement("EVT-5", "EVT-3")
async def test_a_stream_that_was_lost_in_the_middle_of_a_drain_gets_what_the_drain_had_sent(log: Log) -> None:
    hand = Hand(log, page=2)
    await hand.begin()
    reader = Reader(log, "reader")
    await reader.open()
    written = await hand.publish(3)
    await reader.read(3)
    await hand.step()
    for _ in range(6):
        written += await log.write(fact())
    publish, pages = hand.relay._publish, 0

    async def publish_one_page(rows: Any, **more: Any) -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise ConnectionError
        await publish(rows, **more)

    hand.relay._publish = publish_one_page  # type: ignore[method-assign] # the crash
    with pytest.raises(ConnectionError):
        await hand.step()
    await lose(log)

    survivor = Hand(log, page=2, holder="second")
    await survivor.begin()
    await survivor.step()

    assert await log.published() == written[3:]


# What is not sure


@pytest.mark.requirement("EVT-5")
async def test_without_a_consumer_that_was_ever_seen_everything_is_sent_again(log: Log, hand: Hand) -> None:
    written = await hand.publish(4)
    await lose(log)

    await hand.begin()

    assert await log.published() == written


@pytest.mark.requirement("EVT-5")
async def test_a_consumer_that_appears_after_a_healing_gets_everything(log: Log, hand: Hand) -> None:
    """It was away when the stream was lost, and nobody had ever seen it."""
    known, late = Reader(log, "known"), Reader(log, "late")
    await known.open()
    written = await hand.publish(5)
    await known.read(5)
    await hand.step()
    await lose(log)
    await hand.begin()
    assert await log.published() == []

    await late.open()
    with pytest.raises(StreamLost):
        await hand.step()
    await hand.begin()

    await late.read_everything()
    assert late.applied == set(written)
    await hand.step()
    assert await heals(log) == 2


@pytest.mark.requirement("EVT-5", "EVT-10")
async def test_a_consumer_that_begins_anew_counts_from_its_beginning(log: Log, hand: Hand) -> None:
    reader = Reader(log, "reader")
    await reader.open()
    written = await hand.publish(4)
    await reader.read(4)
    await hand.step()
    await log.client.jetstream().delete_consumer(log.stream, "reader")
    await reader.open()
    await hand.step()
    await lose(log)

    await hand.begin()

    assert await log.published() == written


@pytest.mark.requirement("EVT-5")
async def test_checkpoints_of_an_earlier_epoch_say_nothing(log: Log, hand: Hand) -> None:
    reader = Reader(log, "reader")
    await reader.open()
    written = await hand.publish(3)
    await reader.read(3)
    await hand.step()
    await log.as_admin("INSERT INTO epoch SELECT 2, system_identifier, 'test' FROM epoch")
    await lose(log)

    await hand.begin()

    assert await log.published() == written


@pytest.mark.requirement("EVT-5")
async def test_checkpoints_are_few_and_the_older_the_farther_apart(log: Log, hand: Hand) -> None:
    await hand.step()
    await log.as_admin("UPDATE relay SET expire_time = now() + interval '1 hour', stream_seq = 0")
    held = await log.row("SELECT holder, lease FROM relay")
    async with log.database.connection() as connection:
        for _ in range(1_000):
            await connection.execute("UPDATE relay SET stream_seq = stream_seq + 1")
            await connection.execute(hand.relay._queries["add_checkpoint"], held["holder"], held["lease"])
        kept = [
            row["ordinal"] for row in await connection.fetch("SELECT ordinal FROM relay_checkpoint ORDER BY ordinal DESC")
        ]

    assert kept[:16] == list(range(1_000, 984, -1))
    assert len(kept) < 100
    for newer, older in itertools.pairwise(kept):
        assert newer - older <= max(1, (1_000 - older) / 8), "a floor in between costs too much"


# A broker that comes back with an older copy


@asynccontextmanager
async def own_broker(postgres_server: Postgres, folder: Path) -> AsyncIterator[tuple[Nats, Log, Hand]]:
    async with nats(folder) as broker, open_log(postgres_server.dsn, broker.url) as log:
        hand = Hand(log)
        await hand.begin()
        yield broker, log, hand


async def restore(broker: Nats, log: Log, copy: Path | None) -> None:
    """Puts the broker's folder back to a copy, or to nothing."""
    await broker.stop()
    shutil.rmtree(broker.store)
    if copy:
        shutil.copytree(copy, broker.store)
    await broker.start()
    await until(lambda: answers(log))


async def save(broker: Nats, log: Log, copy: Path) -> None:
    await broker.stop()
    shutil.copytree(broker.store, copy)
    await broker.start()
    await until(lambda: answers(log))


async def answers(log: Log) -> bool:
    try:
        await log.client.jetstream().account_info()
    except Exception:  # noqa: BLE001 - not yet
        return False
    return True


@pytest.mark.requirement("EVT-5")
@pytest.mark.parametrize(("copied", "sent_from"), [(30, 28), (20, 20)])
async def test_a_rewound_stream_with_a_lagging_consumer_loses_nothing_and_sends_little(
    postgres_server: Postgres, tmp_path: Path, copied: int, sent_from: int
) -> None:
    """From where all have acknowledged, or where the copy ends."""
    async with own_broker(postgres_server, tmp_path) as (broker, log, hand):
        quick, slow = Reader(log, "quick"), Reader(log, "slow")
        await quick.open()
        await slow.open()
        written = await hand.publish(copied)
        await quick.read(copied)
        await slow.read(copied - 5)
        await save(broker, log, tmp_path / "older")
        written += await hand.publish(40 - copied)
        await quick.read(40 - copied)
        await slow.read(28 - copied + 5)  # acknowledged by the consumer, forgotten by the copy
        await hand.step()
        await restore(broker, log, tmp_path / "older")

        with pytest.raises(StreamLost):
            await hand.step()
        await hand.begin()

        assert await log.published() == written[sent_from:]
        await slow.read_everything()
        await quick.read_everything()
        assert slow.applied == quick.applied == set(written)


@pytest.mark.requirement("EVT-5")
async def test_a_rewound_stream_that_grew_past_its_old_end_is_noticed(postgres_server: Postgres, tmp_path: Path) -> None:
    """The relay publishes on before it looks, notices at the acknowledgement, and dies before it can heal."""
    async with own_broker(postgres_server, tmp_path) as (broker, log, hand):
        await save(broker, log, tmp_path / "older")
        reader = Reader(log, "reader")
        await reader.open()
        written = await hand.publish(3)
        await restore(broker, log, tmp_path / "older")
        for number in range(5):
            written += await log.write(fact(f"{number}", bucket=number))
        assert hand.position is not None
        several = Hand(log)
        several.relay._shards = 5
        several.relay._lease, several.relay._holder = hand.relay._lease, hand.relay._holder
        several.relay._stream._end = hand.relay._stream._end
        with pytest.raises(StreamLost):
            await several.relay.drain(hand.position)
        assert len(await log.published()) == 5

        survivor = Hand(log, holder="second")
        await survivor.begin()
        await survivor.step()

        assert set(await log.published()) == set(written)


@pytest.mark.requirement("EVT-5")
async def test_a_deleted_jetstream_folder_costs_what_was_not_acknowledged(postgres_server: Postgres, tmp_path: Path) -> None:
    async with own_broker(postgres_server, tmp_path) as (broker, log, hand):
        reader = Reader(log, "reader")
        await reader.open()
        written = await hand.publish(12)
        await reader.read(10)
        await hand.step()
        await restore(broker, log, None)

        with pytest.raises(NotFoundError):
            await hand.step()
        await hand.begin()

        assert await log.published() == written[10:]
        assert await ack_floors(log.client.jetstream(), service=log.service) == {}
        await reader.read_everything()
        assert reader.applied == set(written)
