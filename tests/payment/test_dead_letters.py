"""Events that cannot be posted: isolated, kept with their reason, decided by an operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import pytest
from giving.common.v1 import dead_letter_service_pb2 as messages
from giving.common.v1.event_pb2 import Event, EventWindow
from nats.aio.client import Client

from cli.servers.nats import Nats
from cli.servers.postgres import Postgres
from mesh.clock import SystemClock
from mesh.errors import DependencyUnavailable, IdempotencyKeyReused, PageTokenInvalid
from mesh.events.consumer import HORIZON_DAYS, Consumer
from mesh.events.dead_letters import DeadLetterNotFound, DeadLetters
from mesh.events.stream import connect, make_stream, stream_name, subject
from mesh.pages import PageTokens
from mesh.postgres import Database, load_queries, open_database
from mesh.tasks import cancel
from payment_svc.consumer import DURABLE, RecordedDonations
from payment_svc.service.ledger import Ledger
from tests.payment.conftest import make_handler, make_ledger
from tests.support.books import owed_over
from tests.support.donation_events import Giver, poison
from tests.support.mesh import fresh_key
from tests.support.schemas import make_database
from tests.support.waiting import until

DeadLetter = messages.DeadLetter
SERVICE = "letters"  # a stream of its own: other tests' events do not come by


class Healing:
    """The ledger's handler, which refuses events by id until it is healed."""

    def __init__(self, handler: RecordedDonations) -> None:
        self._handler = handler
        self.refused: set[bytes] = set()
        self.unavailable = False

    async def apply(self, events: Sequence[Event]) -> None:
        if self.unavailable:
            raise DependencyUnavailable("not now", dependency="postgres")
        if any(event.id in self.refused for event in events):
            raise RuntimeError("a defect with a secret in its text")
        await self._handler.apply(events)


@dataclass(frozen=True)
class Desk:
    """A consumer that runs, and the operator's view of what it gave up."""

    client: Client
    database: Database
    handler: Healing
    ledger: Ledger
    letters: DeadLetters

    async def publish(self, *events: Event) -> None:
        window = EventWindow(events=events).SerializeToString()
        await self.client.jetstream().publish(subject(SERVICE, 0), window)

    async def dead(self) -> list[DeadLetter]:
        letters, _ = await self.letters.list_dead_letters(messages.ListDeadLettersRequest(consumer=DURABLE))
        return letters

    async def owed(self, giver: Giver) -> int:
        return sum((await owed_over(partial(self.ledger.get_balance, campaign_id=giver.campaign_id, as_of=None))).values())

    async def give_up(self, event: Event) -> None:
        """Has the consumer give up on the event."""
        self.handler.refused.add(event.id)
        await self.publish(event)
        await until(self.dead, holds=lambda letters: event.id in {letter.event.id for letter in letters})


@pytest.fixture
async def desk(postgres_server: Postgres, nats_server: Nats) -> AsyncIterator[Desk]:
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    queries = load_queries("mesh.events")
    async with (
        open_database(schemas.dsn("payment"), schema="payment", pool_max=6, application="test") as database,
        connect(nats_server.url, name="test") as client,
    ):
        await make_stream(client.jetstream(), service=SERVICE, replicas=1)
        handler, clock = Healing(make_handler(database)), SystemClock()
        tokens = PageTokens(b"k" * 32)
        letters = DeadLetters(database, {DURABLE: handler}, queries=queries, tokens=tokens, clock=clock)
        consumer = Consumer(
            client,
            database,
            handler,
            queries=queries,
            service=SERVICE,
            durable=DURABLE,
            clock=clock,
            backoff_s=(0, 0, 0, 0),
        )
        running = asyncio.create_task(consumer.run())
        yield Desk(client, database, handler, make_ledger(database), letters)
        await cancel(running)
        await client.jetstream().delete_stream(stream_name(SERVICE))


def replay(event: Event, **more: object) -> messages.ReplayDeadLetterRequest:
    return messages.ReplayDeadLetterRequest(
        request_id=fresh_key(), consumer=DURABLE, event_id=str(UUID(bytes=event.id)), reason="healed", **more
    )


def discard(event: Event, **more: object) -> messages.DiscardDeadLetterRequest:
    return messages.DiscardDeadLetterRequest(
        request_id=fresh_key(), consumer=DURABLE, event_id=str(UUID(bytes=event.id)), reason="a test", **more
    )


@pytest.mark.requirement("EVT-7")
async def test_a_poison_event_becomes_a_dead_letter_and_the_rest_of_its_window_is_posted(desk: Desk) -> None:
    giver, bad = Giver(), poison()
    await desk.publish(giver.succeeded(250), bad, giver.succeeded(100))

    (letter,) = await until(desk.dead)

    assert letter.event == bad
    assert (letter.consumer, letter.reason, letter.attempts) == (DURABLE, "its data breaks the contract", 5)
    assert letter.state == DeadLetter.STATE_DEAD
    assert await desk.owed(giver) == 350


