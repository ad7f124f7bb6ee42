"""The same calls against Stripe's own mock, which checks every parameter, and against the sandbox: both take them alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import chain
from typing import Any

import pytest
import stripe

from tests.sandbox.payments import AUTOMATIC, create, pay
from tests.support.sandbox import Sandbox, closing
from tests.support.stripe_mock import NO_STRIPE_MOCK, STRIPE_MOCK, running_stripe_mock

pytestmark = pytest.mark.skipif(not STRIPE_MOCK, reason=NO_STRIPE_MOCK)
V1 = Callable[[Any, "Ids"], Awaitable[Any]]
# Fields that Stripe leaves out unless they are asked for, and those that the caller fills.
_NOT_COMPARED = {"source", "total_count", "metadata"}


class Ids(dict[str, str]):
    """Ids of what the sandbox has; the mock takes any."""


# Each call once, as somebody would make it. A new one is a new line.
CALLS: dict[str, V1] = {
    "intent created": lambda v1, _: v1.payment_intents.create_async(
        {
            "amount": 2500,
            "currency": "eur",
            "automatic_payment_methods": AUTOMATIC,
            "capture_method": "manual",
            "description": "A gift",
            "metadata": {"attempt_id": "a1"},
            "receipt_email": "d@example.org",
            "statement_descriptor_suffix": "GIFT",
        }
    ),
    "intent created and confirmed": lambda v1, _: v1.payment_intents.create_async(
        {
            "amount": 2500,
            "currency": "usd",
            "confirm": True,
            "off_session": True,
            "payment_method": "pm_card_visa",
            "payment_method_types": ["card"],
            "expand": ["latest_charge.balance_transaction"],
        }
    ),
    "intent read": lambda v1, ids: v1.payment_intents.retrieve_async(ids["open"], {"expand": ["latest_charge"]}),
    "intent changed": lambda v1, ids: v1.payment_intents.update_async(
        ids["changing"], {"amount": 2600, "metadata": {"a": "b"}}
    ),
    "intent confirmed": lambda v1, ids: v1.payment_intents.confirm_async(
        ids["confirming"], {"payment_method": "pm_card_visa", "return_url": "https://shop.example", "use_stripe_sdk": False}
    ),
    "intent captured": lambda v1, ids: v1.payment_intents.capture_async(ids["authorised"], {"amount_to_capture": 2000}),
    "intent canceled": lambda v1, ids: v1.payment_intents.cancel_async(
        ids["canceling"], {"cancellation_reason": "abandoned"}
    ),
    "intents listed": lambda v1, _: v1.payment_intents.list_async({"limit": 3, "created": {"gte": 1}}),
    "intents searched": lambda v1, _: v1.payment_intents.search_async({"query": "metadata['a']:'b'", "limit": 5}),
    "charge read": lambda v1, ids: v1.charges.retrieve_async(ids["charge"]),
    "charges listed": lambda v1, ids: v1.charges.list_async({"payment_intent": ids["paid"]}),
    "refund made": lambda v1, ids: v1.refunds.create_async(
        {"payment_intent": ids["paid"], "amount": 100, "reason": "requested_by_customer", "metadata": {"refund_id": "r"}}
    ),
    "refund read": lambda v1, ids: v1.refunds.retrieve_async(ids["refund"]),
    "refund changed": lambda v1, ids: v1.refunds.update_async(ids["refund"], {"metadata": {"a": "b"}}),
    "refunds listed": lambda v1, ids: v1.refunds.list_async({"charge": ids["charge"], "limit": 100}),
    "dispute read": lambda v1, ids: v1.disputes.retrieve_async(ids["dispute"]),
    "dispute answered": lambda v1, ids: v1.disputes.update_async(
        ids["dispute"], {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": True}
    ),
    "disputes listed": lambda v1, ids: v1.disputes.list_async({"payment_intent": ids["disputed"], "created": {"gte": 1}}),
    "customer made": lambda v1, _: v1.customers.create_async({"email": "d@example.org", "metadata": {"donor": "1"}}),
    "customer read": lambda v1, ids: v1.customers.retrieve_async(ids["customer"]),
    "payment method made": lambda v1, _: v1.payment_methods.create_async({"type": "card", "card": {"token": "tok_visa"}}),
    "payment method read": lambda v1, ids: v1.payment_methods.retrieve_async(ids["method"]),
    "balance transaction read": lambda v1, ids: v1.balance_transactions.retrieve_async(ids["transaction"]),
    "balance transactions listed": lambda v1, ids: v1.balance_transactions.list_async(
        {"source": ids["charge"], "currency": "usd", "type": "charge", "created": {"gte": 1, "lt": 4_000_000_000}}
    ),
    "balance transactions of a payout listed": lambda v1, ids: v1.balance_transactions.list_async({"payout": ids["payout"]}),
    "payout read": lambda v1, ids: v1.payouts.retrieve_async(ids["payout"]),
    "payouts listed": lambda v1, _: v1.payouts.list_async(
        {"status": "pending", "arrival_date": {"gte": 1}, "created": {"gte": 1}, "limit": 3}
    ),
    "balance read": lambda v1, _: v1.balance.retrieve_async(),
    "event read": lambda v1, ids: v1.events.retrieve_async(ids["event"]),
    "events listed": lambda v1, _: v1.events.list_async(
        {"types": ["charge.succeeded", "payment_intent.succeeded"], "delivery_success": True, "created": {"gte": 1}}
    ),
}
# Refused by both, for the parameter alone.
WRONG: dict[str, V1] = {
    "unknown parameter": lambda v1, _: v1.payment_intents.create_async({"amount": 1000, "currency": "usd", "colour": "red"}),
    "missing currency": lambda v1, _: v1.payment_intents.create_async({"amount": 1000}),
    "amount that is no number": lambda v1, _: v1.payment_intents.create_async({"amount": "much", "currency": "usd"}),
    "unknown reason": lambda v1, ids: v1.refunds.create_async({"payment_intent": ids["paid"], "reason": "bored"}),
    "unknown cancellation": lambda v1, ids: v1.payment_intents.cancel_async(ids["paid"], {"cancellation_reason": "bored"}),
}


@pytest.fixture(scope="module")
async def mock() -> AsyncIterator[stripe.StripeClient]:
    """Stripe's own."""
    async with running_stripe_mock() as url:
        base: Any = {"api": url}
        client = stripe.StripeClient(
            "sk_test_123", base_addresses=base, http_client=stripe.AIOHTTPClient(), max_network_retries=0
        )
        async with closing(client):
            yield client


