"""Our side of Stripe: what we ask is what Stripe takes, and what it answers is read for what it proves."""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe

from mesh.clock import SystemClock
from mesh.ids import new_id, new_tenant_id
from mesh.money import Money
from payment_svc.domain.answers import Absent, NotReached, Refused, Seen, Unproven
from payment_svc.domain.inbound import EventPage, NotListed
from payment_svc.domain.payments import IntentStatus, Outcome, Payment
from payment_svc.domain.settlement import MovementPage
from payment_svc.provider import CircuitBreaker, Stripe, WebhookReader, calls, open_stripe
from payment_svc.provider.breaker import CallsPaused
from payment_svc.provider.calls import _outcome_of
from payment_svc.provider.shapes import intent_seen
from tests.sandbox.payments import pay
from tests.support.mesh import free_ports
from tests.support.sandbox import Sandbox, closing
from tests.support.stripe_mock import NO_STRIPE_MOCK, STRIPE_MOCK, running_stripe_mock

NOW = datetime.datetime.now(datetime.UTC)


def payment(minor_units: int = 2500, currency: str = "USD", *, manual_capture: bool = False) -> Payment:
    charity = new_tenant_id()
    return Payment(
        id=new_id(tenant_id=charity),
        charity_id=charity,
        campaign_id=new_id(tenant_id=charity),
        donation_id=new_id(tenant_id=charity),
        amount=Money(minor_units, currency),
        manual_capture=manual_capture,
        version=1,
        create_time=NOW,
        update_time=NOW,
    )


@pytest.fixture
async def against_mock() -> AsyncIterator[Stripe]:
    async with (
        running_stripe_mock() as url,
        open_stripe(api_key="sk_test_123", api_base=url, request_s=5, breaker=CircuitBreaker(SystemClock())) as provider,
    ):
        yield provider


@pytest.fixture
async def against_sandbox(sandbox: Sandbox) -> AsyncIterator[Stripe]:
    async with open_stripe(
        api_key=sandbox.secret, api_base=sandbox.url, request_s=5, breaker=CircuitBreaker(SystemClock())
    ) as provider:
        yield provider
    await sandbox.clear()


@pytest.mark.requirement("PAY-4")
@pytest.mark.skipif(not STRIPE_MOCK, reason=NO_STRIPE_MOCK)
@pytest.mark.parametrize("manual_capture", [False, True])
async def test_stripes_own_mock_takes_every_request_that_we_make(against_mock: Stripe, manual_capture: bool) -> None:
    asked = payment(manual_capture=manual_capture)
    attempt_id = new_id(tenant_id=asked.charity_id)
    assert isinstance(await against_mock.create_intent(asked, attempt_id=attempt_id), Seen)
    assert isinstance(await against_mock.cancel_intent("pi_123", attempt_id=attempt_id), Seen)
    assert isinstance(await against_mock.cancel_intent("pi_123", attempt_id=attempt_id, again=2), Seen)
    assert isinstance(await against_mock.find_intent(asked), Seen | Absent)
    assert isinstance(await against_mock.get_intent("pi_123"), Seen)


@pytest.mark.requirement("HKI-5")
@pytest.mark.skipif(not STRIPE_MOCK, reason=NO_STRIPE_MOCK)
@pytest.mark.parametrize("after", ["", "evt_123"])
async def test_stripes_own_mock_lists_events_as_we_ask_for_them(against_mock: Stripe, after: str) -> None:
    page = await against_mock.list_events(since=NOW, after=after)
    assert isinstance(page, EventPage)
    assert [event.event_id for event in page.events] == [json.loads(event.body)["id"] for event in page.events]


@pytest.mark.requirement("REC-3")
@pytest.mark.skipif(not STRIPE_MOCK, reason=NO_STRIPE_MOCK)
@pytest.mark.parametrize("after", ["", "txn_123"])
async def test_stripes_own_mock_lists_its_balance_as_we_ask_for_it(against_mock: Stripe, after: str) -> None:
    page = await against_mock.list_movements(since=NOW, after=after)
    assert isinstance(page, MovementPage)
    assert [movement.category for movement in page.movements] == ["charge"]


@pytest.mark.requirement("REC-3")
async def test_a_page_that_stripe_does_not_show_is_none_and_a_forgotten_place_is_told_apart(
    against_sandbox: Stripe, sandbox: Sandbox
) -> None:
    assert await against_sandbox.list_movements(since=NOW, after="txn_of_nobody") == NotListed(
        "InvalidRequestError", cursor_lost=True
    )
    for fault in ("error_500", "garbled", "truncated"):
        await sandbox.fault(fault, call="balance_transactions.list")
        page = await against_sandbox.list_movements(since=NOW, after="")
        assert isinstance(page, NotListed)
        assert not page.cursor_lost


