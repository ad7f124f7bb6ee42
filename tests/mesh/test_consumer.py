"""Consumers: each event applied once, acknowledged last, and one bad event stops nothing."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from giving.common.v1.event_pb2 import Event, EventWindow
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh.clock import ManualClock
from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.events.consumer import ATTEMPTS_MAX, HORIZON_DAYS, Consumer, EventRefused
from mesh.events.pull import ConsumerGone
from mesh.events.stream import LogRow, make_stream, subject, windows
from tests.support.log import QUERIES, Log, fact, open_log, running
from tests.support.waiting import until

TODAY = (datetime.datetime.now(datetime.UTC).date() - datetime.date(1970, 1, 1)).days


class Ledger:
    """Applies events in one transaction, each id once, and remembers the batches that it was given."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.batches: list[list[str]] = []
        self.before: Callable[[Sequence[Event]], Any] = lambda _events: None
        self.after: Callable[[], Any] = lambda: None

    async def prepare(self) -> None:
        await self._log.as_admin("CREATE TABLE applied (id uuid PRIMARY KEY, word text, times int NOT NULL DEFAULT 1)")
        await self._log.as_admin("GRANT SELECT, INSERT, UPDATE ON applied TO donation_service")

    async def apply(self, events: Sequence[Event]) -> None:
        self.batches.append([event.correlation_id for event in events])
        self.before(events)
        async with self._log.database.transaction() as connection:
            for event in events:
                if event.correlation_id.startswith("poison"):
                    raise EventRefused("it is poison")
                await connection.execute(
                    "INSERT INTO applied VALUES ($1, $2) ON CONFLICT DO NOTHING", UUID(bytes=event.id), event.correlation_id
                )
        self.after()

    async def words(self) -> list[str]:
        async with self._log.database.connection() as connection:
            return [row["word"] for row in await connection.fetch("SELECT word FROM applied ORDER BY word")]

    def times_seen(self, word: str) -> int:
        return sum(batch.count(word) for batch in self.batches)


@pytest.fixture
async def ledger(log: Log) -> Ledger:
    ledger = Ledger(log)
    await ledger.prepare()
    return ledger


@pytest.fixture
async def stream(log: Log) -> str:
    await make_stream(log.client.jetstream(), service=log.service, replicas=1)
    return log.stream


def consumer(log: Log, handler: Any, **more: Any) -> Consumer:
    settings: dict[str, Any] = {
        "queries": QUERIES,
        "service": log.service,
        "durable": "test",
        "clock": ManualClock(),
        "backoff_s": (0.01,),
    }
    return Consumer(log.client, log.database, handler, **settings | more)


def row(word: str, *, day: int = TODAY) -> LogRow:
    event = fact(word, bucket=0)
    return LogRow(1, 1, 1, day, 0, event.event_id, event.payload)


async def send(log: Log, *words: str | LogRow) -> None:
    """One window with an event for each word."""
    rows = [row(word) if isinstance(word, str) else word for word in words]
    for window in windows(rows, shards=1):
        await send_raw(log, window.data)


async def send_raw(log: Log, data: bytes) -> None:
    await log.client.jetstream().publish(subject(log.service, 0), data)


async def unacknowledged(log: Log, durable: str = "test") -> int:
    info = await log.client.jetstream().consumer_info(log.stream, durable)
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


async def all_acknowledged(log: Log) -> None:
    await until(lambda: unacknowledged(log), holds=lambda count: count == 0)


async def letters(log: Log) -> dict[str, tuple[int, int, str]]:
    """State, attempts and reason by word."""
    async with log.database.connection() as connection:
        rows = await connection.fetch("SELECT event, state, attempts, reason FROM dead_letter")
    return {
        Event.FromString(found["event"]).correlation_id: (found["state"], found["attempts"], found["reason"])
        for found in rows
    }


# Applied once, acknowledged last


@pytest.mark.requirement("EVT-6")
@pytest.mark.usefixtures("stream")
async def test_events_are_applied_and_their_messages_acknowledged(log: Log, ledger: Ledger) -> None:
    await send(log, "a", "b")
    await send(log, "c")
    async with running(consumer(log, ledger).run()):
        await until(ledger.words, holds=lambda words: words == ["a", "b", "c"])
        await all_acknowledged(log)


