"""The relay: everything that was committed, nothing that was not, whatever happens in between."""

from __future__ import annotations

import asyncio
import datetime
import json
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from giving.common.v1.event_pb2 import Event
from nats.js.errors import NotFoundError

from cli.servers.nats import Nats, nats
from cli.servers.postgres import Postgres, postgres
from mesh.events.relay import LeaseLost, XidsRestarted, open_epoch
from mesh.events.stream import make_stream
from mesh.postgres import open_database
from tests.support.folders import reachable_folder
from tests.support.log import QUERIES, Log, fact, open_log, running
from tests.support.schemas import make_database
from tests.support.waiting import until


class Abandoned(Exception):  # noqa: N818 - rolls a transaction back
    """Thrown inside a transaction so that it is rolled back."""


async def lease_ends(log: Log) -> None:
    await log.as_admin("UPDATE relay SET expire_time = now() - interval '1 second'")


# What is published


@pytest.mark.requirement("EVT-1")
async def test_an_event_of_a_rolled_back_transaction_is_never_published(log: Log) -> None:
    with pytest.raises(Abandoned):
        async with log.database.transaction() as connection:
            await log.write(fact(), fact(), connection=connection)
            raise Abandoned
    kept = await log.write(fact())
    relay = log.relay()

    await relay.drain(await log.begin(relay))

    assert await log.published() == kept


@pytest.mark.requirement("EVT-1")
async def test_an_event_of_a_rolled_back_savepoint_is_never_published(log: Log) -> None:
    async with log.database.transaction() as connection:
        kept = await log.write(fact(), connection=connection)
        with pytest.raises(Abandoned):
            async with connection.transaction():
                await log.write(fact(), connection=connection)
                raise Abandoned
        async with connection.transaction():
            kept += await log.write(fact(), connection=connection)
    relay = log.relay(shards=1)

    await relay.drain(await log.begin(relay))

    assert await log.published() == kept


@pytest.mark.requirement("EVT-3")
async def test_a_transaction_with_an_earlier_sequence_that_commits_later_is_published(log: Log) -> None:
    relay = log.relay()
    position = await log.begin(relay)
    async with log.database.transaction() as early:
        slow = await log.write(fact("early"), connection=early)
        quick = await log.write(fact("late"))
        position = await relay.drain(position)
        assert await log.published() == quick
        position = await relay.drain(position)

    await relay.drain(position)

    assert await log.published() == quick + slow


@pytest.mark.requirement("EVT-3")
async def test_an_unrelated_open_transaction_stalls_nothing(log: Log) -> None:
    relay = log.relay()
    position = await log.begin(relay)
    written = []
    async with log.database.transaction() as unrelated:
        await unrelated.execute("SELECT pg_current_xact_id()")
        for _ in range(3):
            written += await log.write(fact())
            position = await relay.drain(position)
            assert await log.published() == written


@pytest.mark.requirement("EVT-3")
async def test_events_without_end_are_read_once_while_nothing_else_happens(log: Log) -> None:
    relay = log.relay()
    written = await log.write(fact(), fact())
    position = await relay.drain(await log.begin(relay))
    for _ in range(3):
        position = await relay.drain(position)

    assert sorted(await log.published()) == sorted(written)


@pytest.mark.requirement("EVT-1", "EVT-3")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_writers_lose_nothing_and_invent_nothing(
    postgres_server: Postgres, nats_server: Nats, seed: int
) -> None:
    async with open_log(postgres_server.dsn, nats_server.url, pool_max=16) as log:
        storm = Storm(log, random.Random(seed))
        await storm.run(writers=8, transactions=30)

        published = Counter(await log.published())

        assert set(published) == storm.committed
        assert max(published.values()) == 1