@pytest.mark.requirement("HKI-5")
async def test_a_listed_event_is_byte_for_byte_worth_what_a_delivered_one_is(
    against_sandbox: Stripe, sandbox: Sandbox
) -> None:
    """But for how often it is still to be delivered."""
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
    await sandbox.webhook_fault("withhold", times=None)
    asked = payment()
    made = await against_sandbox.create_intent(asked, attempt_id=new_id(tenant_id=asked.charity_id))
    assert isinstance(made, Seen)
    page = await against_sandbox.list_events(since=since, after="")
    assert isinstance(page, EventPage)
    (listed,) = [event for event in page.events if made.fact.provider_id.encode() in event.body]
    await sandbox.release()
    await sandbox.hooks.kinds(about=made.fact.provider_id, count=1)
    (delivered,) = sandbox.hooks.taken(about=made.fact.provider_id)
    assert json.loads(listed.body) == delivered
    reader = WebhookReader(secrets=sandbox.webhook_secrets, live=False)
    assert reader.read_stored(listed.body).intent_id == made.fact.provider_id


@pytest.mark.requirement("PAY-4")
async def test_the_sandbox_takes_the_same_requests(against_sandbox: Stripe, sandbox: Sandbox) -> None:
    asked = payment()
    attempt_id = new_id(tenant_id=asked.charity_id)
    made = await against_sandbox.create_intent(asked, attempt_id=attempt_id)
    again = await against_sandbox.create_intent(asked, attempt_id=attempt_id)
    assert isinstance(made, Seen)
    assert isinstance(again, Seen)
    assert made.fact.provider_id == again.fact.provider_id
    assert made.fact.amount == asked.amount
    assert isinstance(await against_sandbox.find_intent(asked), Absent)
    await sandbox.advance(seconds=61)
    found = await against_sandbox.find_intent(asked)
    assert isinstance(found, Seen)
    assert found.fact.provider_id == made.fact.provider_id
    canceled = await against_sandbox.cancel_intent(made.fact.provider_id, attempt_id=new_id(tenant_id=asked.charity_id))
    assert isinstance(canceled, Seen)
    assert canceled.fact.progress.status is IntentStatus.CANCELED


@pytest.mark.requirement("PAY-3")
async def test_an_intent_that_ended_otherwise_is_shown_beside_the_refusal(against_sandbox: Stripe, sandbox: Sandbox) -> None:
    asked = payment()
    made = await against_sandbox.create_intent(asked, attempt_id=new_id(tenant_id=asked.charity_id))
    assert isinstance(made, Seen)
    await against_sandbox.cancel_intent(made.fact.provider_id, attempt_id=new_id(tenant_id=asked.charity_id))
    answer = await against_sandbox.cancel_intent(made.fact.provider_id, attempt_id=new_id(tenant_id=asked.charity_id))
    assert isinstance(answer, Refused)
    assert answer.code == "payment_intent_unexpected_state"
    assert answer.intent is not None
    assert answer.intent.progress.status is IntentStatus.CANCELED


@pytest.mark.requirement("PAY-5", "PAY-7")
async def test_what_a_capture_leaves_of_an_authorisation_is_no_refund(against_sandbox: Stripe, sandbox: Sandbox) -> None:
    async with closing(sandbox.client()) as client:
        held = await pay(client, capture_method="manual")
        taken = await client.v1.payment_intents.capture_async(held.id, {"amount_to_capture": 2000})
        refund = await client.v1.refunds.create_async({"payment_intent": held.id, "amount": 300})
        assert len((await client.v1.refunds.list_async({"charge": taken.latest_charge})).data) == 2
    listed, seen = await against_sandbox.list_returns(held.id), await against_sandbox.get_intent(held.id)
    assert isinstance(listed, Seen)
    assert isinstance(seen, Seen)
    told = {(found.refund_id == refund.id, found.amount.minor_units, found.outcome) for found in listed.fact.refunds}
    assert told == {(True, 300, Outcome.SUCCEEDED), (False, 500, Outcome.REFUSED)}
    assert (seen.fact.captured, seen.fact.charge.said.refunded) == (2000, 300)


@pytest.mark.requirement("PAY-7")
async def test_an_authorisation_that_was_let_go_is_no_refund(against_sandbox: Stripe, sandbox: Sandbox) -> None:
    async with closing(sandbox.client()) as client:
        held = await pay(client, capture_method="manual")
        before = await against_sandbox.get_intent(held.id)
        await client.v1.payment_intents.cancel_async(held.id)
    after = await against_sandbox.get_intent(held.id)
    assert isinstance(before, Seen)
    assert isinstance(after, Seen)
    assert (before.fact.charge.said.refunded, after.fact.charge.said.refunded) == (0, 0)