@pytest.mark.requirement("EVT-6", "OPS-6")
@pytest.mark.usefixtures("stream")
async def test_a_crash_between_applying_and_acknowledging_applies_once(log: Log, ledger: Ledger) -> None:
    await send(log, "a")

    def crash() -> None:
        raise asyncio.CancelledError

    ledger.after = crash
    task = asyncio.create_task(consumer(log, ledger).run())
    await asyncio.wait({task})
    assert task.cancelled()
    assert await ledger.words() == ["a"]

    ledger.after = lambda: None
    async with running(consumer(log, ledger).run()):
        await all_acknowledged(log)

    assert await ledger.words() == ["a"]
    assert ledger.times_seen("a") == 2


@pytest.mark.requirement("EVT-8", "OPS-6")
@pytest.mark.usefixtures("stream")
async def test_what_a_stopped_consumer_had_not_taken_goes_to_the_next_one_at_once(log: Log, ledger: Ledger) -> None:
    """Nothing waits until its acknowledgement is overdue: that bound is as long as this test waits at most."""
    entered, gate = asyncio.Event(), asyncio.Event()

    class Stuck:
        async def apply(self, _events: Sequence[Event]) -> None:
            entered.set()
            await gate.wait()

    for number in range(100):
        await send(log, f"{number:03}")
    async with running(consumer(log, Stuck()).run()):
        await entered.wait()
        # More than one batch has arrived by now.
        await until(lambda: handed_out(log), holds=lambda count: count == 64)

    async with running(consumer(log, ledger).run()):
        await all_acknowledged(log)
    assert len(await ledger.words()) == 100


async def handed_out(log: Log) -> int:
    return (await log.client.jetstream().consumer_info(log.stream, "test")).num_ack_pending or 0


@pytest.mark.requirement("EVT-8")
@pytest.mark.usefixtures("stream")
async def test_two_consumers_share_the_work_and_nothing_is_applied_twice(log: Log, ledger: Ledger) -> None:
    entered, gate = asyncio.Event(), asyncio.Event()

    class Busy:
        async def apply(self, events: Sequence[Event]) -> None:
            entered.set()
            await gate.wait()
            await ledger.apply(events)

    async with running(consumer(log, Busy()).run()):
        await send(log, "held")
        await entered.wait()
        async with running(consumer(log, ledger).run()):
            for number in range(200):
                await send(log, f"{number:03}")
            await until(lambda: asyncio.sleep(0, len(ledger.batches)))
            gate.set()
            await all_acknowledged(log)

    seen = [word for batch in ledger.batches for word in batch]
    assert len(seen) == len(set(seen)) == 201


@pytest.mark.requirement("EVT-6")
@pytest.mark.usefixtures("stream")
async def test_a_stuck_consumer_delays_no_other_one_and_catches_up(log: Log, ledger: Ledger) -> None:
    entered, gate, applied = asyncio.Event(), asyncio.Event(), set[str]()

    class Stuck:
        async def apply(self, events: Sequence[Event]) -> None:
            entered.set()
            await gate.wait()
            applied.update(event.correlation_id for event in events)

    async with running(consumer(log, Stuck(), durable="stuck").run(), consumer(log, ledger).run()):
        await send(log, "first")
        await entered.wait()
        for number in range(300):
            await send(log, f"{number:03}")
        words = await until(ledger.words, holds=lambda words: len(words) == 301)
        await all_acknowledged(log)
        assert not applied

        gate.set()
        await until(lambda: asyncio.sleep(0, len(applied)), holds=lambda count: count == 301)
    assert applied == set(words)


# One bad event


@pytest.mark.requirement("EVT-7")
@pytest.mark.usefixtures("stream")
async def test_a_poison_event_becomes_a_dead_letter_and_the_rest_of_its_window_is_applied(log: Log, ledger: Ledger) -> None:
    await send(log, "a", "poison", "b")
    await send(log, "c")
    async with running(consumer(log, ledger).run()):
        await until(lambda: letters(log), holds=lambda found: found.get("poison", (0,))[0] == 2)
        await all_acknowledged(log)

    assert await ledger.words() == ["a", "b", "c"]
    assert await letters(log) == {"poison": (2, ATTEMPTS_MAX, "it is poison")}


