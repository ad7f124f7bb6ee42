"""What a donor's browser does: confirms with the publishable key, and passes 3-D Secure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import stripe

from tests.sandbox.payments import create
from tests.support.sandbox import Sandbox

RETURN = "https://shop.example/thanks?order=7"
CARD = {
    "payment_method_data[type]": "card",
    "payment_method_data[card][exp_month]": "12",
    "payment_method_data[card][exp_year]": "40",
    "payment_method_data[card][cvc]": "123",
    "payment_method_data[guid]": "NA",
    "payment_method_data[payment_user_agent]": "stripe.js/v3",
}
ASKING = "4000002760003184"


@pytest.fixture
async def browser(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox.url, headers={"Origin": "https://shop.example"}) as session:
        yield session


async def confirm(
    browser: aiohttp.ClientSession, sandbox: Sandbox, intent: stripe.PaymentIntent, *, number: str, **more: str
) -> tuple[int, dict[str, Any]]:
    """As Stripe.js does it."""
    form = {**CARD, "payment_method_data[card][number]": number, "return_url": RETURN, **more}
    form |= {"key": sandbox.publishable, "client_secret": intent.client_secret}
    async with browser.post(f"/v1/payment_intents/{intent.id}/confirm", data=form) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        return answer.status, await answer.json()


async def test_a_browser_pays_with_a_card_and_is_not_shown_the_merchants_metadata(
    sandbox: Sandbox, client: stripe.StripeClient, browser: aiohttp.ClientSession
):
    intent = await create(client, metadata={"donor": "secret"}, receipt_email="d@example.org")
    status, shown = await confirm(browser, sandbox, intent, number="4242424242424242")
    assert (status, shown["status"], shown["client_secret"]) == (200, "succeeded", intent.client_secret)
    assert not {"metadata", "latest_charge", "customer", "amount_received"} & shown.keys()
    query = {"key": sandbox.publishable, "client_secret": intent.client_secret}
    async with browser.get(f"/v1/payment_intents/{intent.id}", params=query) as answer:
        assert await answer.json() == shown


async def test_a_declined_card_is_told_to_the_browser(
    sandbox: Sandbox, client: stripe.StripeClient, browser: aiohttp.ClientSession
):
    status, shown = await confirm(browser, sandbox, await create(client), number="4000000000009995")
    assert (status, shown["error"]["decline_code"]) == (402, "insufficient_funds")


@pytest.mark.parametrize("secret", [None, "pi_x_secret_y"])
async def test_a_publishable_key_opens_nothing_without_the_intents_secret(
    sandbox: Sandbox, client: stripe.StripeClient, browser: aiohttp.ClientSession, secret: str | None
):
    intent = await create(client)
    query = {"key": sandbox.publishable} | ({"client_secret": secret} if secret else {})
    async with browser.get(f"/v1/payment_intents/{intent.id}", params=query) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["param"]) == (400, "client_secret")
    assert "client_secret" not in str({**error, "param": "", "message": ""})


async def test_a_browser_may_ask_from_anywhere(browser: aiohttp.ClientSession):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with browser.options("/v1/payment_intents/pi_1/confirm", headers=asked) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [("complete", ("succeeded", "succeeded")), ("fail", ("failed", "requires_payment_method"))],
)
async def test_the_banks_page_leads_back_with_its_verdict(
    sandbox: Sandbox, client: stripe.StripeClient, browser: aiohttp.ClientSession, *, outcome: str, verdict: tuple[str, str]
):
    redirect_status, status = verdict
    intent = await create(client)
    _, asked = await confirm(browser, sandbox, intent, number=ASKING)
    page = asked["next_action"]["redirect_to_url"]["url"]
    assert (asked["status"], asked["next_action"]["redirect_to_url"]["return_url"]) == ("requires_action", RETURN)
    async with browser.get(urlsplit(page).path) as shown:
        text = await shown.text()
    assert "<strong>$25.00</strong>" in text
    assert "back to the shop" in text
    assert all(f">{words} authentication</button>" in text for words in ("Complete", "Fail"))
    assert "<script" not in text
    for _ in range(2):  # also for whoever clicks twice
        async with browser.post(urlsplit(page).path, data={"outcome": outcome}, allow_redirects=False) as answer:
            assert answer.status == 303
            assert parse_qs(urlsplit(answer.headers["Location"]).query) == {
                "order": ["7"],
                "payment_intent": [intent.id],
                "payment_intent_client_secret": [intent.client_secret],
                "redirect_status": [redirect_status],
            }
    assert (await client.v1.payment_intents.retrieve_async(intent.id)).status == status
    assert (await sandbox.book())[intent.id]["successful_charges"] == (1 if outcome == "complete" else 0)


async def test_a_failed_authentication_is_told_and_another_card_may_follow(
    sandbox: Sandbox, client: stripe.StripeClient, browser: aiohttp.ClientSession
):
    intent = await create(client)
    _, asked = await confirm(browser, sandbox, intent, number=ASKING, use_stripe_sdk="true")
    page = urlsplit(asked["next_action"]["use_stripe_sdk"]["stripe_js"]).path
    async with browser.post(page, data={"outcome": "fail"}, allow_redirects=False) as answer:
        assert answer.status == 303
    failed = await client.v1.payment_intents.retrieve_async(intent.id)
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"
    status, shown = await confirm(browser, sandbox, intent, number="4242424242424242")
    assert (status, shown["status"]) == (200, "succeeded")


async def test_nobody_answers_for_the_donor_without_the_pages_secret(
    sandbox: Sandbox, client: stripe.StripeClient, browser: aiohttp.ClientSession
):
    intent = await create(client)
    await confirm(browser, sandbox, intent, number=ASKING)
    async with browser.post(f"/3ds/{intent.id}/guessed", data={"outcome": "complete"}) as answer:
        assert answer.status == 404
    assert (await client.v1.payment_intents.retrieve_async(intent.id)).status == "requires_action"


async def test_a_card_number_is_in_no_list_of_calls(
    sandbox: Sandbox, client: stripe.StripeClient, browser: aiohttp.ClientSession
):
    intent = await create(client)
    await confirm(browser, sandbox, intent, number="4242424242424242")
    calls = await sandbox.requests(path=f"/v1/payment_intents/{intent.id}/confirm")
    assert [call["status"] for call in calls] == [200]
    assert not any(
        secret in str(calls) for secret in ("4242424242424242", "'123'", intent.client_secret, sandbox.publishable)
    )