@pytest.mark.requirement("PAY-3")
async def test_nobody_at_the_address_means_that_nothing_was_done() -> None:
    (port,) = free_ports(1)
    async with open_stripe(
        api_key="sk_test_123", api_base=f"http://127.0.0.1:{port}", request_s=5, breaker=CircuitBreaker(SystemClock())
    ) as provider:
        asked = payment()
        assert await provider.create_intent(asked, attempt_id=new_id(tenant_id=asked.charity_id)) == NotReached()
        assert await provider.find_intent(asked) == NotReached()


@pytest.mark.requirement("PAY-3")
async def test_a_wrong_key_is_turned_away_at_the_door(sandbox: Sandbox) -> None:
    async with open_stripe(
        api_key="sk_test_of_a_stranger", api_base=sandbox.url, request_s=5, breaker=CircuitBreaker(SystemClock())
    ) as provider:
        asked = payment()
        assert await provider.create_intent(asked, attempt_id=new_id(tenant_id=asked.charity_id)) == NotReached()


OUTCOMES: dict[str, tuple[Exception, Any]] = {
    "429": (stripe.RateLimitError("slow down"), NotReached()),
    "401": (stripe.AuthenticationError("who are you"), NotReached()),
    "403": (stripe.PermissionError("not yours"), NotReached()),
    "400": (stripe.InvalidRequestError("no", "amount", "amount_too_small"), Refused("amount_too_small")),
    "a saved 500": (stripe.APIError("oops", http_status=500), Unproven(saved=True)),
    "503": (stripe.APIError("later", http_status=503), Unproven()),
    "a body that is no JSON": (stripe.APIError("what", http_status=200), Unproven()),
    "a broken connection": (stripe.APIConnectionError("gone"), Unproven()),
    "a key with other parameters": (stripe.IdempotencyError("other", http_status=400), Unproven(saved=True)),
    "a deadline": (TimeoutError(), Unproven()),
    "calls that are paused": (CallsPaused(), NotReached(paused=True)),
    "anything else": (RuntimeError("a defect"), Unproven()),
}


@pytest.mark.requirement("PAY-3")
@pytest.mark.parametrize("error", OUTCOMES)
def test_every_error_proves_one_thing(error: str) -> None:
    raised, outcome = OUTCOMES[error]
    assert _outcome_of(raised) == outcome


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_REPEAT_AFTER_S", (0, 0))


@pytest.mark.requirement("PAY-3")
@pytest.mark.parametrize(
    ("tries", "outcome", "asked"),
    [
        ([TimeoutError(), stripe.RateLimitError("slow down"), stripe.AuthenticationError("who")], Unproven(), 3),
        ([stripe.APIError("oops", http_status=500)], Unproven(saved=True), 1),
        ([stripe.InvalidRequestError("no", "amount", "amount_too_small")], Refused("amount_too_small"), 1),
        ([stripe.RateLimitError("slow down")] * 3, NotReached(), 3),
        ([TimeoutError(), stripe.InvalidRequestError("no", "id", "resource_missing")], Refused("resource_missing"), 2),
        ([stripe.RateLimitError("slow down"), CallsPaused()], NotReached(paused=True), 2),
        ([TimeoutError(), CallsPaused()], Unproven(), 2),
    ],
)
async def test_what_one_try_left_unproven_stays_unproven(no_waits, tries: list[Exception], outcome: Any, asked: int) -> None:
    left = list(tries)

    async def ask() -> Any:
        raise left.pop(0)

    assert await calls._asked(ask, intent_seen) == outcome
    assert len(tries) - len(left) == asked


@pytest.mark.requirement("INT-7")
async def test_a_cancel_is_not_answered_with_an_earlier_refusal(against_sandbox: Stripe) -> None:
    asked = payment()
    attempt_id = new_id(tenant_id=asked.charity_id)
    refused = await against_sandbox.cancel_intent("pi_of_nobody", attempt_id=attempt_id)
    made = await against_sandbox.create_intent(asked, attempt_id=new_id(tenant_id=asked.charity_id))
    assert isinstance(refused, Refused)
    assert isinstance(made, Seen)
    again = await against_sandbox.cancel_intent(made.fact.provider_id, attempt_id=attempt_id, again=1)
    assert isinstance(again, Seen)


def test_a_repeated_answer_is_as_old_as_its_intent() -> None:
    headers = {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert calls._second_in(headers, {"created": 5}) == 1767225600
    assert calls._second_in(headers | {"Idempotent-Replayed": "true"}, {"created": 5}) == 5
