"""A sandbox that is killed at any moment has lost nothing and doubled nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
import stripe
from pydantic import ValidationError

from sandbox.config import SandboxSettings
from tests.sandbox.payments import create, pay
from tests.support.sandbox import Sandbox, closing, running_sandbox
from tests.support.waiting import until

# What a caller sees of a server that dies.
_GONE = (stripe.StripeError, aiohttp.ClientError)


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """One of the test's own."""
    async with running_sandbox(tmp_path) as sandbox:
        yield sandbox


async def donate(client: stripe.StripeClient, key: str) -> stripe.PaymentIntent | None:
    try:
        return await pay(client, key=key, metadata={"key": key})
    except _GONE:
        return None


async def test_after_a_kill_under_load_every_key_has_one_payment_and_every_event_arrives(mortal: Sandbox):
    keys = [f"key-{uuid4()}" for _ in range(120)]
    before: dict[str, stripe.PaymentIntent | None] = {}
    async with closing(mortal.client()) as client:
        left = iter(keys)
        donors = [asyncio.create_task(_donate_all(client, left, before)) for _ in range(6)]
        await until(_answered(before, count=20))
        await mortal.kill()
        await asyncio.gather(*donors)
    await mortal.start()
    async with closing(mortal.client()) as client:
        after = {key: await donate(client, key) for key in keys}
    assert any(before.values())
    assert not all(before.values())
    assert all(after[key].id == intent.id for key, intent in before.items() if intent)
    entries = (await mortal.book()).values()
    assert sorted(entry["metadata"]["key"] for entry in entries) == sorted(keys)
    assert {entry["successful_charges"] for entry in entries} == {1}
    await until(_all_announced(mortal, {intent.id for intent in after.values()}))


async def _donate_all(client: stripe.StripeClient, keys: Iterator[str], answers: dict) -> None:
    for key in keys:
        answers[key] = await donate(client, key)


def _answered(answers: dict, *, count: int):
    async def answered() -> bool:
        return len(answers) >= count

    return answered


def _all_announced(sandbox: Sandbox, intents: set[str]):
    async def announced() -> bool:
        paid = sandbox.hooks.taken(kind="payment_intent.succeeded")
        return {event["data"]["object"]["id"] for event in paid} == intents

    return announced


async def test_what_nobody_had_taken_is_delivered_after_a_kill(mortal: Sandbox):
    mortal.hooks.refusals = 1_000_000
    async with closing(mortal.client()) as client:
        intent = await create(client)
    await mortal.kill()
    mortal.hooks.refusals = 0
    await mortal.start()
    assert await mortal.hooks.kinds(about=intent.id, count=1) == ["payment_intent.created"]


async def test_clock_faults_and_what_is_withheld_survive_a_kill(mortal: Sandbox):
    moved = await mortal.advance(seconds=10 * 86_400)
    await mortal.webhook_fault("withhold", types=["payment_intent.created"])
    await mortal.fault("error_429", call="balance.retrieve")
    async with closing(mortal.client()) as client:
        intent = await create(client)
    await mortal.kill()
    await mortal.start()
    async with closing(mortal.client()) as client:
        with pytest.raises(stripe.RateLimitError):
            await client.v1.balance.retrieve_async()
    assert (await mortal.ask("GET", "clock"))["time"] >= moved
    assert await mortal.release() == 1
    await mortal.hooks.kinds(about=intent.id, count=1)


async def test_what_became_due_while_it_was_dead_happens_at_its_start(mortal: Sandbox):
    async with closing(mortal.client()) as client:
        intent = await pay(client, expand=["latest_charge"])
        await mortal.kill()
        await mortal.start()
    async with closing(mortal.client()) as client:

        async def settled() -> stripe.Charge:
            return await client.v1.charges.retrieve_async(intent.latest_charge.id)

        await until(settled, holds=lambda charge: bool(charge.balance_transaction))
        assert len((await client.v1.balance_transactions.list_async({"source": intent.latest_charge.id})).data) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stripe_api_key", "sk_live_x"),
        ("stripe_publishable_key", "sk_test_x"),
        ("webhook_url", "ftp://x"),
        ("listen_port", -1),
    ],
)
def test_settings_that_cannot_be_right_are_refused(tmp_path: Path, name: str, value: str):
    right = {"sandbox_book": tmp_path / "book", "stripe_api_key": "sk_test_x", "stripe_publishable_key": "pk_test_x"}
    SandboxSettings(**right)
    with pytest.raises(ValidationError) as refused:
        SandboxSettings(**right | {name: value})
    assert [mistake["loc"] for mistake in refused.value.errors()] == [(name,)]