class Storm:
    """Writers that commit, roll back and stall at random, beside a relay that drains all the while."""

    def __init__(self, log: Log, chance: random.Random) -> None:
        self._log = log
        self._chance = chance
        self._drains = asyncio.Condition()
        self._drained = 0
        self.committed: set[UUID] = set()

    async def run(self, *, writers: int, transactions: int) -> None:
        relay = self._log.relay(page=3)
        position = await self._log.begin(relay)
        work = asyncio.gather(*(self._write(transactions) for _ in range(writers)))
        while not work.done():
            position = await relay.drain(position)
            await self._note_drain()
            await asyncio.sleep(0)
        await work
        await relay.drain(position)

    async def _note_drain(self) -> None:
        async with self._drains:
            self._drained += 1
            self._drains.notify_all()

    async def _stall(self) -> None:
        goal = self._drained + self._chance.randint(1, 3)
        async with self._drains:
            await self._drains.wait_for(lambda: self._drained >= goal)

    async def _write(self, transactions: int) -> None:
        for _ in range(transactions):
            try:
                async with self._log.database.transaction() as connection:
                    written = await self._steps(connection)
            except Abandoned:
                continue
            self.committed.update(written)

    async def _steps(self, connection: Any) -> list[UUID]:
        written: list[UUID] = []
        for _ in range(self._chance.randint(1, 3)):
            step = self._chance.random()
            if step < 0.2:
                await self._stall()
            if step < 0.4:
                await self._lose_a_savepoint(connection)
            written += await self._log.write(*[fact() for _ in range(self._chance.randint(1, 3))], connection=connection)
        if self._chance.random() < 0.2:
            raise Abandoned
        return written

    async def _lose_a_savepoint(self, connection: Any) -> None:
        try:
            async with connection.transaction():
                await self._log.write(fact(), connection=connection)
                raise Abandoned
        except Abandoned:
            return


# Where it stands


@pytest.mark.requirement("EVT-3")
async def test_the_position_survives_a_restart_in_the_middle_of_a_drain(log: Log) -> None:
    written = [await log.write(fact()) for _ in range(10)]
    halting = log.relay(page=3)
    position = await log.begin(halting)
    sent = 0
    publish = halting._publish

    async def publish_two_pages(rows: Any, **more: Any) -> None:
        nonlocal sent
        sent += 1
        if sent > 2:
            raise Abandoned
        await publish(rows, **more)

    halting._publish = publish_two_pages  # type: ignore[method-assign] # the crash
    with pytest.raises(Abandoned):
        await halting.drain(position)
    assert len(await log.published()) == 6
    await lease_ends(log)

    fresh = log.relay(holder="second", page=3, shards=1)
    await fresh.drain(await log.begin(fresh))

    assert sorted(await log.published()) == sorted(event_id for ids in written for event_id in ids)


@pytest.mark.requirement("EVT-3", "EVT-4")
async def test_a_drain_that_is_resumed_days_later_loses_none_of_the_days_between(log: Log) -> None:
    relay = log.relay(page=2)
    position = await log.begin(relay)
    first = [await log.write(fact()) for _ in range(3)]
    look = await log.row(QUERIES["look"])
    async with log.database.connection() as connection:
        # As a relay leaves it that was stopped in the middle of a drain five days ago.
        await connection.execute(
            "UPDATE relay SET to_snapshot = $1::text::pg_snapshot, day = day - 5 WHERE only_row", look["snapshot"]
        )
    between = await log.write(fact())
    await log.as_admin("SELECT make_partition('event', current_date - 4)")
    await log.as_admin("UPDATE event SET day = day - 4")

    position = await relay._take_lease()  # type: ignore[assignment]
    position = await relay.drain(position)
    await relay.drain(position)

    assert sorted(await log.published()) == sorted([event_id for ids in first for event_id in ids] + between)


@pytest.mark.requirement("EVT-2")
async def test_what_was_published_but_not_stored_is_published_again_under_the_same_ids(log: Log) -> None:
    await log.write(*[fact() for _ in range(5)])
    relay = log.relay()
    position = await log.begin(relay)
    await lease_ends(log)
    thief = log.relay(holder="second")
    stolen = await log.begin(thief)
    with pytest.raises(LeaseLost):
        await relay.drain(position)
    before = await log.messages()

    await thief.drain(stolen)

    assert await log.messages() == before
    assert len(await log.published()) == 5


# Who works


@pytest.mark.requirement("EVT-8")
async def test_one_relay_works_and_the_other_takes_over_when_the_lease_ends(log: Log) -> None:
    first, second = log.relay(), log.relay(holder="second")
    await log.begin(first)
    assert await second._take_lease() is None

    await lease_ends(log)

    assert await second._take_lease() is not None
    assert await first._take_lease() is None


