"""Operators and inbound events: lists, one with its body, replays, giving up; each rehearsed first."""

from __future__ import annotations

import datetime
import itertools
import secrets
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
import pytest
from giving.payment.v1 import ledger_service_pb2, payment_pb2
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import REGISTRY

from mesh.clock import SystemClock
from mesh.errors import DependencyUnavailable
from payment_svc.domain.inbound import EventState, ProviderEvent
from payment_svc.provider import CircuitBreaker, open_stripe
from payment_svc.service import inbound_operations
from payment_svc.service.webhooks import Choose, Webhooks, _LookFailed
from tests.support.inbound import Inbound, inbound_parts, not_followed
from tests.support.mesh import fresh_key
from tests.support.refusals import fields_of, is_replay, refusal_of
from tests.support.till import Till, confirm, order
from tests.support.waiting import until
from tests.support.webhooks import event_about, intent_shown, post, signed

P = payment_pb2.Payment
E = messages.ProviderEvent
REASON = "the version of today follows it"


@pytest.fixture(scope="session")
async def operator(a_till: Till) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{a_till.port}") as channel:
        yield PaymentOperationsServiceStub(channel)


@pytest.fixture(scope="session")
async def inbound(a_till: Till) -> AsyncIterator[Inbound]:
    async with inbound_parts(a_till.schemas, clock=a_till.clock) as parts:
        yield parts


@pytest.fixture
async def payment(till: Till) -> payment_pb2.Payment:
    """One that hears of nothing but what a test sends."""
    await till.sandbox.webhook_fault("withhold", times=None)
    return (await till.create(order())).payment


def fresh_id() -> str:
    return f"evt_{secrets.token_hex(8)}"


async def keep(till: Till, body: str) -> None:
    """Has an event delivered."""
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200


async def quarantined(inbound: Inbound, payment: P, event_id: str, **more: Any) -> str:
    """An event that an older version could not follow; its body."""
    body = event_about(intent_shown(payment, **more), event_id)
    await inbound.webhooks(not_followed).handle(body.encode(), signed(body, "whsec_the_new_one"))
    return body


def replay(*event_ids: str, **more: Any) -> messages.ReplayProviderEventsRequest:
    fields = {"request_id": fresh_key(), "event_ids": event_ids, "reason": REASON} | more
    return messages.ReplayProviderEventsRequest(**fields)


def skip(event_id: str, **more: Any) -> messages.SkipProviderEventRequest:
    fields = {"request_id": fresh_key(), "event_id": event_id, "reason": "it is of another shop"} | more
    return messages.SkipProviderEventRequest(**fields)


async def get(operator: Any, event_id: str) -> E:
    return (await operator.GetProviderEvent(messages.GetProviderEventRequest(event_id=event_id))).event


async def listed(operator: Any, state: int, *, page_size: int = 0) -> list[E]:
    """Every event in a state, through all pages."""
    found, token = [], ""
    while True:
        request = messages.ListProviderEventsRequest(state=state, page_size=page_size, page_token=token)
        page = await operator.ListProviderEvents(request)
        found += page.events
        token = page.next_page_token
        if not token:
            return found


async def entries(till: Till, payment: P) -> int:
    request = ledger_service_pb2.ListEntriesRequest(reference_id=payment.payment_id)
    return len((await till.ledger.ListEntries(request)).entries)


async def command(inbound: Inbound, event_id: str) -> Any:
    """The command that an event was part of last."""
    given = "SELECT method, c.reason, c.actor FROM command c JOIN provider_event e USING (request_key) WHERE event_id = $1"
    return await inbound.rows.fetchrow(given, event_id)