@pytest.mark.requirement("EVT-7")
@pytest.mark.usefixtures("stream")
async def test_a_defect_of_the_handler_is_named_by_its_class_and_shows_no_values(log: Log, ledger: Ledger) -> None:
    def fail(events: Sequence[Event]) -> None:
        raise KeyError("4242 4242 4242 4242")

    ledger.before = fail
    await send(log, "a")
    async with running(consumer(log, ledger).run()):
        await all_acknowledged_after_letter(log, "a", state=2)

    assert await letters(log) == {"a": (2, ATTEMPTS_MAX, "KeyError")}


async def all_acknowledged_after_letter(log: Log, word: str, *, state: int) -> None:
    await until(lambda: letters(log), holds=lambda found: found.get(word, (0,))[0] == state)
    await all_acknowledged(log)


@pytest.mark.requirement("EVT-7")
@pytest.mark.usefixtures("stream")
async def test_a_letter_whose_retry_succeeds_is_closed(log: Log, ledger: Ledger) -> None:
    calls = 0

    def fail_twice(events: Sequence[Event]) -> None:
        nonlocal calls
        calls += 1
        if calls <= 4:  # two deliveries, each as a batch and alone
            raise EventRefused("not yet")

    ledger.before = fail_twice
    await send(log, "a")
    async with running(consumer(log, ledger).run()):
        await all_acknowledged_after_letter(log, "a", state=3)

    assert await ledger.words() == ["a"]
    assert await letters(log) == {"a": (3, 2, "not yet")}


@pytest.mark.requirement("EVT-7")
@pytest.mark.usefixtures("stream")
async def test_an_event_that_fails_after_its_letter_was_closed_is_tried_anew(log: Log, ledger: Ledger) -> None:
    poison = row("poison")
    async with log.database.connection() as connection:
        await connection.execute(QUERIES["record_failure"], "test", poison.event_id, poison.payload, "earlier", 5)
        await connection.execute(QUERIES["settle_failures"], "test", [poison.event_id])

    await send(log, poison)
    async with running(consumer(log, ledger).run()):
        await all_acknowledged_after_letter(log, "poison", state=2)

    assert await letters(log) == {"poison": (2, ATTEMPTS_MAX, "it is poison")}


@pytest.mark.requirement("EVT-7")
@pytest.mark.usefixtures("stream")
async def test_a_message_that_is_no_window_is_skipped(log: Log, ledger: Ledger) -> None:
    await send_raw(log, b"\xff\xff\xff")
    await send(log, "a")
    async with running(consumer(log, ledger).run()):
        await until(ledger.words, holds=lambda words: words == ["a"])
        await all_acknowledged(log)
    assert await letters(log) == {}


@pytest.mark.requirement("EVT-7")
@pytest.mark.usefixtures("stream")
async def test_events_that_break_their_contract_are_dead_letters_each_its_own(log: Log, ledger: Ledger) -> None:
    broken = [Event(id=b"short", correlation_id=word) for word in ("x", "y")]
    good = Event.FromString(fact("a").payload)
    good.day = TODAY
    await send_raw(log, EventWindow(events=[*broken, good]).SerializeToString())
    async with running(consumer(log, ledger).run()):
        await until(ledger.words, holds=lambda words: words == ["a"])
        await all_acknowledged(log)
    reason = "breaks the contract of events"
    assert await letters(log) == {"x": (2, 1, reason), "y": (2, 1, reason)}


@pytest.mark.requirement("EVT-6")
@pytest.mark.usefixtures("stream")
async def test_an_event_older_than_the_horizon_is_a_dead_letter_and_not_applied(log: Log, ledger: Ledger) -> None:
    clock = ManualClock()
    today = (clock.now().date() - datetime.date(1970, 1, 1)).days
    too_old, just_right = row("old", day=today - HORIZON_DAYS), row("young", day=today - HORIZON_DAYS + 1)
    await send(log, too_old, just_right)
    async with running(consumer(log, ledger, clock=clock).run()):
        await until(ledger.words, holds=lambda words: words == ["young"])
        await all_acknowledged(log)
    assert await letters(log) == {"old": (2, 1, "older than the dedupe horizon")}


