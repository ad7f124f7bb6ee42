"""What may happen to a call: its effect and its answer are two things."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import aiohttp
import pytest
import stripe

from tests.sandbox.payments import pay
from tests.support.sandbox import Sandbox, closing

# What the SDK raises for an answer that is lost; it does not wrap what it meets after the head of an answer.
LOST = (stripe.StripeError, aiohttp.ClientError, UnicodeDecodeError)


async def entries(sandbox: Sandbox, mark: str) -> list[dict]:
    return [entry for entry in (await sandbox.book()).values() if entry["metadata"].get("mark") == mark]


@pytest.mark.parametrize("fault", ["answer_lost", "truncated", "garbled", "error_500_after"])
async def test_the_payment_happened_although_no_answer_says_so(sandbox: Sandbox, client: stripe.StripeClient, fault: str):
    key, mark = f"key-{uuid4()}", f"{uuid4()}"
    await sandbox.fault(fault, call="payment_intents.create")
    with pytest.raises(LOST):
        await pay(client, key=key, metadata={"mark": mark})
    (entry,) = await entries(sandbox, mark)
    assert (entry["status"], entry["successful_charges"]) == ("succeeded", 1)


@pytest.mark.parametrize("fault", ["answer_lost", "truncated", "garbled"])
async def test_the_same_key_gets_the_answer_that_was_lost(sandbox: Sandbox, client: stripe.StripeClient, fault: str):
    key, mark = f"key-{uuid4()}", f"{uuid4()}"
    await sandbox.fault(fault, call="payment_intents.create")
    with pytest.raises(LOST):
        await pay(client, key=key, metadata={"mark": mark})
    again = await pay(client, key=key, metadata={"mark": mark})
    (entry,) = await entries(sandbox, mark)
    assert (again.id, again.status, entry["successful_charges"]) == (entry["id"], "succeeded", 1)


async def test_the_same_key_gets_the_error_that_was_saved_although_the_payment_happened(
    sandbox: Sandbox, client: stripe.StripeClient
):
    key, mark = f"key-{uuid4()}", f"{uuid4()}"
    await sandbox.fault("error_500_after", call="payment_intents.create")
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await pay(client, key=key, metadata={"mark": mark})
    (entry,) = await entries(sandbox, mark)
    assert entry["status"] == "succeeded"


@pytest.mark.parametrize("fault", ["error_500", "error_429", "refuse_connection"])
async def test_nothing_happened_where_the_fault_came_first(sandbox: Sandbox, client: stripe.StripeClient, fault: str):
    mark = f"{uuid4()}"
    await sandbox.fault(fault, call="payment_intents.create")
    with pytest.raises(stripe.StripeError):
        await pay(client, metadata={"mark": mark})
    assert await entries(sandbox, mark) == []


async def test_a_call_that_hangs_has_happened_and_never_answers(sandbox: Sandbox, client: stripe.StripeClient):
    key, mark = f"key-{uuid4()}", f"{uuid4()}"
    await sandbox.fault("hang", call="payment_intents.create")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await pay(client, key=key, metadata={"mark": mark})
    (entry,) = await entries(sandbox, mark)
    assert (await pay(client, key=key, metadata={"mark": mark})).id == entry["id"]


async def test_a_fault_lasts_as_often_as_was_said_and_others_until_they_are_cleared(sandbox: Sandbox):
    async with closing(sandbox.client()) as client:
        await sandbox.fault("error_429", call="balance.retrieve", times=2)
        for _ in range(2):
            with pytest.raises(stripe.RateLimitError):
                await client.v1.balance.retrieve_async()
        await client.v1.balance.retrieve_async()
        await sandbox.fault("error_500", call="*", times=None)
        for _ in range(3):
            with pytest.raises(stripe.APIError):
                await client.v1.balance.retrieve_async()
        await sandbox.clear()
        await client.v1.balance.retrieve_async()


async def test_the_sdk_repeats_what_was_lost_under_one_key_and_charges_once(sandbox: Sandbox):
    mark = f"{uuid4()}"
    async with closing(sandbox.client(retries=2)) as client:
        await sandbox.fault("answer_lost", call="payment_intents.create", times=2)
        intent = await pay(client, metadata={"mark": mark})
    (entry,) = await entries(sandbox, mark)
    calls = [call for call in await sandbox.requests(call="payment_intents.create") if mark in str(call["params"])]
    assert (entry["id"], entry["successful_charges"]) == (intent.id, 1)
    assert [call["fault"] for call in calls] == ["answer_lost", "answer_lost", None]
    assert len({call["key"] for call in calls}) == 1


async def test_a_fault_that_does_not_exist_is_refused(sandbox: Sandbox):
    for members in ({"fault": "earthquake"}, {"fault": "slow", "call": "coffee.make"}, {"fault": "slow", "times": 0}):
        async with sandbox.control.post("/sandbox/faults", json=members) as answer:
            assert answer.status == 400


async def test_the_switches_ask_for_the_secret_key(sandbox: Sandbox):
    headers = {"Authorization": f"Bearer {sandbox.publishable}"}
    async with sandbox.control.get("/sandbox/book", headers=headers) as answer:
        assert answer.status == 401