@pytest.mark.requirement("EVT-8")
async def test_a_relay_that_ends_hands_over_at_once(log: Log) -> None:
    async with running(log.relay(lease_s=3600.0).run()):
        first = await log.write(fact())
        await until(lambda: published_or_none(log), holds=lambda found: found == first)

    assert await log.relay(holder="second")._take_lease() is not None


@pytest.mark.requirement("EVT-8")
async def test_a_paused_holder_whose_lease_was_taken_stores_nothing(log: Log) -> None:
    paused = log.relay()
    position = await log.begin(paused)
    await lease_ends(log)
    await log.begin(log.relay(holder="second"))
    stored = await log.row("SELECT * FROM relay")

    with pytest.raises(LeaseLost):
        await paused._store(position)

    assert await log.row("SELECT * FROM relay") == stored


@pytest.mark.requirement("EVT-8")
async def test_a_relay_keeps_its_lease_while_only_others_write(log: Log) -> None:
    """Transaction ids move on with every writer of the cluster; the heartbeat must not wait for silence."""
    clock = Ticks()
    relay = log.relay(monotonic=clock)
    position = await log.begin(relay)
    await lease_ends(log)
    await log.as_admin("SELECT pg_current_xact_id()")

    clock.now += 2
    await relay._beat(await relay.drain(position))

    assert (await log.row("SELECT expire_time > now() AS held FROM relay"))["held"]


class Ticks:
    """Monotonic time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.requirement("EVT-8")
async def test_two_running_relays_publish_everything_once(log: Log) -> None:
    relays = [log.relay(holder=name) for name in ("one", "two")]
    async with running(*(relay.run() for relay in relays)):
        written = []
        for _ in range(20):
            written += await log.write(fact())
            relays[1].wake()
        found = await until(lambda: published_or_none(log), holds=lambda ids: len(ids) >= len(written))

    assert sorted(found) == sorted(written)


async def published_or_none(log: Log) -> list[UUID]:
    """What is on the stream; nothing while there is none."""
    try:
        return await log.published()
    except NotFoundError:
        return []


async def stream_exists(log: Log) -> bool:
    return log.stream in [info.config.name for info in await log.client.jetstream().streams_info()]


# Dump and restore


@pytest.fixture
async def other_cluster() -> AsyncIterator[Postgres]:
    with reachable_folder() as folder:
        async with postgres(folder) as server:
            yield server


async def program(server: Postgres, name: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(str(server._place.program(name)), *arguments)
    assert await process.wait() == 0


@pytest.mark.requirement("EVT-1", "EVT-3")
async def test_a_restored_log_stops_the_relay_until_an_epoch_is_opened(
    log: Log, other_cluster: Postgres, tmp_path: Path
) -> None:
    before = await log.write(fact(), fact())
    relay = log.relay()
    await relay.drain(await log.begin(relay))
    dump = tmp_path / "dump"
    await program(other_cluster, "pg_dump", "-Fc", "-f", str(dump), log.schemas.admin_dsn)
    restored = await make_database(other_cluster.dsn, "donation_svc")  # brings the roles, which no dump holds
    connection = await asyncpg.connect(restored.admin_dsn)
    await connection.execute("DROP SCHEMA donation CASCADE")
    await connection.close()
    await program(other_cluster, "pg_restore", "-d", restored.admin_dsn, str(dump))

    async with open_database(restored.dsn("donation"), schema="donation", pool_max=4, application="test") as database:
        elsewhere = Log(restored, database, log.client, service=log.service)
        after = await elsewhere.write(fact())
        relay = elsewhere.relay(holder="second")
        await lease_ends(elsewhere)
        position = await elsewhere.begin(relay)
        with pytest.raises(XidsRestarted):
            await relay.drain(position)
        assert await log.published() == before

        connection = await asyncpg.connect(restored.admin_dsn, server_settings={"search_path": "donation"})
        assert await open_epoch(connection, QUERIES, reason="restored") == 2
        await connection.close()
        later = await elsewhere.write(fact())
        await relay.drain(await relay.drain(position))

    assert set(await log.published()) == {*before, *after, *later}
    assert Counter(await log.published())[before[0]] == 2, "an id that the broker has seen may not swallow the repetition"


@pytest.mark.requirement("EVT-1")
async def test_transaction_ids_below_the_position_stop_the_relay(log: Log) -> None:
    relay = log.relay()
    position = await log.begin(relay)
    async with log.database.connection() as connection:
        await connection.execute(
            "UPDATE relay SET from_snapshot = '9000000000:9000000000:', to_snapshot = '9000000000:9000000000:'"
        )
    position = await relay._take_lease()  # type: ignore[assignment]

    with pytest.raises(XidsRestarted):
        await relay.drain(position)


async def test_a_stopped_relay_says_so_until_it_works_again(log: Log) -> None:
    await log.as_admin("UPDATE epoch SET system_identifier = '1'")
    relay = log.relay()
    failures = []

    async def healthy() -> str:
        failures.append(relay.failure)
        return relay.failure

    async with running(relay.run()):
        await until(healthy)
        failures.clear()
        # A second attempt stops like the first one, and is never taken for healthy in between.
        await until(lambda: attempts(log), holds=lambda count: count >= 3)
        assert all(failures)
        await log.as_admin("UPDATE epoch SET system_identifier = (SELECT system_identifier::text FROM pg_control_system())")
        await until(healthy, holds=lambda failure: not failure)
    await relay.healthy()


async def attempts(log: Log) -> int:
    """How often the lease was taken or prolonged: the row's versions."""
    found = await log.row("SELECT expire_time FROM relay")
    _SEEN.setdefault(log.service, set()).add(found["expire_time"])
    return len(_SEEN[log.service])


