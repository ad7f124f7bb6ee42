"""Webhooks: signed, repeated, late, twice, out of order, and never lost."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.payments import create, pay
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

CREATED = ["payment_intent.created"]


async def come(sandbox: Sandbox, intent: str, *, count: int) -> list[dict]:
    async def taken() -> list[dict]:
        return sandbox.hooks.taken(about=intent)

    return await until(taken, holds=lambda events: len(events) >= count)


async def test_the_sdk_accepts_the_signature_under_each_secret_and_under_no_other(
    sandbox: Sandbox, client: stripe.StripeClient
):
    intent = await create(client)
    await come(sandbox, intent.id, count=1)
    hook = next(hook for hook in sandbox.hooks.came if intent.id.encode() in hook.body)
    assert hook.signature.count("v1=") == len(sandbox.webhook_secrets)
    for secret in sandbox.webhook_secrets:
        event = stripe.Webhook.construct_event(hook.body, hook.signature, secret)
        assert (event.type, event.data.object.id) == ("payment_intent.created", intent.id)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(hook.body, hook.signature, "whsec_of_somebody_else")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(hook.body + b" ", hook.signature, sandbox.webhook_secrets[0])


async def test_the_clock_of_signatures_can_go_wrong(sandbox: Sandbox, client: stripe.StripeClient):
    await sandbox.ask("POST", "webhooks/clock", skew_s=-301)
    intent = await create(client)
    await come(sandbox, intent.id, count=1)
    await sandbox.ask("POST", "webhooks/clock", skew_s=0)
    hook = next(hook for hook in sandbox.hooks.came if intent.id.encode() in hook.body)
    with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
        stripe.Webhook.construct_event(hook.body, hook.signature, sandbox.webhook_secrets[0])


async def test_an_event_names_the_call_that_caused_it(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await create(client, key="key-of-an-event")
    (event,) = await come(sandbox, intent.id, count=1)
    assert event["request"] == {"id": intent.last_response.request_id, "idempotency_key": "key-of-an-event"}
    assert (event["api_version"], event["livemode"], event["pending_webhooks"]) == (stripe.api_version, False, 1)
    assert event["data"]["object"] == intent.to_dict()


async def test_what_is_refused_comes_again_until_it_is_taken(sandbox: Sandbox, client: stripe.StripeClient):
    sandbox.hooks.refusals = 2
    intent = await create(client)
    await come(sandbox, intent.id, count=1)
    statuses = [hook.status for hook in sandbox.hooks.came if intent.id.encode() in hook.body]
    ids = {hook.event["id"] for hook in sandbox.hooks.came if intent.id.encode() in hook.body}
    assert statuses == [500, 500, 200]
    assert len(ids) == 1

    async def pending() -> int:
        return (await client.v1.events.retrieve_async(*ids)).pending_webhooks

    assert await until(pending, holds=lambda count: count == 0) == 0


async def test_an_event_is_delivered_several_times(sandbox: Sandbox, client: stripe.StripeClient):
    await sandbox.webhook_fault("duplicate", types=CREATED, copies=3)
    intent = await create(client)
    events = await come(sandbox, intent.id, count=4)
    assert len(events) == 4
    assert len({event["id"] for event in events}) == 1


async def test_one_fact_is_announced_by_two_events(sandbox: Sandbox, client: stripe.StripeClient):
    await sandbox.webhook_fault("two_events", types=CREATED)
    intent = await create(client)
    first, second = await come(sandbox, intent.id, count=2)
    assert first["id"] != second["id"]
    assert first["data"] == second["data"]


async def test_events_arrive_in_the_reverse_order(sandbox: Sandbox, client: stripe.StripeClient):
    types = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    await sandbox.webhook_fault("reorder", types=types, times=3)
    intent = await pay(client)
    kinds = await sandbox.hooks.kinds(about=intent.id, count=3)
    assert kinds[:3] == ["payment_intent.succeeded", "charge.succeeded", "payment_intent.created"]


async def test_what_is_withheld_is_listed_as_undelivered_and_comes_when_it_is_released(
    sandbox: Sandbox, client: stripe.StripeClient
):
    await sandbox.webhook_fault("withhold", types=CREATED)
    held, other = await create(client), await create(client)
    await come(sandbox, other.id, count=1)
    assert sandbox.hooks.taken(about=held.id) == []
    undelivered = await client.v1.events.list_async({"delivery_success": False})
    assert held.id in {event.data.object.id for event in undelivered.data}
    assert await sandbox.release() == 1
    await come(sandbox, held.id, count=1)


async def test_what_is_late_comes_at_once_when_somebody_hurries(sandbox: Sandbox, client: stripe.StripeClient):
    await sandbox.webhook_fault("delay", types=CREATED, seconds=3600)
    late, prompt = await create(client), await create(client)
    await come(sandbox, prompt.id, count=1)
    assert sandbox.hooks.taken(about=late.id) == []
    await sandbox.ask("POST", "webhooks/retry")
    await come(sandbox, late.id, count=1)


async def test_a_webhook_may_be_late(sandbox: Sandbox, client: stripe.StripeClient):
    await sandbox.webhook_fault("delay", types=CREATED, seconds=0.3)
    late, prompt = await create(client), await create(client)
    await come(sandbox, late.id, count=1)
    order = [event["data"]["object"]["id"] for event in sandbox.hooks.taken(kind="payment_intent.created")]
    assert order.index(prompt.id) < order.index(late.id)


async def test_a_webhook_may_come_before_the_answer_of_its_call(sandbox: Sandbox, client: stripe.StripeClient):
    await sandbox.webhook_fault("before_answer", types=["payment_intent.succeeded"])
    intent = await pay(client)
    kinds = {event["type"] for event in sandbox.hooks.taken(about=intent.id)}
    assert "payment_intent.succeeded" in kinds


async def test_an_event_is_sent_again_when_somebody_asks(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await create(client)
    (event,) = await come(sandbox, intent.id, count=1)
    await sandbox.resend(event["id"])
    assert [again["id"] for again in await come(sandbox, intent.id, count=2)] == [event["id"]] * 2
