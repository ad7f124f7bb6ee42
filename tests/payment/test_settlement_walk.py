"""The walk through the provider's balance: in rounds, from a checkpoint, by one replica, whatever the provider answers."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field

import asyncpg
import pytest
from structlog.testing import capture_logs

from cli.servers.postgres import Postgres
from mesh.clock import ManualClock
from mesh.money import Money
from mesh.postgres import Database, load_queries, open_database
from payment_svc.domain.inbound import NotListed
from payment_svc.domain.settlement import Movement, MovementPage
from payment_svc.settlement import CHECKPOINT, LEASE, OVERLAP, PAGES_MAX, SettlementWalker
from payment_svc.store.checkpoints import Checkpoints
from payment_svc.store.settlement import SettlementStore
from tests.support.schemas import make_database
from tests.support.waiting import until

pytestmark = pytest.mark.requirement("REC-3")
PERIOD = datetime.timedelta(minutes=10)
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_OUTSTANDING = """
  INSERT INTO clearing SELECT gen_random_uuid(), gen_random_uuid(), 'USD', 5, $1::timestamptz RETURNING payment_id
"""
_OTHERWISE = """
  INSERT INTO balance_transaction (id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, net,
                                   provider_time, payment_id, charity_id, our_currency, class, origin, posted, create_time,
                                   update_time)
  VALUES ('txn_otherwise', 'refund', 're_1', '', '', '', 'USD', -5, 0, -5, now(), $1, $1, 'USD', 'missing_in_books', 'api',
          true, now(), now())
"""


@dataclass
class Balance:
    """A provider's list, newest first, a page of one movement each; `answers` come before its own."""

    ids: list[str]
    clock: ManualClock
    answers: list[NotListed] = field(default_factory=list)
    asked: list[tuple[datetime.datetime, str]] = field(default_factory=list)

    async def list_movements(self, *, since: datetime.datetime, after: str) -> MovementPage | NotListed:
        self.asked.append((since, after))
        if self.answers:
            return self.answers.pop(0)
        left = self.ids[self.ids.index(after) + 1 :] if after else self.ids
        movements = tuple(Movement(name, "charge", Money(1, "USD"), 0, START) for name in left[:1])
        return MovementPage(movements, more=len(left) > 1, time=self.clock.now())


@dataclass
class Taken:
    """Remembers what was taken; `failing`: not now."""

    ids: list[str] = field(default_factory=list)
    failing: bool = False

    async def take(self, movements: Collection[Movement]) -> int:
        if self.failing:
            raise ConnectionError("not now")
        self.ids += [movement.id for movement in movements]
        return len(movements)


@dataclass
class Walk:
    """Walkers over one database. `rows`: the administrator's connection."""

    database: Database
    rows: asyncpg.Connection
    clock: ManualClock
    balance: Balance
    taken: Taken

    def walker(self) -> SettlementWalker:
        queries = load_queries("payment_svc")
        return SettlementWalker(
            provider=self.balance,
            taking=self.taken,
            checkpoints=Checkpoints(self.database, queries),
            store=SettlementStore(self.database, queries),
            clock=self.clock,
            period_s=PERIOD.total_seconds(),
            missing_after=datetime.timedelta(days=2),
        )

    async def checkpoint(self) -> asyncpg.Record:
        return await self.rows.fetchrow("SELECT * FROM checkpoint WHERE name = $1", CHECKPOINT)


@pytest.fixture(scope="module")
async def places(postgres_server: Postgres) -> AsyncIterator[tuple[Database, asyncpg.Connection]]:
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    rows = await asyncpg.connect(schemas.admin_dsn, server_settings={"search_path": "payment"})
    async with open_database(schemas.dsn("payment"), schema="payment", pool_max=4, application="test") as database:
        yield database, rows
    await rows.close()


@pytest.fixture
async def walk(places: tuple[Database, asyncpg.Connection]) -> Walk:
    database, rows = places
    await rows.execute("DELETE FROM checkpoint WHERE name = $1", CHECKPOINT)
    await rows.execute("INSERT INTO checkpoint (name) VALUES ($1)", CHECKPOINT)
    await rows.execute("TRUNCATE clearing")
    await rows.execute("DELETE FROM balance_transaction")
    clock = ManualClock(START)
    return Walk(database, rows, clock, Balance(["txn_3", "txn_2", "txn_1"], clock), Taken())


