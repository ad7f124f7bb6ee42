"""What was never delivered is fetched from Stripe's own list: once, oldest first, by one replica, however often it fails."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest
from giving.payment.v1 import ledger_service_pb2, payment_pb2
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub
from structlog.testing import capture_logs

from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh.clock import ManualClock, SystemClock
from mesh.errors import DependencyUnavailable
from payment_svc import poller
from payment_svc.domain.inbound import EventState, ProviderEvent
from payment_svc.poller import CHECKPOINT, LEASE
from payment_svc.provider import EVENT_TYPES, CircuitBreaker, Stripe, calls, open_stripe
from payment_svc.service.webhooks import Webhooks
from tests.support.folders import reachable_folder
from tests.support.inbound import Inbound, inbound_parts
from tests.support.sandbox import Sandbox, closing, running_sandbox
from tests.support.schemas import make_database
from tests.support.till import Till, confirm, order, running_till
from tests.support.waiting import until
from tests.support.webhooks import event_about, intent_shown, post, signed

P = payment_pb2.Payment
E = messages.ProviderEvent
PERIOD = datetime.timedelta(seconds=5)
OLD, NEW = "whsec_the_old_one", "whsec_the_new_one"


@pytest.fixture(scope="module")
async def stripe_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """One that sends what Stripe is asked to send, and nothing else."""
    folder = tmp_path_factory.mktemp("stripe_of_the_poller")
    async with running_sandbox(folder, WEBHOOK_EVENTS=",".join(EVENT_TYPES)) as running:
        yield running


@pytest.fixture(scope="module")
async def a_polling_till(postgres_server: Postgres, stripe_sandbox: Sandbox) -> AsyncIterator[Till]:
    """One that polls; of the secrets with which Stripe signs it has only the new one left."""
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    more = {"stripe_poll_s": PERIOD.total_seconds(), "stripe_webhook_secrets": NEW}
    with reachable_folder() as folder:
        async with (
            nats(folder) as broker,
            running_till(schemas, nats_url=broker.url, sandbox=stripe_sandbox, clock=ManualClock(), **more) as running,
        ):
            yield running


@pytest.fixture
async def polling_till(a_polling_till: Till) -> AsyncIterator[Till]:
    yield a_polling_till
    await a_polling_till.sandbox.clear()


@pytest.fixture(scope="module")
async def operator(a_polling_till: Till) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{a_polling_till.port}") as channel:
        yield PaymentOperationsServiceStub(channel)


async def listed(operator: Any, intent_id: str) -> list[E]:
    """The inbound events about an intent, newest first."""
    page = await operator.ListProviderEvents(messages.ListProviderEventsRequest(page_size=100))
    return [event for event in page.events if event.intent_id == intent_id]


CARDS = {
    "paid": ["pm_card_visa"],
    "declined first": ["pm_card_chargeDeclined", "pm_card_visa"],
    "declined for good": ["pm_card_chargeDeclined"] * 3,
}
ENDS = {"paid": P.STATE_SUCCEEDED, "declined first": P.STATE_SUCCEEDED, "declined for good": P.STATE_CANCELED}


async def told(till: Till, cards: list[str]) -> P:
    """A payment whose donor tried these cards."""
    created = await till.create(order())
    for card in cards:
        await confirm(till.sandbox, created.client_secret, card)
    return created.payment


async def books(till: Till, payment_id: str) -> Any:
    """What our books say of a payment, without ids and times."""
    payment = await till.payment(payment_id)
    attempts = [(a.kind, a.outcome, a.provider_code) for a in payment.attempts]
    figures = payment.captured.minor_units, payment.refunded.minor_units, payment.disputed.minor_units
    return payment.state, figures, payment.failure_code, sorted(attempts), await entries(till, payment_id)


async def entries(till: Till, payment_id: str) -> list[tuple[str, int]]:
    request = ledger_service_pb2.ListEntriesRequest(reference_id=payment_id)
    return sorted((e.account, e.amount.minor_units) for e in (await till.ledger.ListEntries(request)).entries)


@pytest.mark.requirement("HKI-5", "HKI-3")
@pytest.mark.parametrize("story", CARDS)
async def test_what_was_never_delivered_is_fetched_and_the_books_are_as_if_it_had_been(
    polling_till: Till, operator: Any, story: str
) -> None:
    till = polling_till
    clean = await till.reaches((await told(till, CARDS[story])).payment_id, ENDS[story])
    await till.sandbox.webhook_fault("withhold", times=None)
    silent = await told(till, CARDS[story])

    async def delivered() -> set[str]:
        return {event["id"] for event in till.sandbox.hooks.taken(about=silent.provider_id)}

    assert await delivered() == set()
    till.clock.advance(PERIOD)
    await till.reaches(silent.payment_id, ENDS[story])
    expected = await books(till, clean.payment_id)
    assert await until(lambda: books(till, silent.payment_id), holds=lambda found: found == expected) == expected
    fetched = await listed(operator, silent.provider_id)
    assert {event.polled for event in fetched} == {True}
    # What comes after all changes nothing.
    await till.sandbox.clear()
    await until(delivered, holds=lambda found: found >= {event.event_id for event in fetched})
    assert [event for event in await listed(operator, silent.provider_id) if event.polled] == fetched
    assert await books(till, silent.payment_id) == expected


@pytest.mark.requirement("HKI-5", "HKI-6")
async def test_a_fetched_event_is_kept_like_a_delivered_one(polling_till: Till, operator: Any) -> None:
    till = polling_till
    await till.sandbox.webhook_fault("withhold", times=None)
    payment = (await till.create(order())).payment
    till.clock.advance(PERIOD)
    (event,) = await until(lambda: listed(operator, payment.provider_id))
    found = await operator.GetProviderEvent(messages.GetProviderEventRequest(event_id=event.event_id))
    body = json.loads(found.body)
    assert (body["id"], body["type"], body["data"]["object"]["id"]) == (
        event.event_id,
        "payment_intent.created",
        payment.provider_id,
    )
    assert (event.state, event.reason, event.attempts) == (E.STATE_APPLIED, "", 1)
    assert event.provider_time.seconds == body["created"]


@pytest.mark.requirement("HKI-5", "HKI-3")
async def test_a_delivery_while_the_same_event_is_fetched_counts_once(polling_till: Till, operator: Any) -> None:
    till = polling_till
    await till.sandbox.webhook_fault("withhold", times=None)
    payment = (await till.create(order())).payment
    body = event_about(intent_shown(payment), event_id := f"evt_both_{payment.provider_id}")
    async with inbound_parts(till.schemas, clock=till.clock) as inbound:
        webhooks = inbound.webhooks()
        await asyncio.gather(
            *(post(till, body, signed(body, NEW)) for _ in range(10)),
            *(webhooks.take_polled(body.encode()) for _ in range(10)),
        )
    paid = await till.payment(payment.payment_id)
    assert (paid.state, paid.version) == (P.STATE_SUCCEEDED, payment.version + 1)
    assert len(await entries(till, payment.payment_id)) == 2
    assert [event.event_id for event in await listed(operator, payment.provider_id)] == [event_id]


@pytest.mark.requirement("HKI-1")
async def test_a_secret_that_was_taken_out_of_use_proves_nothing_any_more(polling_till: Till, operator: Any) -> None:
    till = polling_till
    await till.sandbox.webhook_fault("withhold", times=None)
    payment = (await till.create(order())).payment
    body = event_about(intent_shown(payment), f"evt_rotated_{payment.provider_id}")
    assert await post(till, body, signed(body, OLD)) == 400
    assert await listed(operator, payment.provider_id) == []
    # While it is rotated Stripe signs with both.
    both = f"{signed(body, OLD)},{signed(body, NEW).partition(',')[2]}"
    assert await post(till, body, both) == 200
    assert (await till.payment(payment.payment_id)).state == P.STATE_SUCCEEDED


# From here on without a service: walks by hand, over a database that no loop touches.


@pytest.fixture(scope="module")
async def parts(postgres_server: Postgres) -> AsyncIterator[Inbound]:
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    async with inbound_parts(schemas, clock=ManualClock()) as made:
        yield made


@pytest.fixture
async def inbound(parts: Inbound) -> Inbound:
    """Nothing has come, nothing has been walked, and the clock is Stripe's."""
    parts.clock.advance(datetime.datetime.now(datetime.UTC) - parts.clock.now())
    await parts.rows.execute("TRUNCATE provider_event; DELETE FROM checkpoint")
    await parts.rows.execute("INSERT INTO checkpoint (name) VALUES ($1)", CHECKPOINT)
    return parts


