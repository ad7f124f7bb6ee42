"""Lists, search, expansion, and what is said about parameters that are wrong."""

from __future__ import annotations

import base64
from uuid import uuid4

import aiohttp
import pytest
import stripe

from tests.sandbox.payments import AUTOMATIC, create, pay
from tests.support.sandbox import Sandbox


async def test_pages_lead_through_everything_once_in_both_directions(client: stripe.StripeClient):
    customer = (await client.v1.customers.create_async({"email": "a@example.org"})).id
    made = [(await create(client, customer=customer)).id for _ in range(5)]
    newest_first = made[::-1]
    first = await client.v1.payment_intents.list_async({"customer": customer, "limit": 2})
    assert ([intent.id for intent in first.data], first.has_more) == (newest_first[:2], True)
    walked = [intent.id async for intent in first.auto_paging_iter()]
    assert walked == newest_first
    before = await client.v1.payment_intents.list_async({"customer": customer, "limit": 2, "ending_before": made[0]})
    assert ([intent.id for intent in before.data], before.has_more) == (newest_first[2:4], True)


async def test_charges_are_listed_by_intent_and_refunds_by_charge(client: stripe.StripeClient):
    intent = await pay(client)
    refund = await client.v1.refunds.create_async({"charge": intent.latest_charge, "amount": 100})
    (charge,) = (await client.v1.charges.list_async({"payment_intent": intent.id})).data
    assert charge.id == intent.latest_charge
    for narrowed in ({"charge": charge.id}, {"payment_intent": intent.id}):
        assert [found.id for found in (await client.v1.refunds.list_async(narrowed)).data] == [refund.id]


async def test_events_are_listed_by_type_and_time_and_from_a_checkpoint(client: stripe.StripeClient):
    checkpoint = (await client.v1.events.list_async({"limit": 1})).data
    intent = await pay(client)
    kinds = ["payment_intent.created", "payment_intent.succeeded"]
    given = {"types": kinds, "created": {"gte": intent.created}, "limit": 100}
    if checkpoint:
        given["ending_before"] = checkpoint[0].id
    page = await client.v1.events.list_async(given)
    found = [event.type for event in page.data if event.data.object.id == intent.id]
    assert found == kinds[::-1]
    later = await client.v1.events.list_async({"created": {"gt": intent.created + 10_000_000}})
    assert later.data == []


@pytest.mark.requirement("PAY-4")
async def test_search_finds_metadata_only_after_its_delay(sandbox: Sandbox, client: stripe.StripeClient):
    mark = f"it's {uuid4()}"
    intent = await create(client, metadata={"donation id": mark})
    escaped = mark.replace("'", "\\'")
    query = {"query": f"metadata['donation id']:'{escaped}' AND currency:'usd' AND amount>2499"}
    assert (await client.v1.payment_intents.search_async(query)).data == []
    await sandbox.advance(seconds=61)
    assert [found.id for found in (await client.v1.payment_intents.search_async(query)).data] == [intent.id]


@pytest.mark.requirement("PAY-4")
async def test_search_is_behind_changes_too_but_shows_what_it_finds_as_it_is(sandbox: Sandbox, client: stripe.StripeClient):
    mark = f"{uuid4()}"
    intent = await create(client, metadata={"mark": mark})
    await sandbox.advance(seconds=61)
    await client.v1.payment_intents.cancel_async(intent.id)
    by_state = f"metadata['mark']:'{mark}' AND status:'%s'"
    stale = await client.v1.payment_intents.search_async({"query": by_state % "requires_payment_method"})
    assert [found.status for found in stale.data] == ["canceled"]
    assert (await client.v1.payment_intents.search_async({"query": by_state % "canceled"})).data == []
    await sandbox.advance(seconds=61)
    assert len((await client.v1.payment_intents.search_async({"query": by_state % "canceled"})).data) == 1


async def test_search_pages_and_refuses_what_is_no_query(sandbox: Sandbox, client: stripe.StripeClient):
    mark = f"{uuid4()}"
    made = [(await create(client, metadata={"mark": mark})).id for _ in range(3)]
    await sandbox.advance(seconds=61)
    query = {"query": f'metadata["mark"]:"{mark}" -status:"canceled"', "limit": 2}
    first = await client.v1.payment_intents.search_async(query)
    second = await client.v1.payment_intents.search_async({**query, "page": first.next_page})
    assert [intent.id for page in (first, second) for intent in page.data] == made[::-1]
    assert (first.has_more, second.has_more, second.next_page) == (True, False, None)
    for wrong in ("", "colour:'red'", "status:'a' AND status:'b' OR status:'c'", "metadata:'x'"):
        with pytest.raises(stripe.InvalidRequestError):
            await client.v1.payment_intents.search_async({"query": wrong})


