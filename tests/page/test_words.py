"""What the page says to a donor: what is known, and what he can do about it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.page.test_browser import DECLINED, SHORT_OF_FUNDS, donation_of, heading, pay, promise, reference
from tests.support.site import Site

pytestmark = pytest.mark.requirement("WEB-4", "INT-10")
FAILS_AT_THE_BANK = "pm_card_chargeDeclinedProcessingError"


@pytest.mark.requirement("INT-8")
async def test_each_decline_says_what_may_help_and_the_third_closes_the_payment(page: Page):
    await promise(page)
    alert, card, status = page.get_by_role("alert"), page.get_by_label("Test card"), page.locator("#gift-speaker")
    await pay(page, FAILS_AT_THE_BANK)
    await expect(alert).to_contain_text("Try again, with this or another card.")
    await expect(card).to_be_focused()
    await expect(status).to_have_text("The payment was declined")
    await expect(page).to_have_title(re.compile("^The payment was declined \u2013 "))
    await pay(page, SHORT_OF_FUNDS)
    await expect(alert).to_contain_text("Try another card. One try is left.", use_inner_text=True)
    await pay(page, DECLINED)
    await heading(page, "The payment failed").wait_for()
    await expect(page.get_by_text("Three cards were declined")).to_be_visible()
    await expect(status).to_have_text("The payment failed")
    await page.get_by_role("button", name="Try again").click()
    await heading(page, "Give").wait_for()


async def test_while_our_server_cannot_be_reached_nobody_else_is_blamed(page: Page):
    await page.route("**/v1/donations", lambda route: route.abort())
    await page.get_by_role("button", name="Give $").click()
    words = page.get_by_text("We cannot reach our server. Nothing has been charged; we keep trying.")
    await expect(words).to_be_visible()
    await expect(page.get_by_text("payment provider")).to_have_count(0)
    await page.unroute("**/v1/donations")
    await donation_of(page)


@pytest.mark.requirement("PAY-8", "IDM-1")
async def test_while_the_provider_is_left_alone_the_page_says_so_and_goes_on_with_the_same_gift(page: Page):
    keys: list[str] = []

    async def paused(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        problem = {"reason": "PROVIDER_UNAVAILABLE", "status": 503}
        await route.fulfill(status=503, headers={"Retry-After": "5"}, json=problem)

    await page.clock.install()
    await page.route("**/v1/donations", paused)
    await page.get_by_role("button", name="Give $").click()
    await expect(page.get_by_text("The payment provider does not answer. Nothing has been charged; we keep")).to_be_visible()
    await expect(page.get_by_text("our server")).to_have_count(0)
    again = page.get_by_role("button", name="Try again")
    while not await again.is_visible():
        await page.clock.fast_forward(10_000)
    await expect(heading(page, "Gifts cannot be paid right now")).to_be_visible()
    await expect(page.get_by_text("Trying again later goes on with the same gift.")).to_be_visible()
    await page.unroute("**/v1/donations")
    async with page.expect_request("**/v1/donations") as asked:
        await again.click()
    await donation_of(page)
    assert {*keys, (await asked.value).headers["idempotency-key"]} == {keys[0]}


async def test_whoever_has_given_sees_what_he_may_want_to_keep(page: Page, context: BrowserContext, site: Site):
    await context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.base)
    await expect(page.locator("#email-hint")).to_contain_text("No mail is sent")
    await promise(page)
    await pay(page)
    donation_id = await reference(page)
    shown = await page.locator("[data-view=thanks] dt").all_inner_texts()
    assert shown == ["Date", "Amount", "Campaign", "Reference"]
    await page.get_by_role("button", name="Copy the reference").click()
    await page.get_by_role("button", name="Copied").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == donation_id


def returned(state: str, **figures: str) -> dict[str, Any]:
    """What a donation of $10 says after some of it went back."""
    amounts = {"gross": "1000", "refunded": "0", "disputed": "0"} | figures
    money = {name: {"minor_units": units, "currency": "USD"} for name, units in amounts.items()}
    return {"state": f"STATE_{state}", **money}


PART = returned("PARTIALLY_REFUNDED", refunded="400")
RETURNS = [
    (PART, "Part of this gift was refunded", "$4.00 went back to you. $6.00 still counts."),
    (returned("REFUNDED", refunded="1000"), "This gift was refunded", "$10.00 went back to you."),
    (returned("DISPUTED", disputed="1000"), "This gift is disputed", "Your bank holds $10.00"),
    (returned("DISPUTE_LOST", disputed="1000"), "Your bank took this gift back", "$10.00 went back to you through"),
]


@pytest.mark.requirement("PAY-5", "PAY-6")
async def test_a_donor_who_comes_back_reads_what_became_of_his_gift(page: Page):
    donation_id = await promise(page)
    said: dict[str, Any] = {}

    async def later(route: Route) -> None:
        answer = await (await route.fetch()).json()
        await route.fulfill(json={"donation": answer["donation"] | said})

    await page.route(f"**/v1/donations/{donation_id}?*", later)
    for figures, title, words in RETURNS:
        said.update(figures)
        await page.reload()
        await heading(page, title).wait_for()
        await expect(page.get_by_text(words)).to_be_visible()


async def test_changing_the_gift_after_a_reload_finds_what_was_written(page: Page):
    await page.get_by_label("another amount").fill("$12.34")
    await page.get_by_role("textbox", name="Name").fill("Ada")
    await page.get_by_label("Message").fill("For the wells")
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_role("button", name="Give $12.34").click()
    await donation_of(page)
    await page.reload()
    await donation_of(page)
    await page.get_by_role("button", name="Change the gift").click()
    await expect(page.get_by_label("another amount")).to_have_value("12.34")
    await expect(page.get_by_role("textbox", name="Name")).to_have_value("Ada")
    await expect(page.get_by_label("Message")).to_have_value("For the wells")
    await expect(page.get_by_label("E-mail")).to_have_value("")


async def test_what_is_wrong_is_said_on_leaving_the_field_and_gone_once_it_is_mended(page: Page):
    other, wrong = page.get_by_label("another amount"), page.locator("#other-error")
    for text, words in (("0.5", "The smallest gift is $1.00"), ("50000", "The largest gift is $10,000.00")):
        await other.fill(text)
        await page.keyboard.press("Tab")
        await expect(wrong).to_contain_text(words)
    await page.get_by_role("button", name="Give").click()
    await expect(page.get_by_role("alert")).to_contain_text("See the marked fields")
    await other.fill("50")
    await expect(wrong).to_be_hidden()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_without_presets_the_amount_is_asked_for_once(page: Page, site: Site):
    async def bare(route: Route) -> None:
        answer = await (await route.fetch()).json()
        await route.fulfill(json={**answer, "presets": []})

    await page.route("**/offer", bare)
    await page.reload()
    await expect(page.get_by_role("group", name="Amount in USD")).to_be_visible()
    await expect(page.get_by_label("payment fee")).to_be_hidden()
    await page.get_by_role("textbox", name="Amount in USD").fill("7")
    await expect(page.get_by_label("payment fee")).to_be_visible()


async def test_without_scripts_nothing_seems_to_load(browser: Browser, site: Site):
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(site.address)
    await expect(page.locator("main noscript p")).to_be_visible()
    await expect(page.get_by_text("One moment")).to_be_hidden()
    await context.close()