def stamp(time: datetime.datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message


LIES = {
    "another amount": {"amount": 2501, "amount_received": 2501},
    "another currency": {"currency": "eur"},
}


@pytest.mark.requirement("HKI-4", "HKI-6")
@pytest.mark.parametrize("lie", LIES)
async def test_another_amount_or_currency_is_listed_for_operators_and_posts_nothing(
    till: Till, operator: Any, payment: P, lie: str
) -> None:
    event_id = fresh_id()
    await keep(till, event_about(intent_shown(payment, **LIES[lie]), event_id))
    (found,) = [event for event in await listed(operator, E.STATE_QUARANTINED) if event.event_id == event_id]
    assert found.reason == "the intent's amount or currency is not the payment's"
    assert (found.type, found.intent_id, found.polled) == ("payment_intent.succeeded", payment.provider_id, False)
    assert (await entries(till, payment), await till.payment(payment.payment_id)) == (0, payment)
    assert event_id not in {event.event_id for event in await listed(operator, E.STATE_PARKED)}


@pytest.mark.requirement("HKI-6")
async def test_events_are_listed_newest_first_in_pages(till: Till, operator: Any, payment: P) -> None:
    """Some came in the same moment; their ids decide."""
    made = []
    for _ in range(3):
        till.clock.advance(datetime.timedelta(seconds=1))
        together = sorted(fresh_id() for _ in range(2))
        for event_id in together:
            await keep(till, event_about(intent_shown(payment, currency="eur"), event_id))
        made = [*reversed(together), *made]
    for state in (E.STATE_QUARANTINED, E.STATE_UNSPECIFIED):
        found = [event.event_id for event in await listed(operator, state, page_size=3)]
        assert (found[:6], len(set(found))) == (made, len(found))


@pytest.mark.requirement("HKI-6")
async def test_a_page_token_of_another_state_is_refused(till: Till, operator: Any, payment: P) -> None:
    for _ in range(2):
        await keep(till, event_about(intent_shown(payment, currency="eur"), fresh_id()))
    page = await operator.ListProviderEvents(messages.ListProviderEventsRequest(page_size=1))
    other = messages.ListProviderEventsRequest(state=E.STATE_PARKED, page_token=page.next_page_token)
    assert (await refusal_of(operator.ListProviderEvents(other))).reason_name == "PAGE_TOKEN_INVALID"


@pytest.mark.requirement("HKI-6")
async def test_an_event_is_read_with_its_body_as_it_came(till: Till, operator: Any, inbound: Inbound, payment: P) -> None:
    body = event_about(intent_shown(payment, description="ada@example.org"), event_id := fresh_id())
    await keep(till, body)
    request = messages.GetProviderEventRequest(event_id=event_id)
    found = await operator.GetProviderEvent(request)
    assert (found.body.decode(), found.event.state) == (body, E.STATE_APPLIED)
    assert (found.event.attempts, found.event.HasField("next_attempt_time")) == (1, False)
    # Sealed with another key.
    await inbound.rows.execute("UPDATE provider_event SET body = sha256(body) WHERE event_id = $1", event_id)
    assert (await operator.GetProviderEvent(request)).body == b""
    refusal = await refusal_of(get(operator, "evt_of_nobody"))
    assert (refusal.reason_name, refusal.metadata) == ("PROVIDER_EVENT_NOT_FOUND", {"event_id": "evt_of_nobody"})


@pytest.mark.requirement("HKI-6")
async def test_what_an_older_version_kept_apart_is_applied_by_a_replay(
    till: Till, operator: Any, inbound: Inbound, payment: P
) -> None:
    await quarantined(inbound, payment, event_id := fresh_id())
    assert (await get(operator, event_id)).reason == "not followed yet"
    answer = await operator.ReplayProviderEvents(request := replay(event_id))
    (event,) = answer.events
    assert (answer.matched, answer.applied, answer.more) == (1, 1, False)
    assert (event.state, event.reason, event.attempts) == (E.STATE_APPLIED, "", 2)
    assert (event.operator_reason, event.actor) == (REASON, "development")
    assert (await till.payment(payment.payment_id)).state == P.STATE_SUCCEEDED
    assert await entries(till, payment) == 2
    given = "SELECT method, reason, actor FROM command WHERE reason = $1 AND method = $2"
    assert await inbound.rows.fetchrow(given, REASON, "ReplayProviderEvents") == (
        "ReplayProviderEvents",
        REASON,
        "development",
    )
    assert await is_replay(again := operator.ReplayProviderEvents(request))
    assert await again == answer


@pytest.mark.requirement("HKI-6", "PAY-5")
async def test_refunds_that_an_older_version_kept_apart_are_in_the_books_after_a_replay(
    till: Till, operator: Any, inbound: Inbound
) -> None:
    created = await till.create(order())
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    await till.sandbox.webhook_fault("withhold", times=None)
    await till.sandbox.ask("POST", "refunds", payment_intent=paid.provider_id, amount=2500)
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
    async with open_stripe(
        api_key=till.sandbox.secret, api_base=till.sandbox.url, request_s=5, breaker=CircuitBreaker(SystemClock())
    ) as stripe:
        page = await stripe.list_events(since=since, after="")
    ours = [event for event in page.events if paid.provider_id.encode() in event.body]
    for event in ours:
        await inbound.webhooks(not_followed).take_polled(event.body)
    assert (await till.payment(paid.payment_id)).refunded.minor_units == 0
    answer = await operator.ReplayProviderEvents(replay(*(event.event_id for event in ours)))
    assert answer.applied == answer.matched == len(ours) > 0
    refunded = await till.payment(paid.payment_id)
    assert (refunded.state, refunded.refunded.minor_units) == (P.STATE_REFUNDED, 2500)
    assert await entries(till, paid) == 4


@pytest.mark.requirement("HKI-6", "IDM-2")
async def test_a_replay_changes_nothing_of_what_is_applied_and_takes_no_used_key(
    till: Till, operator: Any, inbound: Inbound, payment: P
) -> None:
    await keep(till, event_about(intent_shown(payment), event_id := fresh_id()))
    before, paid = await get(operator, event_id), await till.payment(payment.payment_id)
    answer = await operator.ReplayProviderEvents(request := replay(event_id))
    assert (answer.matched, answer.applied, list(answer.events)) == (1, 1, [before])
    assert (await till.payment(payment.payment_id), await entries(till, payment)) == (paid, 2)
    other = replay(event_id, request_id=request.request_id, reason="another one")
    assert (await refusal_of(operator.ReplayProviderEvents(other))).reason_name == "IDEMPOTENCY_KEY_REUSED"


# Everything that a replay of events about a payment may write to; other payments live on beside it.
BOOKS = {
    "provider_event": "true",
    "payment": "id = $1",
    "attempt": "payment_id = $1",
    "posting": "payment_id = $1",
    "entry": "posting_id IN (SELECT id FROM posting WHERE payment_id = $1)",
    "command": "true",
    "event": "bucket = bucket_of($1)",
}


async def books(inbound: Inbound, payment: P) -> list[Any]:
    """What stands there now."""
    query = "SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {} t WHERE {} AND $1::uuid IS NOT NULL"
    payment_id = UUID(payment.payment_id)
    return [await inbound.rows.fetchval(query.format(*book), payment_id) for book in BOOKS.items()]


@pytest.mark.requirement("HKI-6", "OPS-5")
async def test_a_dry_run_says_what_would_become_of_each_and_writes_nothing(
    till: Till, operator: Any, inbound: Inbound, payment: P
) -> None:
    sound, lying, unknown, skipped = (fresh_id() for _ in range(4))
    await quarantined(inbound, payment, sound)
    await quarantined(inbound, payment, lying, amount=2501)
    await quarantined(inbound, payment, unknown, id="pi_of_nobody")
    await quarantined(inbound, payment, skipped)
    await operator.SkipProviderEvent(skip(skipped))
    asked = replay(sound, lying, unknown, skipped, dry_run=True)
    before = await books(inbound, payment)
    answer = await operator.ReplayProviderEvents(asked)
    states = {event.event_id: event.state for event in answer.events}
    assert states == {
        sound: E.STATE_APPLIED,
        lying: E.STATE_QUARANTINED,
        unknown: E.STATE_PARKED,
        skipped: E.STATE_APPLIED,
    }
    assert (answer.matched, answer.applied) == (4, 2)
    assert await books(inbound, payment) == before
    assert await till.payment(payment.payment_id) == payment
    # What it said is what happens.
    asked.dry_run = False
    done = await operator.ReplayProviderEvents(asked)
    assert {event.event_id: (event.state, event.reason) for event in done.events} == {
        event.event_id: (event.state, event.reason) for event in answer.events
    }


@pytest.mark.requirement("HKI-6")
async def test_what_waits_is_replayed_by_type_and_time_oldest_first(
    till: Till, operator: Any, inbound: Inbound, payment: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound_operations, "REPLAYED_MAX", 2)
    times, made = [], []
    for _ in range(4):
        till.clock.advance(datetime.timedelta(seconds=1))
        times.append(till.clock.now())
        await quarantined(inbound, payment, event_id := fresh_id(), currency="eur")
        made.append(event_id)
    await operator.SkipProviderEvent(skip(made[0]))
    await keep(till, event_about(intent_shown(payment, id="pi_of_nobody"), fresh_id(), kind="payment_intent.created"))
    asked = {"type": "payment_intent.succeeded", "start_time": stamp(times[0])}
    first = await operator.ReplayProviderEvents(request := replay(**asked))
    assert ([event.event_id for event in first.events], first.more) == (made[1:3], True)
    assert first.events[0].reason == "the intent's amount or currency is not the payment's"
    assert (await get(operator, made[0])).state == E.STATE_SKIPPED
    # A repeat is about the same events, the next call about the following ones.
    assert await is_replay(again := operator.ReplayProviderEvents(request))
    assert ([event.event_id for event in (await again).events], (await again).more) == (made[1:3], True)
    following = await operator.ReplayProviderEvents(replay(**asked | {"start_time": first.events[-1].create_time}))
    assert ([event.event_id for event in following.events], following.more) == (made[2:], False)
    until_then = await operator.ReplayProviderEvents(replay(**asked, end_time=stamp(times[2])))
    assert [event.event_id for event in until_then.events] == made[1:2]


@pytest.mark.requirement("HKI-6")
async def test_what_was_given_up_is_taken_up_again_by_its_id(
    till: Till, operator: Any, inbound: Inbound, payment: P
) -> None:
    await quarantined(inbound, payment, event_id := fresh_id())
    await operator.SkipProviderEvent(skip(event_id))
    answer = await operator.ReplayProviderEvents(replay(event_id))
    assert (answer.applied, answer.events[0].operator_reason) == (1, REASON)
    assert (await till.payment(payment.payment_id)).state == P.STATE_SUCCEEDED


async def test_a_replay_is_by_id_or_by_type_and_time(operator: Any, till: Till) -> None:
    for more in ({"type": "charge.failed"}, {"start_time": stamp(till.clock.now())}, {"end_time": stamp(till.clock.now())}):
        assert fields_of(await refusal_of(operator.ReplayProviderEvents(replay("evt_1", **more)))) == {"event_ids"}


@pytest.mark.requirement("HKI-6")
async def test_what_waits_for_operators_is_measured(till: Till, inbound: Inbound, payment: P) -> None:
    await quarantined(inbound, payment, fresh_id())
    await inbound.operations(inbound.webhooks()).measure()
    shown = [REGISTRY.get_sample_value("webhook_events_waiting", {"state": state}) for state in ("parked", "quarantined")]
    counts = "SELECT count(*) FROM provider_event WHERE state = $1"
    assert shown == [await inbound.rows.fetchval(counts, state) for state in (E.STATE_PARKED, E.STATE_QUARANTINED)]
    assert shown[1] > 0


def broken(event: ProviderEvent) -> ProviderEvent:
    if event.type == "charge.failed":
        raise RuntimeError("a defect of ours")
    return event


@pytest.mark.requirement("HKI-6")
async def test_an_event_that_fails_stops_no_other(till: Till, operator: Any, inbound: Inbound, payment: P) -> None:
    lying, breaking, busy, sound = (fresh_id() for _ in range(4))
    for event_id, more in ((lying, {"amount": 2501}), (breaking, {}), (busy, {}), (sound, {})):
        till.clock.advance(datetime.timedelta(seconds=1))
        await quarantined(inbound, payment, event_id, **more)
    body = event_about(intent_shown(payment), breaking, kind="charge.failed").encode()
    closed = inbound.inbox._seal.close(body, belongs_to=breaking.encode())
    await inbound.rows.execute("UPDATE provider_event SET body = $2 WHERE event_id = $1", breaking, closed)
    chosen = replay(lying, breaking, busy, sound)
    # The command itself is recorded before somebody takes the event.
    await inbound.operations(Idle(inbound)).replay_provider_events(chosen)
    async with inbound_parts(till.schemas, clock=till.clock, lock_timeout="50ms") as hasty, inbound.rows.transaction():
        await inbound.rows.execute("SELECT FROM provider_event WHERE event_id = $1 FOR UPDATE", busy)
        done = await hasty.operations(hasty.webhooks(broken)).replay_provider_events(chosen)
    states = [(event.event_id, event.place.state) for event in done.events]
    assert states == [
        (lying, EventState.QUARANTINED),
        (breaking, EventState.PARKED),
        (busy, EventState.QUARANTINED),
        (sound, EventState.APPLIED),
    ]
    assert done.events[1].place.reason == "could not be applied: RuntimeError"
    assert (await till.payment(payment.payment_id)).state == P.STATE_SUCCEEDED


@pytest.mark.requirement("HKI-6")
async def test_a_failure_does_not_outdo_a_look_that_had_more_luck(
    till: Till, operator: Any, inbound: Inbound, payment: P
) -> None:
    """Between the transaction that broke and the one that says so another replica may have looked."""
    webhooks = inbound.webhooks()
    lying, applied = fresh_id(), fresh_id()
    stale = []
    for event_id, more in ((lying, {"amount": 2501}), (applied, {})):
        await quarantined(inbound, payment, event_id, **more)
        async with inbound.database.transaction() as connection:
            stale.append(await inbound.inbox.lock(connection, event_id, states=[EventState.QUARANTINED]))
        await operator.ReplayProviderEvents(replay(event_id))
    before = [await get(operator, event_id) for event_id in (lying, applied)]
    for event in stale:
        assert await webhooks._keep_broken(_LookFailed(event)) is None
    assert [await get(operator, event_id) for event_id in (lying, applied)] == before
    assert [event.state for event in before] == [E.STATE_QUARANTINED, E.STATE_APPLIED]


class Idle(Webhooks):
    """Never gets to an event: the process died after the command was recorded."""

    def __init__(self, inbound: Inbound) -> None:
        self.__dict__ = inbound.webhooks().__dict__

    async def look(self, choose: Choose) -> bool:
        return False


class Away(Webhooks):
    """Its database goes away after so many looks."""

    def __init__(self, inbound: Inbound, *, looks: int) -> None:
        self.__dict__ = inbound.webhooks().__dict__
        self._left = itertools.repeat(None, looks)

    async def look(self, choose: Choose) -> bool:
        for _ in self._left:
            return await super().look(choose)
        raise DependencyUnavailable("not now", dependency="postgres")


@pytest.mark.requirement("HKI-6", "IDM-6")
async def test_a_replay_that_was_interrupted_goes_on_with_its_key(till: Till, inbound: Inbound, payment: P) -> None:
    till.clock.advance(datetime.timedelta(seconds=1))
    since = stamp(till.clock.now())
    first, second = sorted(fresh_id() for _ in range(2))
    for event_id in (first, second):
        await quarantined(inbound, payment, event_id)
    request = replay(type="payment_intent.succeeded", start_time=since)
    with pytest.raises(DependencyUnavailable):
        await inbound.operations(Away(inbound, looks=1)).replay_provider_events(request)
    states = "SELECT state FROM provider_event WHERE event_id = ANY ($1) ORDER BY event_id"
    assert [row["state"] for row in await inbound.rows.fetch(states, [first, second])] == [1, 3]
    again = await inbound.operations(inbound.webhooks()).replay_provider_events(request)
    assert [event.event_id for event in again.events] == [first, second]
    assert (again.replayed, {event.place.state for event in again.events}) == (True, {EventState.APPLIED})
    assert await entries(till, payment) == 2


@pytest.mark.requirement("HKI-6")
async def test_an_event_is_given_up_with_a_reason_that_stays(
    till: Till, operator: Any, inbound: Inbound, payment: P
) -> None:
    await keep(till, event_about(intent_shown(payment, id="pi_of_nobody"), event_id := fresh_id()))
    assert (await get(operator, event_id)).state == E.STATE_PARKED
    rehearsed = (await operator.SkipProviderEvent(skip(event_id, dry_run=True))).event
    assert (rehearsed.state, rehearsed.operator_reason) == (E.STATE_SKIPPED, "it is of another shop")
    assert (await get(operator, event_id)).state == E.STATE_PARKED
    given_up = (await operator.SkipProviderEvent(request := skip(event_id))).event
    assert (given_up.state, given_up.operator_reason, given_up.actor) == (
        E.STATE_SKIPPED,
        "it is of another shop",
        "development",
    )
    assert given_up == await get(operator, event_id)
    for repeat in (request, skip(event_id, reason="again")):
        assert await is_replay(again := operator.SkipProviderEvent(repeat))
        assert (await again).event == given_up
    reused = skip(event_id, request_id=request.request_id, reason="another one")
    assert (await refusal_of(operator.SkipProviderEvent(reused))).reason_name == "IDEMPOTENCY_KEY_REUSED"
    # Nobody looks at it again: what is parked later comes to its end, and this stays.
    await keep(till, event_about(intent_shown(payment, id="pi_of_nobody"), later := fresh_id()))
    till.clock.advance(datetime.timedelta(days=3))
    await until(lambda: get(operator, later), holds=lambda event: event.state == E.STATE_QUARANTINED)
    assert await get(operator, event_id) == given_up
    assert await command(inbound, event_id) == ("SkipProviderEvent", "it is of another shop", "development")


@pytest.mark.requirement("HKI-6")
async def test_what_is_applied_or_unknown_is_not_given_up(till: Till, operator: Any, payment: P) -> None:
    await keep(till, event_about(intent_shown(payment), event_id := fresh_id()))
    for dry_run in (True, False):
        refusal = await refusal_of(operator.SkipProviderEvent(skip(event_id, dry_run=dry_run)))
        assert refusal.reason_name == "PROVIDER_EVENT_STATE_CONFLICT"
        assert refusal.metadata == {"event_id": event_id, "state": "APPLIED"}
    refusal = await refusal_of(operator.SkipProviderEvent(skip("evt_of_nobody")))
    assert (refusal.reason_name, refusal.metadata) == ("PROVIDER_EVENT_NOT_FOUND", {"event_id": "evt_of_nobody"})
    assert (await get(operator, event_id)).state == E.STATE_APPLIED