@pytest.fixture
async def provider(stripe_sandbox: Sandbox) -> AsyncIterator[Stripe]:
    async with open_stripe(
        api_key=stripe_sandbox.secret, api_base=stripe_sandbox.url, request_s=1, breaker=CircuitBreaker(SystemClock())
    ) as provider:
        yield provider


@pytest.fixture
async def undelivered(stripe_sandbox: Sandbox) -> AsyncIterator[list[str]]:
    """The ids of seven events that nobody was told of, oldest first."""
    await stripe_sandbox.clear()
    async with closing(stripe_sandbox.client()) as client:

        async def pending() -> list[str]:
            page = await client.v1.events.list_async({"delivery_success": False, "limit": 100})
            return [event.id for event in page.data][::-1]

        await until(pending, holds=lambda found: not found)
        await stripe_sandbox.webhook_fault("withhold", times=None)
        for _ in range(7):
            await client.v1.payment_intents.create_async({"amount": 2500, "currency": "usd"})
        yield await pending()
    await stripe_sandbox.clear()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_PAGE_MAX", 2)
    monkeypatch.setattr(poller, "PAGES_MAX", 2)


async def ids(inbound: Inbound) -> list[str]:
    return [row["event_id"] for row in await inbound.stored()]


async def asked(sandbox: Sandbox) -> int:
    return len(await sandbox.requests(call="events.list"))