_SEEN: dict[str, set[datetime.datetime]] = {}


async def test_a_republication_keeps_the_lease_and_takes_pages_of_every_day(log: Log) -> None:
    written = [await log.write(fact()) for _ in range(7)]
    await log.as_admin("SELECT make_partition('event', current_date - 40)")
    await log.as_admin("UPDATE event SET day = current_date - 40 WHERE seq % 2 = 0")
    await log.as_admin("INSERT INTO epoch SELECT 2, system_identifier, 'test' FROM epoch")
    relay = log.relay(page=2)
    position = await log.begin(relay)
    await lease_ends(log)

    await relay._republish(position, before=2, suffix=":r2")

    assert sorted(await log.published()) == sorted(event_id for ids in written for event_id in ids)
    assert (await log.row("SELECT expire_time > now() AS held FROM relay"))["held"]


async def test_an_epoch_that_was_opened_days_ago_is_read_from_its_beginning(log: Log) -> None:
    await log.as_admin("INSERT INTO epoch SELECT 2, system_identifier, 'test', now() - interval '5 days' FROM epoch")
    written = await log.write(fact())
    await log.as_admin("SELECT make_partition('event', current_date - 5)")
    await log.as_admin("UPDATE event SET day = current_date - 5")
    relay = log.relay()

    await relay.drain(await log.begin(relay))

    assert await log.published() == written


async def test_a_republication_that_lost_its_lease_stops_at_the_next_page(log: Log) -> None:
    for _ in range(6):
        await log.write(fact())
    await log.as_admin("INSERT INTO epoch SELECT 2, system_identifier, 'test' FROM epoch")
    relay = log.relay(page=2)
    position = await log.begin(relay)
    await lease_ends(log)
    await log.begin(log.relay(holder="second"))

    with pytest.raises(LeaseLost):
        await relay._republish(position, before=2, suffix=":r2")

    assert len(await log.published()) == 2


async def test_an_epoch_waits_for_writers_so_that_none_writes_into_the_old_one_afterwards(log: Log) -> None:
    admin = await asyncpg.connect(log.schemas.admin_dsn, server_settings={"search_path": "donation"})
    try:
        async with log.database.transaction() as connection:
            await log.write(fact(), connection=connection)
            opening = asyncio.create_task(open_epoch(admin, QUERIES, reason="test"))
            waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid = $1"
            await until(lambda: log.row(waits, admin.get_server_pid()))
        assert await opening == 2
        await log.write(fact())
        assert [row["epoch"] for row in await admin.fetch("SELECT epoch FROM event ORDER BY seq")] == [1, 2]
    finally:
        await admin.close()


# What surrounds it


async def test_tomorrows_partition_exists_before_tomorrow(log: Log) -> None:
    found = await log.row("SELECT to_regclass('event_' || to_char(current_date + 1, 'YYYY_MM_DD')) AS tomorrow")
    assert found["tomorrow"]