@pytest.mark.requirement("EVT-7", "SEC-6")
@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize("day", [2**31 - 1, -(2**31)])
async def test_a_day_that_is_no_date_stops_nothing(log: Log, ledger: Ledger, day: int) -> None:
    strange = Event.FromString(fact("strange").payload)
    strange.day = day
    await send_raw(log, EventWindow(events=[strange]).SerializeToString())
    await send(log, "a")
    async with running(consumer(log, ledger).run()):
        await until(ledger.words, holds=lambda words: "a" in words)
        await all_acknowledged(log)


# Not now


@pytest.mark.requirement("EVT-6")
@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize("refusal", [DependencyUnavailable("away", dependency="postgres"), RequestInFlight("busy")])
async def test_a_dependency_that_is_away_costs_no_event_an_attempt(log: Log, ledger: Ledger, refusal: Exception) -> None:
    calls = 0

    def away(events: Sequence[Event]) -> None:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise refusal

    ledger.before = away
    await send(log, "a", "b")
    async with running(consumer(log, ledger).run()):
        await until(ledger.words, holds=lambda words: words == ["a", "b"])
        await all_acknowledged(log)
    assert await letters(log) == {}


@pytest.mark.requirement("EVT-6")
@pytest.mark.usefixtures("stream")
async def test_a_dependency_that_goes_away_while_events_are_tried_alone_costs_no_attempt(log: Log, ledger: Ledger) -> None:
    calls = 0

    def first_a_defect_then_away(events: Sequence[Event]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError
        if calls == 3:
            raise DependencyUnavailable("away", dependency="postgres")

    ledger.before = first_a_defect_then_away
    await send(log, "a", "b")
    async with running(consumer(log, ledger).run()):
        # Handed back, not left until its acknowledgement is overdue, which would be longer than this waits.
        await all_acknowledged_when(ledger, log, ["a", "b"])
    assert await letters(log) == {}


async def all_acknowledged_when(ledger: Ledger, log: Log, words: list[str]) -> None:
    await until(ledger.words, holds=lambda found: found == words)
    await all_acknowledged(log)


@pytest.mark.requirement("EVT-7")
@pytest.mark.usefixtures("stream")
async def test_a_value_that_the_driver_refuses_is_the_events_fault_not_the_databases(log: Log, ledger: Ledger) -> None:
    """Otherwise one event with such a value would be handed back for ever, with everything behind it."""

    class Strict:
        async def apply(self, events: Sequence[Event]) -> None:
            if any(event.correlation_id == "huge" for event in events):
                async with log.database.connection() as connection:
                    await connection.execute("SELECT $1::bigint", 2**64)
            await ledger.apply(events)

    await send(log, "huge", "a")
    async with running(consumer(log, Strict()).run()):
        await all_acknowledged_after_letter(log, "huge", state=2)
    assert await ledger.words() == ["a"]


@pytest.mark.requirement("EVT-6")
@pytest.mark.usefixtures("stream")
async def test_a_defect_outside_of_the_handler_does_not_end_the_consumer(log: Log, ledger: Ledger) -> None:
    broken = consumer(log, ledger, queries={**QUERIES, "record_failure": "SELECT no_such_column"})
    await send(log, "poison")
    await send(log, "a")
    async with running(broken.run()):
        await until(lambda: asyncio.sleep(0, len(ledger.batches)), holds=lambda count: count >= 4)
        broken._queries = QUERIES
        await all_acknowledged_after_letter(log, "poison", state=2)
    assert await ledger.words() == ["a"]


# What surrounds it


@pytest.mark.requirement("EVT-5")
@pytest.mark.usefixtures("stream")
async def test_a_consumer_that_was_deleted_is_made_again(log: Log, ledger: Ledger) -> None:
    await send(log, "a")
    async with running(consumer(log, ledger).run()):
        await until(ledger.words)
        await log.client.jetstream().delete_consumer(log.stream, "test")
        await send(log, "b")
        await until(ledger.words, holds=lambda words: words == ["a", "b"])
    assert await letters(log) == {}


@pytest.mark.requirement("EVT-5")
async def test_a_stream_that_is_not_there_yet_is_waited_for(log: Log, ledger: Ledger) -> None:
    one = consumer(log, ledger)
    await one._attempt()
    async with running(one.run()):
        await make_stream(log.client.jetstream(), service=log.service, replicas=1)
        await send(log, "a")
        await until(ledger.words)


@pytest.mark.requirement("EVT-5")
async def test_a_stream_that_was_deleted_and_made_again_is_followed(log: Log, ledger: Ledger, stream: str) -> None:
    await send(log, "a")
    async with running(consumer(log, ledger).run()):
        await until(ledger.words)
        await log.client.jetstream().delete_stream(stream)
        await make_stream(log.client.jetstream(), service=log.service, replicas=1)
        await send(log, "b")
        await until(ledger.words, holds=lambda words: words == ["a", "b"])


async def stand_beyond_the_end(log: Log) -> None:
    """As brokers before 2.15 leave a consumer when the messages of its stream come from an older copy than its position."""
    ahead = ConsumerConfig(
        durable_name="test",
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=1_000,
    )
    await log.client.jetstream().add_consumer(log.stream, ahead)


@pytest.mark.requirement("EVT-5")
@pytest.mark.usefixtures("stream")
async def test_a_consumer_that_stands_beyond_the_streams_end_begins_anew(log: Log, ledger: Ledger) -> None:
    await stand_beyond_the_end(log)
    await send(log, "a")
    assert await unacknowledged(log) == 0, "it would never be delivered"

    async with running(consumer(log, ledger).run()):
        await until(ledger.words, holds=lambda words: words == ["a"])
        await all_acknowledged(log)


@pytest.mark.requirement("EVT-5")
@pytest.mark.usefixtures("stream")
async def test_a_consumer_that_hears_nothing_finds_out_that_it_stands_beyond_the_streams_end(
    log: Log, ledger: Ledger
) -> None:
    one = consumer(log, ledger)
    await one._puller.open()
    assert await one._puller.probe() == 0
    await log.client.jetstream().delete_consumer(log.stream, "test")
    await stand_beyond_the_end(log)

    with pytest.raises(ConsumerGone):
        await one._puller.probe()

    await one._puller.open()
    await send(log, "a")
    assert await one._puller.probe() == 1
    await one._puller.close()


@pytest.mark.requirement("EVT-4")
async def test_a_broker_that_restarts_is_followed(postgres_server: Postgres, tmp_path: Path) -> None:
    async with nats(tmp_path) as broker, open_log(postgres_server.dsn, broker.url) as log:
        ledger = Ledger(log)
        await ledger.prepare()
        await make_stream(log.client.jetstream(), service=log.service, replicas=1)
        async with running(consumer(log, ledger).run()):
            await send(log, "a")
            await until(ledger.words)
            await broker.kill()
            await broker.start()
            await until(lambda: asyncio.sleep(0, log.client.is_connected))
            await send(log, "b")
            await until(ledger.words, holds=lambda words: words == ["a", "b"])


@pytest.mark.requirement("EVT-6")
@pytest.mark.usefixtures("stream")
async def test_a_lone_message_does_not_wait_for_company_and_a_backlog_comes_in_batches(log: Log, ledger: Ledger) -> None:
    for number in range(500):
        await send(log, f"{number:03}")
    async with running(consumer(log, ledger).run()):
        await until(ledger.words, holds=lambda words: len(words) == 500)
        await all_acknowledged(log)
        batches = len(ledger.batches)
        assert batches <= 100
        await send(log, "lone")
        await until(ledger.words, holds=lambda words: "lone" in words)
        assert ledger.batches[batches:] == [["lone"]]


@pytest.mark.requirement("EVT-4")
async def test_a_service_starts_while_the_broker_is_away(tmp_path: Path) -> None:
    from mesh.events.stream import connect  # noqa: PLC0415

    async with nats(tmp_path) as broker:
        await broker.kill()
        async with asyncio.timeout(20), connect(broker.url, name="test") as client:
            assert not client.is_connected
            await broker.start()
            await until(lambda: asyncio.sleep(0, client.is_connected))
            await make_stream(client.jetstream(), service="late", replicas=1)
            await client.flush()