@pytest.mark.requirement("HKI-5")
async def test_a_round_takes_so_many_pages_oldest_first_and_the_next_one_goes_on(
    inbound: Inbound, provider: Stripe, undelivered: list[str], stripe_sandbox: Sandbox, small_pages: None
) -> None:
    walker = inbound.poller(provider, inbound.webhooks())
    before = await asked(stripe_sandbox)
    assert await walker.walk()
    assert await ids(inbound) == undelivered[3:]
    halfway = await inbound.checkpoint()
    assert (halfway["position"], halfway["cursor"]) == (None, undelivered[3])
    # It is due at once: the clock stands still.
    assert await walker.walk()
    assert await ids(inbound) == [*undelivered[3:], *undelivered[:3]]
    done = await inbound.checkpoint()
    assert (done["position"], done["cursor"]) == (halfway["target"], "")
    assert await asked(stripe_sandbox) == before + 4
    assert not await walker.walk()
    inbound.clock.advance(datetime.timedelta(seconds=60))
    assert await walker.walk()
    last = (await stripe_sandbox.requests(call="events.list"))[-2]["params"]
    since = done["position"] - datetime.timedelta(minutes=10)
    assert str(int(since.timestamp())) in str(last)


class Dying(Webhooks):
    """Its process ends after so many events."""

    def __init__(self, inbound: Inbound, *, after: int) -> None:
        self.__dict__ = inbound.webhooks().__dict__
        self._left = after

    async def take_polled(self, body: bytes) -> None:
        if not self._left:
            raise DependencyUnavailable("the database is gone", dependency="postgres")
        self._left -= 1
        await super().take_polled(body)


@pytest.mark.requirement("HKI-5")
async def test_a_walk_that_ends_in_the_middle_of_a_page_is_walked_again_and_takes_nothing_twice(
    inbound: Inbound, provider: Stripe, undelivered: list[str]
) -> None:
    with pytest.raises(DependencyUnavailable):
        await inbound.poller(provider, Dying(inbound, after=3)).walk()
    left = await inbound.checkpoint()
    assert await ids(inbound) == undelivered[:3]
    assert (left["position"], left["cursor"], left["target"]) == (None, "", None)
    rows = await inbound.stored()
    follower = inbound.poller(provider, inbound.webhooks())
    # The one that died still holds the checkpoint.
    assert not await follower.walk()
    inbound.clock.advance(LEASE)
    assert await follower.walk()
    assert await ids(inbound) == undelivered
    assert (await inbound.stored())[:3] == rows
    assert (await inbound.checkpoint())["position"] is not None


@pytest.mark.requirement("HKI-5", "SCL-1")
async def test_one_replica_walks_at_a_time_and_one_that_lost_its_turn_stores_nothing(
    inbound: Inbound, provider: Stripe, undelivered: list[str]
) -> None:
    held, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Webhooks):
        def __init__(self) -> None:
            self.__dict__ = inbound.webhooks().__dict__

        async def take_polled(self, body: bytes) -> None:
            held.set()
            await go_on.wait()
            await super().take_polled(body)

    slow = asyncio.create_task(inbound.poller(provider, Slow()).walk())
    await held.wait()
    other = inbound.poller(provider, inbound.webhooks())
    assert not await other.walk()
    inbound.clock.advance(LEASE)
    assert await other.walk()
    stored = await inbound.checkpoint()
    inbound.clock.advance(datetime.timedelta(seconds=1))
    go_on.set()
    await slow
    assert await inbound.checkpoint() == stored
    assert await ids(inbound) == undelivered