def places_of(asked: Sequence[tuple[datetime.datetime, str]]) -> list[str]:
    return [after for _, after in asked]


async def test_a_round_takes_every_page_and_the_next_one_is_a_period_later(walk: Walk) -> None:
    walker = walk.walker()
    assert await walker.walk()
    assert walk.taken.ids == ["txn_3", "txn_2", "txn_1"]
    assert not await walker.walk()
    walk.clock.advance(PERIOD)
    assert await walker.walk()
    since, _ = walk.balance.asked[-1]
    assert since == START - OVERLAP


async def test_a_long_list_is_walked_in_rounds_that_follow_at_once(walk: Walk) -> None:
    walk.balance.ids = [f"txn_{number:02}" for number in range(PAGES_MAX + 2)][::-1]
    walker = walk.walker()
    assert await walker.walk()
    assert (await walk.checkpoint())["cursor"] == walk.taken.ids[-1]
    assert await walker.walk()
    assert walk.taken.ids == walk.balance.ids
    assert ((await walk.checkpoint())["cursor"], (await walk.checkpoint())["position"]) == ("", START)
    assert not await walker.walk()


async def test_the_checkpoint_stays_until_what_was_listed_is_taken(walk: Walk) -> None:
    walker = walk.walker()
    walk.taken.failing = True
    with pytest.raises(ConnectionError):
        await walker.walk()
    assert (await walk.checkpoint())["position"] is None
    walk.taken.failing = False
    # Its own lease still holds; another one follows when it has run out.
    assert not await walker.walk()
    walk.clock.advance(LEASE)
    assert await walk.walker().walk()
    assert walk.taken.ids == ["txn_3", "txn_2", "txn_1"]


async def test_a_provider_that_is_silent_is_asked_again_and_told_about_once(walk: Walk) -> None:
    walk.balance.answers = [NotListed("APIError")] * 2
    walker = walk.walker()
    with capture_logs() as logs:
        for _ in range(3):
            assert await walker.walk()
            walk.clock.advance(PERIOD)
    assert [line["log_level"] for line in logs if "balance" in line["event"]] == ["warning", "info"]
    assert walk.taken.ids == ["txn_3", "txn_2", "txn_1"]


async def test_a_place_that_the_provider_has_forgotten_is_begun_anew(walk: Walk) -> None:
    await walk.rows.execute("UPDATE checkpoint SET cursor = 'txn_gone', target = $2 WHERE name = $1", CHECKPOINT, START)
    walk.balance.answers = [NotListed("InvalidRequestError", cursor_lost=True)]
    walker = walk.walker()
    assert await walker.walk()
    walk.clock.advance(PERIOD)
    assert await walker.walk()
    assert places_of(walk.balance.asked) == ["txn_gone", "", "txn_3", "txn_2"]


@pytest.mark.requirement("SCL-1")
async def test_two_replicas_walk_a_round_once(walk: Walk) -> None:
    walkers = [walk.walker(), walk.walker()]
    assert [await walker.walk() for walker in walkers] == [True, False]
    walk.clock.advance(PERIOD)
    assert [await walker.walk() for walker in reversed(walkers)] == [True, False]


async def test_at_its_start_a_walker_walks_though_the_last_round_was_just_now(walk: Walk) -> None:
    assert await walk.walker().walk()
    begun = len(walk.balance.asked)
    assert await walk.walker()._walk_on()
    assert len(walk.balance.asked) > begun
    assert not await walk.walker().walk()


async def test_what_has_been_missing_for_two_days_raises_an_alarm(walk: Walk) -> None:
    _, shown = [await walk.rows.fetchval(_OUTSTANDING, START) for _ in range(2)]
    # Of the other one the provider's balance shows what our books do not have: it is listed for itself.
    await walk.rows.execute(_OTHERWISE, shown)
    walker = walk.walker()
    walk.clock.advance(datetime.timedelta(days=2) - PERIOD)
    with capture_logs() as early:
        await walker.walk()
    walk.clock.advance(PERIOD)
    with capture_logs() as late:
        await until(walker.walk)
    assert [line["count"] for line in early if "does not show" in line["event"]] == []
    assert [line["count"] for line in late if "does not show" in line["event"]] == [1]