@pytest.mark.requirement("EVT-7")
async def test_a_replay_applies_the_event_once_and_closes_the_letter(desk: Desk) -> None:
    giver = Giver()
    event = giver.succeeded(250)
    await desk.give_up(event)
    assert [letter.reason for letter in await desk.dead()] == ["RuntimeError"]
    desk.handler.refused.clear()

    dry = await desk.letters.replay_dead_letter(replay(event, dry_run=True))
    assert (dry.state, await desk.owed(giver)) == (DeadLetter.STATE_DEAD, 0)
    for _ in range(2):
        letter = await desk.letters.replay_dead_letter(replay(event))
        assert (letter.state, await desk.owed(giver)) == (DeadLetter.STATE_REPLAYED, 250)

    assert await desk.dead() == []
    discarded = await desk.letters.discard_dead_letter(discard(event))
    assert discarded.state == DeadLetter.STATE_REPLAYED


@pytest.mark.requirement("EVT-7")
async def test_a_replay_that_fails_again_leaves_the_letter_dead_with_one_attempt_more(desk: Desk) -> None:
    giver = Giver()
    event = giver.succeeded(250)
    await desk.give_up(event)
    letter = await desk.letters.replay_dead_letter(replay(event))
    assert (letter.state, letter.attempts, letter.reason) == (DeadLetter.STATE_DEAD, 6, "RuntimeError")
    assert await desk.owed(giver) == 0


async def test_a_replay_while_the_database_is_away_decides_nothing(desk: Desk) -> None:
    event = Giver().succeeded(250)
    await desk.give_up(event)
    desk.handler.unavailable = True
    with pytest.raises(DependencyUnavailable):
        await desk.letters.replay_dead_letter(replay(event))
    assert [letter.attempts for letter in await desk.dead()] == [5]


@pytest.mark.requirement("EVT-6", "EVT-7")
async def test_a_replay_never_applies_what_is_older_than_the_fence(desk: Desk) -> None:
    giver = Giver()
    old = giver.succeeded(250)
    old.day -= HORIZON_DAYS
    await desk.publish(old)
    await until(desk.dead)
    letter = await desk.letters.replay_dead_letter(replay(old))
    assert (letter.state, letter.reason) == (DeadLetter.STATE_DEAD, "older than the dedupe horizon")
    assert await desk.owed(giver) == 0


@pytest.mark.requirement("EVT-7")
async def test_a_discarded_letter_keeps_its_reason_and_is_not_replayed(desk: Desk) -> None:
    giver = Giver()
    event = giver.succeeded(250)
    await desk.give_up(event)
    desk.handler.refused.clear()
    assert (await desk.letters.discard_dead_letter(discard(event, dry_run=True))).state == DeadLetter.STATE_DEAD
    for _ in range(2):
        assert (await desk.letters.discard_dead_letter(discard(event))).state == DeadLetter.STATE_DISCARDED

    letter = await desk.letters.replay_dead_letter(replay(event))
    assert (letter.state, await desk.owed(giver), await desk.dead()) == (DeadLetter.STATE_DISCARDED, 0, [])
    async with desk.database.connection() as connection:
        assert await connection.fetchval("SELECT operator_reason FROM dead_letter") == "a test"


@pytest.mark.requirement("IDM-1", "IDM-2", "EVT-7")
async def test_a_decision_is_fenced_by_its_key_and_stays_readable(desk: Desk) -> None:
    one, two = Giver().succeeded(250), Giver().succeeded(250)
    for event in (one, two):
        await desk.give_up(event)
    request = discard(one)
    first = await desk.letters.discard_dead_letter(request)
    assert await desk.letters.discard_dead_letter(request) == first
    with pytest.raises(IdempotencyKeyReused):
        await desk.letters.discard_dead_letter(_with_key(discard(two), request.request_id))

    listed, _ = await desk.letters.list_dead_letters(messages.ListDeadLettersRequest(state=DeadLetter.STATE_DISCARDED))
    assert [(letter.event.id, letter.operator_reason) for letter in listed] == [(one.id, "a test")]
    assert [letter.event.id for letter in await desk.dead()] == [two.id]


def _with_key(request: messages.DiscardDeadLetterRequest, key: str) -> messages.DiscardDeadLetterRequest:
    request.request_id = key
    return request


async def test_letters_are_listed_in_pages_oldest_first(desk: Desk) -> None:
    events = [Giver().succeeded(250) for _ in range(5)]
    for event in events:
        await desk.give_up(event)
    listed: list[bytes] = []
    token = ""
    while True:
        page, token = await desk.letters.list_dead_letters(messages.ListDeadLettersRequest(page_size=2, page_token=token))
        listed += [letter.event.id for letter in page]
        if not token:
            break
    assert listed == [event.id for event in events]


async def test_a_page_token_of_another_list_is_refused(desk: Desk) -> None:
    for _ in range(2):
        await desk.give_up(Giver().succeeded(250))
    _, token = await desk.letters.list_dead_letters(messages.ListDeadLettersRequest(page_size=1))
    with pytest.raises(PageTokenInvalid):
        await desk.letters.list_dead_letters(messages.ListDeadLettersRequest(page_token=token, consumer=DURABLE))


async def test_an_unknown_letter_is_refused(desk: Desk) -> None:
    event = Giver().succeeded(250)
    with pytest.raises(DeadLetterNotFound) as caught:
        await desk.letters.replay_dead_letter(replay(event))
    assert caught.value.metadata == {"event_id": str(UUID(bytes=event.id))}
    with pytest.raises(DeadLetterNotFound):
        await desk.letters.discard_dead_letter(discard(event))