def said(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """How loud something was said of the provider."""
    return [log["log_level"] for log in logs if "provider" in log["event"]]


@pytest.mark.requirement("HKI-5")
@pytest.mark.parametrize("fault", ["refuse_connection", "error_429", "error_500", "garbled", "hang"])
async def test_while_stripe_is_away_the_poller_waits_and_says_so_once(
    inbound: Inbound, provider: Stripe, undelivered: list[str], stripe_sandbox: Sandbox, fault: str
) -> None:
    walker = inbound.poller(provider, inbound.webhooks())
    await stripe_sandbox.fault(fault, call="events.list", times=None)
    with capture_logs() as logs:
        for _ in range(2):
            assert await walker.walk()
            assert not await walker.walk()
            inbound.clock.advance(datetime.timedelta(seconds=60))
    assert said(logs) == ["warning"]
    checkpoint = await inbound.checkpoint()
    assert (checkpoint["position"], checkpoint["cursor"], await ids(inbound)) == (None, "", [])
    await stripe_sandbox.ask("DELETE", "faults")
    with capture_logs() as logs:
        assert await walker.walk()
    assert said(logs) == ["info"]
    assert await ids(inbound) == undelivered


@pytest.mark.requirement("HKI-5")
async def test_what_was_listed_before_stripe_went_away_is_taken(
    inbound: Inbound, provider: Stripe, undelivered: list[str], small_pages: None
) -> None:
    class Failing(Stripe):
        def __init__(self) -> None:
            self.__dict__ = provider.__dict__

        async def list_events(self, *, since: datetime.datetime, after: str) -> Any:
            return await (provider if not after else away).list_events(since=since, after=after)

    async with open_stripe(
        api_key="sk_test_of_nobody", api_base="http://127.0.0.1:9", request_s=1, breaker=CircuitBreaker(SystemClock())
    ) as away:
        walker = inbound.poller(Failing(), inbound.webhooks())
        assert await walker.walk()
        # Not at once: it waits for its next turn.
        assert not await walker.walk()
    assert await ids(inbound) == undelivered[5:]
    assert (await inbound.checkpoint())["cursor"] == undelivered[5]
    inbound.clock.advance(datetime.timedelta(seconds=60))
    assert await inbound.poller(provider, inbound.webhooks()).walk()
    assert await ids(inbound) == [*undelivered[5:], *undelivered[1:5]]


@pytest.mark.requirement("HKI-5")
async def test_a_walk_whose_last_event_stripe_has_forgotten_begins_anew(
    inbound: Inbound, provider: Stripe, undelivered: list[str]
) -> None:
    spoilt = "UPDATE checkpoint SET cursor = 'evt_long_ago', target = $2 WHERE name = $1"
    await inbound.rows.execute(spoilt, CHECKPOINT, inbound.clock.now())
    walker = inbound.poller(provider, inbound.webhooks())
    assert await walker.walk()
    assert (await inbound.checkpoint())["cursor"] == ""
    inbound.clock.advance(datetime.timedelta(seconds=60))
    assert await walker.walk()
    assert await ids(inbound) == undelivered


class Poison:
    """Breaks whoever looks at it."""

    def __bool__(self) -> bool:
        raise RuntimeError("a defect of ours")


@pytest.mark.requirement("HKI-5", "HKI-4")
async def test_a_fetched_event_that_cannot_be_applied_is_looked_at_again_and_holds_up_no_other(
    inbound: Inbound, provider: Stripe, undelivered: list[str]
) -> None:
    poison = undelivered[0]

    def read(event: ProviderEvent) -> ProviderEvent:
        return replace(event, flaw=cast("str", Poison())) if event.event_id == poison else event

    assert await inbound.poller(provider, inbound.webhooks(read)).walk()
    rows = {row["event_id"]: row for row in await inbound.stored()}
    assert list(rows) == undelivered
    first = rows[poison]
    assert (first["state"], first["reason"], first["polled"]) == (
        EventState.PARKED,
        "could not be applied: RuntimeError",
        True,
    )
    assert (await inbound.checkpoint())["position"] is not None