@pytest.mark.requirement("EVT-5")
async def test_a_stream_that_was_deleted_is_made_again_with_everything_that_was_in_it(log: Log) -> None:
    relay = log.relay()
    async with running(relay.run()):
        first = await log.write(fact(), fact())
        await until(lambda: published_or_none(log), holds=lambda found: set(first) <= set(found))
        await log.client.jetstream().delete_stream(log.stream)

        await until(lambda: published_or_none(log), holds=lambda found: set(first) <= set(found))
        later = await log.write(fact())
        relay.wake()
        await until(lambda: published_or_none(log), holds=lambda found: {*first, *later} <= set(found))


@pytest.mark.requirement("EVT-5")
async def test_a_stream_that_was_lost_while_no_relay_ran_is_filled_by_the_next_one(log: Log) -> None:
    first = await log.write(fact(), fact())
    async with running(log.relay().run()):
        await until(lambda: published_or_none(log), holds=lambda found: set(first) <= set(found))
    await log.client.jetstream().delete_stream(log.stream)

    async with running(log.relay().run()):
        await until(lambda: published_or_none(log), holds=lambda found: set(first) <= set(found))


@pytest.mark.requirement("EVT-5")
async def test_a_broker_that_comes_back_with_an_older_copy_gets_everything_again(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    async with nats(tmp_path) as broker, open_log(postgres_server.dsn, broker.url) as log:
        relay = log.relay()
        async with running(relay.run()):
            first = await log.write(fact())
            await until(lambda: published_or_none(log), holds=lambda found: set(first) <= set(found))
            await broker.stop()
            shutil.copytree(broker.store, tmp_path / "older")
            await broker.start()
            second = await log.write(fact(), fact(), fact())
            relay.wake()
            await until(lambda: published_or_none(log), holds=lambda found: {*first, *second} <= set(found))
            await broker.stop()
            shutil.rmtree(broker.store)
            shutil.copytree(tmp_path / "older", broker.store)
            await broker.start()

            await until(lambda: published_or_none(log), holds=lambda found: {*first, *second} <= set(found))


@pytest.mark.requirement("EVT-4")
async def test_what_was_written_while_the_broker_was_away_is_published_on_its_return(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    async with nats(tmp_path) as broker, open_log(postgres_server.dsn, broker.url) as log:
        relay = log.relay(page=10)
        async with running(relay.run()):
            written = await log.write(fact())
            await until(lambda: published_or_none(log))
            await broker.kill()
            for _ in range(25):
                written += await log.write(fact())
                relay.wake()
            await broker.start()

            found = await until(lambda: published_or_none(log), holds=lambda ids: len(set(ids)) == len(written))
            assert set(found) == set(written)


async def test_publishes_that_are_never_answered_do_not_pile_up(log: Log) -> None:
    """nats-py holds a place for each until it is answered; without places the relay would stand still for ever."""
    js = log.client.jetstream()
    relay = log.relay(publish_timeout_s=0.05)
    relay._stream._js = js
    await log.begin(relay)
    await log.client.jetstream().delete_stream(log.stream)
    # Somebody listens, so there is no "no responders", and nobody answers.
    deaf = await log.client.subscribe(f"giving.{log.service}.v1.*")
    await log.write(fact(bucket=0), fact(bucket=1))

    position = await relay._take_lease()
    assert position is not None
    with pytest.raises(TimeoutError):
        await relay.drain(position)
    await asyncio.sleep(0)

    assert js.publish_async_pending() == 0
    await deaf.unsubscribe()


async def test_a_defect_does_not_end_the_relay_silently(log: Log) -> None:
    relay = log.relay(queries={**QUERIES, "look": "SELECT no_such_column"})
    async with running(relay.run()):

        async def failure() -> str:
            return relay.failure

        assert "UndefinedColumn" in await until(failure)
        relay._queries = QUERIES
        written = await log.write(fact())
        await until(lambda: published_or_none(log), holds=lambda found: found == written)
        await until(failure, holds=lambda found: not found)


@pytest.mark.requirement("EVT-2")
async def test_events_carry_what_only_the_log_knows(log: Log) -> None:
    written = await log.write(fact("word"))
    relay = log.relay()
    await relay.drain(await log.begin(relay))
    row = await log.row("SELECT tx::text::bigint AS tx, epoch, day FROM event")

    [(message_id, window)] = await log.messages()

    event: Event = window.events[0]
    assert message_id == str(written[0])
    assert (event.tx, event.epoch, event.correlation_id) == (row["tx"], row["epoch"], "word")
    assert datetime.date(1970, 1, 1) + datetime.timedelta(days=event.day) == row["day"]


async def test_making_a_stream_twice_changes_nothing(log: Log) -> None:
    for _ in range(2):
        await make_stream(log.client.jetstream(), service=log.service, replicas=1)
    assert await stream_exists(log)


# How it reads


LARGE_DAYS = 60
TRANSACTIONS_A_DAY = 170
EVENTS_A_TRANSACTION = 10
NEWEST_TX = 1_000_000 + LARGE_DAYS * TRANSACTIONS_A_DAY


@pytest.mark.requirement("EVT-3")
async def test_a_page_is_read_by_indexes_however_large_the_log_is(log: Log) -> None:
    await grow(log)
    # The last three transactions are unread; one of them was in progress when the position was stored.
    first, last = f"{NEWEST_TX - 3}:{NEWEST_TX - 1}:{NEWEST_TX - 3}", f"{NEWEST_TX + 1}:{NEWEST_TX + 1}:"
    types, arguments = "text, text, date, bigint, integer, integer", f"'{first}', '{last}', current_date, 0, 1, 5000"

    found = await plan(log, "read_page", types, arguments, rows=3 * EVENTS_A_TRANSACTION)

    assert scanned_whole(found) == set()


@pytest.mark.requirement("EVT-4", "EVT-5")
async def test_a_republication_and_a_long_backlog_are_read_along_the_primary_key(log: Log) -> None:
    await grow(log)

    found = await plan(log, "read_older_epochs", "integer, date, bigint, integer", "2, '1970-01-01', 0, 50", rows=50)

    assert scanned_whole(found) == set()
    assert "Sort" not in {node["Node Type"] for node in nodes(found)}

    # Each page of a backlog costs as much as its rows, however many are behind it.
    types, beginning = "text, text, date, bigint, integer, integer", f"'3:3:', '{NEWEST_TX + 1}:{NEWEST_TX + 1}:'"
    found = await plan(log, "read_on", types, f"{beginning}, current_date - 3, 50, 1, 100", rows=100)

    assert scanned_whole(found) == set()
    assert [node["Node Type"] for node in nodes(found)].count("Sort") == 1, "only what the days give is put together"


async def grow(log: Log) -> None:
    """100,000 events over many days, with transaction ids that are made up."""
    connection = await asyncpg.connect(log.schemas.admin_dsn, server_settings={"search_path": "donation"})
    try:
        for ago in range(LARGE_DAYS):
            await connection.execute("SELECT make_partition('event', current_date - $1::int)", ago)
            await connection.execute(
                "INSERT INTO event (day, tx, epoch, id, bucket, payload) "
                "SELECT current_date - $1::int, (($2 - n / $3)::text)::xid8, 1, gen_random_uuid(), n % 1024, '\\x00' "
                "FROM generate_series(0, $4 - 1) AS n",
                ago,
                NEWEST_TX - ago * TRANSACTIONS_A_DAY,
                EVENTS_A_TRANSACTION,
                TRANSACTIONS_A_DAY * EVENTS_A_TRANSACTION,
            )
        await connection.execute("ANALYZE event")
    finally:
        await connection.close()


async def plan(log: Log, name: str, types: str, arguments: str, *, rows: int) -> dict[str, Any]:
    """The plan that a session has settled on after it ran the statement often."""
    async with log.database.connection() as connection:
        await connection.execute(f"PREPARE settled ({types}) AS {QUERIES[name].rstrip(';')}")
        for _ in range(8):
            assert len(await connection.fetch(f"EXECUTE settled({arguments})")) == rows
        found = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE settled({arguments})")
        await connection.execute("DEALLOCATE settled")
    whole: dict[str, Any] = json.loads(found)[0]["Plan"]
    return whole


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def scanned_whole(found: dict[str, Any]) -> set[str]:
    """Partitions that are read from end to end; those of days to come are empty, and reading nothing costs nothing."""
    tomorrow = f"event_{datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1):%Y_%m_%d}"
    whole = {node["Relation Name"] for node in nodes(found) if node["Node Type"] == "Seq Scan"}
    return {name for name in whole if name < tomorrow}