@pytest.fixture(scope="module")
async def ids(sandbox: Sandbox) -> Ids:
    """One of everything in the sandbox, and for each call that changes an intent one of its own."""
    async with closing(sandbox.client()) as client:
        return await _everything(sandbox, client)


async def _everything(sandbox: Sandbox, client: stripe.StripeClient) -> Ids:
    paid = await pay(client, capture_method="automatic", expand=["latest_charge"])
    disputed = await pay(client)
    refund = await client.v1.refunds.create_async({"payment_intent": paid.id, "amount": 50})
    events = await client.v1.events.list_async({"limit": 1})
    await pay(client, "pm_card_bypassPending", currency="czk", amount=9000, capture_method="automatic")
    return Ids(
        open=(await create(client)).id,
        changing=(await create(client)).id,
        confirming=(await create(client)).id,
        canceling=(await create(client)).id,
        authorised=(await pay(client, capture_method="manual")).id,
        paid=paid.id,
        charge=paid.latest_charge.id,
        transaction=paid.latest_charge.balance_transaction,
        method=paid.payment_method,
        refund=refund.id,
        disputed=disputed.id,
        dispute=(await sandbox.dispute(payment_intent=disputed.id))["id"],
        customer=(await client.v1.customers.create_async({"name": "D"})).id,
        event=events.data[0].id,
        payout=(await sandbox.payout("czk"))["id"],
    )


def differences(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """Fields of the mock's answer that ours does not have, or has with a value of another type."""
    if theirs is None or ours is None:
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        names = theirs.keys() - _NOT_COMPARED
        absent = [f"{path}.{name} is absent" for name in names - ours.keys()]
        both = (differences(theirs[name], ours[name], f"{path}.{name}") for name in names & ours.keys())
        return [*absent, *chain.from_iterable(both)]
    if isinstance(theirs, list) and isinstance(ours, list):
        return differences(theirs[0], ours[0], f"{path}[]") if theirs and ours else []
    return [] if type(theirs) is type(ours) or {type(theirs), type(ours)} <= {str, dict} else [f"{path} is {ours!r}"]


@pytest.mark.parametrize("name", CALLS)
async def test_both_take_the_call_and_answer_in_one_shape(
    client: stripe.StripeClient, mock: stripe.StripeClient, ids: Ids, name: str
):
    theirs, ours = await CALLS[name](mock.v1, ids), await CALLS[name](client.v1, ids)
    assert differences(_comparable(theirs.to_dict()), _comparable(ours.to_dict())) == []


def _comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """What an event carries depends on its type, which the mock chooses."""
    if answer.get("object") == "event":
        return {**answer, "data": None}
    if answer.get("object") in ("list", "search_result"):
        return {**answer, "data": [_comparable(item) for item in answer["data"]]}
    return answer


@pytest.mark.parametrize("name", WRONG)
async def test_both_refuse_the_call(client: stripe.StripeClient, mock: stripe.StripeClient, ids: Ids, name: str):
    for side in (mock, client):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await WRONG[name](side.v1, ids)
        assert refused.value.http_status == 400
