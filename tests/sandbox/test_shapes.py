"""Every object has every field that Stripe's own fixture of its kind has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox.stripe.shapes.account import API_VERSION
from tests.sandbox.payments import pay
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

FIXTURES = Path(__file__).parents[3] / "shared/data/stripe_fixtures3.json"
pytestmark = pytest.mark.skipif(not FIXTURES.exists(), reason=f"needs Stripe's fixtures at {FIXTURES}")


def missing(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Fields that Stripe's has and ours has not. Where ours is null there is nothing to compare."""
    if path.endswith(".metadata"):  # whatever the merchant put there
        return
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name, value in theirs.items():
            if name in ours:
                yield from missing(value, ours[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(theirs, list) and isinstance(ours, list) and theirs and ours:
        yield from missing(theirs[0], ours[0], f"{path}[]")


def of(kind: str) -> Any:
    return json.loads(FIXTURES.read_text())["resources"][kind]


async def test_what_the_api_answers_has_stripes_fields(sandbox: Sandbox, client: stripe.StripeClient):
    customer = await client.v1.customers.create_async({"email": "d@example.org"})
    expand = ["latest_charge.balance_transaction", "latest_charge.refunds", "payment_method"]
    intent = await pay(client, customer=customer.id, capture_method="automatic", expand=expand)
    refund = await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 100})
    dispute = await sandbox.dispute(payment_intent=(await pay(client)).id)
    await pay(client, "pm_card_bypassPending", currency="ron", capture_method="automatic")
    payout = await sandbox.payout("ron")
    found = {
        "payment_intent": intent.to_dict(),
        "charge": intent.latest_charge.to_dict(),
        "balance_transaction": intent.latest_charge.balance_transaction.to_dict(),
        "payment_method": intent.payment_method.to_dict(),
        "customer": customer.to_dict(),
        "refund": refund.to_dict(),
        "dispute": dispute,
        "payout": (await client.v1.payouts.retrieve_async(payout["id"])).to_dict(),
        "balance": (await client.v1.balance.retrieve_async()).to_dict(),
    }
    assert {kind: list(missing(of(kind), ours)) for kind, ours in found.items()} == {kind: [] for kind in found}


async def test_events_and_what_they_carry_have_stripes_fields(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client, "pm_card_createDispute")
    await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 100})
    await sandbox.advance(seconds=2)

    async def events() -> list[dict]:
        return sandbox.hooks.taken(about=intent.id)

    found = await until(events, holds=lambda events: len(events) >= 8)
    for event in found:
        assert list(missing({**of("event"), "data": {"object": of(event["data"]["object"]["object"])}}, event)) == []


def test_the_sandbox_speaks_the_version_of_the_sdk():
    assert stripe.api_version == API_VERSION