async def test_expansion_reaches_into_what_belongs_together(client: stripe.StripeClient):
    customer = await client.v1.customers.create_async({"name": "A donor"})
    expand = ["latest_charge.payment_intent", "customer", "payment_method"]
    intent = await pay(client, customer=customer.id, expand=expand)
    assert intent.customer.name == "A donor"
    assert intent.payment_method.card.last4 == "4242"
    assert intent.latest_charge.payment_intent.id == intent.id
    listed = await client.v1.payment_intents.list_async({"customer": customer.id, "expand": ["data.latest_charge"]})
    assert listed.data[0].latest_charge.id == intent.latest_charge.id
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await client.v1.payment_intents.retrieve_async(intent.id, {"expand": ["amount"]})


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"colour": "red"}, "parameter_unknown", "colour"),
        (
            {"automatic_payment_methods": {"colour": "red", "enabled": True}},
            "parameter_unknown",
            "automatic_payment_methods[colour]",
        ),
        ({"amount": "1.5"}, "parameter_invalid_integer", "amount"),
        ({"description": ""}, "parameter_invalid_empty", "description"),
        ({"currency": "xyz"}, None, "currency"),
        ({"customer": "cus_nobody"}, "resource_missing", "customer"),
        ({"payment_method": "pm_nothing"}, "resource_missing", "payment_method"),
        ({"metadata": {"k" * 41: "v"}}, None, "metadata"),
    ],
)
async def test_wrong_parameters_are_named(client: stripe.StripeClient, given: dict, code: str, param: str):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await create(client, **given)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert refused.value.request_id.startswith("req_")


async def test_what_is_required_is_asked_for(client: stripe.StripeClient):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.create_async({"amount": 100})
    assert (refused.value.code, refused.value.param) == ("parameter_missing", "currency")


async def test_methods_that_may_redirect_need_somewhere_to_return_to(client: stripe.StripeClient):
    with pytest.raises(stripe.InvalidRequestError, match="return_url"):
        await pay(client, automatic_payment_methods={"enabled": True})
    paid = await pay(client, automatic_payment_methods={"enabled": True}, return_url="https://shop.example/done")
    assert paid.status == "succeeded"
    assert (await pay(client, automatic_payment_methods=AUTOMATIC)).status == "succeeded"


async def test_an_intent_changes_until_it_is_paid_and_its_metadata_for_ever(client: stripe.StripeClient):
    intent = await create(client, metadata={"a": "1"})
    changed = await client.v1.payment_intents.update_async(intent.id, {"amount": 3000, "metadata": {"b": "2"}})
    assert (changed.amount, changed.metadata.to_dict()) == (3000, {"a": "1", "b": "2"})
    await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.update_async(intent.id, {"amount": 1})
    assert refused.value.code == "payment_intent_unexpected_state"
    emptied = await client.v1.payment_intents.update_async(intent.id, {"metadata": ""})
    assert emptied.metadata.to_dict() == {}


async def test_money_is_pending_on_the_balance_and_available_two_days_later(sandbox: Sandbox, client: stripe.StripeClient):
    await pay(client, amount=4000, currency="sgd", capture_method="automatic")

    async def of(side: str) -> int:
        return sum(part.amount for part in getattr(await client.v1.balance.retrieve_async(), side) if part.currency == "sgd")

    assert (await of("pending"), await of("available")) == (4000 - 146, 0)
    await sandbox.advance(seconds=2 * 86_400)
    assert (await of("pending"), await of("available")) == (0, 4000 - 146)


@pytest.mark.parametrize(
    ("key", "status", "code"), [("", 401, None), ("sk_test_wrong", 401, None), ("publishable", 403, "secret_key_required")]
)
async def test_without_the_secret_key_nothing_is_shown(sandbox: Sandbox, key: str, status: int, code: str):
    value = sandbox.publishable if key == "publishable" else key
    headers = {"Authorization": f"Bearer {value}"} if value else {}
    async with aiohttp.ClientSession() as session, session.get(f"{sandbox.url}/v1/balance", headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"].get("code")) == (status, code)


async def test_basic_authentication_and_versions_work_as_at_stripe(sandbox: Sandbox):
    basic = base64.b64encode(f"{sandbox.secret}:".encode()).decode()
    async with aiohttp.ClientSession(headers={"Authorization": f"Basic {basic}"}) as session:
        async with session.get(f"{sandbox.url}/v1/balance") as answer:
            assert (answer.status, answer.headers["Stripe-Version"]) == (200, stripe.api_version)
        async with session.get(f"{sandbox.url}/v1/balance", headers={"Stripe-Version": "2019-01-01"}) as answer:
            assert answer.status == 400
        async with session.get(f"{sandbox.url}/v1/coffee") as answer:
            assert answer.status == 404
