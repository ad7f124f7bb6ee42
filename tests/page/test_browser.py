"""What a donor can do, in a real browser."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import BrowserContext, Dialog, Page, Route, expect

from tests.support.site import Site

pytestmark = pytest.mark.requirement("WEB-4", "INT-10")
DECLINED, SHORT_OF_FUNDS = "pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds"
VISA, ASKS_THE_BANK, ASKS_TOO = "pm_card_visa", "pm_card_authenticationRequired", "pm_card_threeDSecure2Required"
KEPT = "JSON.stringify({ ...sessionStorage, ...localStorage }) + location.href + document.cookie"
THANKS = re.compile("Thank you")


def heading(page: Page, name: str | re.Pattern[str]):
    return page.get_by_role("heading", name=name)


async def promise(page: Page, amount: str = "$10") -> str:
    """Chooses a preset and gives; the donation's id."""
    await page.get_by_role("radio", name=amount, exact=True).check()
    await page.get_by_role("button", name=f"Give {amount}").click()
    return await donation_of(page)


async def donation_of(page: Page) -> str:
    """The donation that waits to be paid on the page."""
    await heading(page, "Pay").wait_for()
    return await page.locator("[data-donation]").get_attribute("data-donation") or ""


async def pay(page: Page, card: str = VISA) -> None:
    await page.get_by_label("Test card").select_option(card)
    await page.get_by_role("button", name=re.compile("^Pay ")).click()


async def reference(page: Page) -> str:
    """The donation that the page gives thanks for."""
    await heading(page, THANKS).wait_for()
    return await page.locator("dt:text-is('Reference') + dd").inner_text()


async def raised(page: Page) -> int:
    """What the page shows as raised in dollars, in cents."""
    text = await page.locator("[data-currency=USD] strong").inner_text()
    return int(re.sub("[^0-9]", "", text))


async def ids_of(site: Site) -> set[str]:
    return {donation["donation_id"] for donation in await site.donations()}


@pytest.mark.requirement("INT-1", "INT-2", "TOT-8")
async def test_a_donor_gives_a_preset_and_another_window_sees_the_total_move(
    page: Page, context: BrowserContext, site: Site
):
    other = await context.new_page()
    await other.goto(site.address)
    await expect(other.locator(".live")).to_have_class("live on")
    before = await raised(other)
    donation_id = await promise(page, "$10")
    await pay(page)
    assert await reference(page) == donation_id
    await expect(page.get_by_text("Your gift of $10.00")).to_be_visible()
    await expect(page.get_by_text("e-mail")).to_have_count(0)
    shown = "document.querySelector('[data-currency=USD] strong').textContent.replace(/[^0-9]/g, '')"
    await other.wait_for_function(f"(least) => Number({shown}) >= least", arg=before + 1000)


@pytest.mark.requirement("INT-8")
async def test_a_declined_donor_pays_with_another_card_on_the_same_donation(page: Page):
    donation_id = await promise(page)
    await pay(page, SHORT_OF_FUNDS)
    await expect(page.get_by_role("alert")).to_contain_text("insufficient funds")
    await pay(page, DECLINED)
    await expect(page.get_by_role("alert")).to_contain_text("declined")
    assert await donation_of(page) == donation_id
    await pay(page, VISA)
    assert await reference(page) == donation_id


@pytest.mark.parametrize("card", [ASKS_THE_BANK, ASKS_TOO])
async def test_a_donor_passes_the_banks_check(page: Page, site: Site, card: str):
    donation_id = await promise(page)
    await pay(page, card)
    await page.get_by_role("button", name="Complete authentication").click()
    assert await reference(page) == donation_id
    assert page.url == site.address


async def test_a_donor_who_fails_the_banks_check_may_pay_again(page: Page, site: Site):
    donation_id = await promise(page)
    await pay(page, ASKS_THE_BANK)
    await page.get_by_role("button", name="Fail authentication").click()
    await expect(page.get_by_role("alert")).to_contain_text("could not confirm that it is you")
    assert page.url == site.address
    await pay(page, VISA)
    assert await reference(page) == donation_id


async def test_a_donor_who_leaves_the_banks_page_may_pay_again(page: Page):
    donation_id = await promise(page)
    await pay(page, ASKS_THE_BANK)
    await page.get_by_role("button", name="Complete authentication").wait_for()
    await page.go_back()
    await expect(page.get_by_role("alert")).to_contain_text("check was not finished")
    await pay(page, VISA)
    assert await reference(page) == donation_id


@pytest.mark.requirement("IDM-1")
async def test_a_double_click_makes_one_donation(page: Page, site: Site):
    before = await ids_of(site)
    await page.get_by_role("button", name="Give $").dblclick()
    donation_id = await donation_of(page)
    assert await ids_of(site) - before == {donation_id}
    await page.get_by_role("button", name=re.compile("^Pay ")).dblclick()
    assert await reference(page) == donation_id


@pytest.mark.requirement("IDM-1")
async def test_a_promise_whose_answer_gets_lost_is_made_once(page: Page, site: Site):
    before, lost = await ids_of(site), []

    async def lose_two(route: Route) -> None:
        answer = await route.fetch()
        lost.append(route.request.headers["idempotency-key"])
        await (route.abort() if len(lost) <= 2 else route.fulfill(response=answer))

    await page.route("**/v1/donations", lose_two)
    donation_id = await promise(page)
    assert len(lost) == 3
    assert len(set(lost)) == 1
    assert await ids_of(site) - before == {donation_id}


@pytest.mark.requirement("IDM-1")
async def test_a_reload_while_the_promise_is_under_way_goes_on_with_the_same_one(page: Page, site: Site):
    before, arrived = await ids_of(site), asyncio.Event()

    async def hold(route: Route) -> None:
        await route.fetch()
        arrived.set()  # and no answer ever comes

    await page.route("**/v1/donations", hold)
    await page.get_by_role("button", name="Give $").click()
    await arrived.wait()
    await page.unroute("**/v1/donations")
    await page.reload()
    assert await ids_of(site) - before == {await donation_of(page)}


async def test_a_payment_that_is_not_ready_yet_is_waited_for(page: Page):
    asked = []

    async def not_ready(route: Route) -> None:
        answer = await (await route.fetch()).json()
        asked.append(answer["donation"]["donation_id"])
        early = {**answer, "client_secret": "", "donation": {**answer["donation"], "state": "STATE_PENDING"}}
        await route.fulfill(json=early if len(asked) == 1 else answer)

    await page.route("**/v1/donations", not_ready)
    assert {await promise(page)} == set(asked)
    assert len(asked) == 2


@pytest.mark.requirement("INT-8")
async def test_a_reload_at_any_point_goes_on_with_the_same_donation(page: Page):
    donation_id = await promise(page)
    await page.reload()
    assert await donation_of(page) == donation_id
    await pay(page, DECLINED)
    await page.get_by_role("alert").filter(has_text="declined").wait_for()
    await page.reload()
    assert await donation_of(page) == donation_id
    await expect(page.get_by_role("alert")).to_contain_text("declined")
    await pay(page)
    assert await reference(page) == donation_id
    await page.reload()
    assert await reference(page) == donation_id
    await page.get_by_role("button", name="Give again").click()
    assert await promise(page) != donation_id


async def test_a_confirmation_whose_answer_gets_lost_is_not_a_failure(page: Page):
    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    donation_id = await promise(page)
    await page.route("**/confirm", lose)
    await pay(page)
    assert await reference(page) == donation_id


async def test_a_confirmation_that_never_arrived_may_be_repeated(page: Page):
    donation_id = await promise(page)
    await page.route("**/confirm", lambda route: route.abort())
    await pay(page)
    await expect(page.get_by_text("We do not know yet whether your payment arrived.")).to_be_visible()
    await expect(page.get_by_text("Your bank is working on it")).to_have_count(0)
    await expect(page.get_by_role("alert")).to_contain_text("never taken twice")
    await page.unroute("**/confirm")
    await pay(page)
    assert await reference(page) == donation_id


@pytest.mark.requirement("INT-8")
async def test_without_live_streams_the_page_asks_instead(page: Page, site: Site):
    await page.route(re.compile(":watch"), lambda route: route.abort())
    donation_id = await promise(page)
    await pay(page)
    assert await reference(page) == donation_id


async def test_a_refusal_is_told_in_plain_words_beside_its_field(page: Page):
    await page.get_by_role("textbox", name="Name").fill("Ada \u202e ecalevoL")
    await page.get_by_role("button", name="Give $").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("See the marked fields")
    await expect(alert).to_contain_text("Request ")
    await expect(page.get_by_role("textbox", name="Name")).to_have_attribute("aria-invalid", "true")
    await page.get_by_role("textbox", name="Name").fill("Ada")
    await promise(page)


@pytest.mark.requirement("INT-1")
@pytest.mark.parametrize(
    ("currency", "text", "words"),
    [
        ("USD", "0.99", "The smallest gift is $1.00"),
        ("USD", "10000.01", "The largest gift is $10,000.00"),
        ("USD", "1.005", "Write the amount as a number"),
        ("USD", "1e3", "Write the amount as a number"),
        ("USD", "-5", "Write the amount as a number"),
        ("JPY", "100.5", "Write the amount as a whole number"),
    ],
)
async def test_an_amount_that_cannot_be_given_is_told_before_anything_is_sent(
    page: Page, site: Site, currency: str, text: str, words: str
):
    before = await ids_of(site)
    await page.get_by_label("Currency").select_option(currency)
    other = page.get_by_label("another amount")
    await other.fill(text)
    await page.get_by_role("button", name="Give").click()
    await expect(page.locator("#other-error")).to_contain_text(words)
    await expect(other).to_be_focused()
    assert await ids_of(site) == before


@pytest.mark.requirement("INT-1", "INT-6")
async def test_an_amount_of_ones_own_with_the_fee_covered_is_promised_to_the_cent(page: Page, site: Site):
    await page.get_by_label("another amount").fill("19,99")
    await page.get_by_label("payment fee").check()
    await expect(page.get_by_role("button", name="Give $20.90")).to_be_visible()
    await page.get_by_role("button", name="Give $20.90").click()
    donation_id = await donation_of(page)
    [donation] = [found for found in await site.donations() if found["donation_id"] == donation_id]
    assert donation["amount"] == {"minor_units": "2090", "currency": "USD"}
    assert donation["fee_cover"]["minor_units"] == "91"


async def test_what_the_donor_wrote_is_not_kept_longer_than_needed(page: Page):
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_label("Message").fill("For\nmy grandmother")
    await promise(page)
    kept = await page.evaluate(KEPT)
    assert "ada@example.org" not in kept
    assert "giving_client" not in kept
    assert "_secret_" not in kept
    assert "grandmother" in kept  # he may still change the gift
    await pay(page)
    await reference(page)
    assert "grandmother" not in await page.evaluate(KEPT)


async def test_a_campaigns_words_are_text_and_never_markup(page: Page, site: Site):
    dialogs: list[Dialog] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))  # noqa: PLW0108 - its emitter needs a function of ours
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"

    async def poison(route: Route) -> None:
        answer = await (await route.fetch()).json()
        answer["campaign"] |= {"display_name": evil, "description": evil}
        await route.fulfill(json=answer)

    await page.route(f"**/v1/campaigns/{site.campaign_id}", poison)
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text(evil)
    assert await page.locator("main img, main script").count() == 0
    assert dialogs == []


async def test_the_start_page_opens_a_campaign(context: BrowserContext, site: Site):
    page = await context.new_page()
    await page.goto(site.base)
    await page.get_by_label("Campaign id").fill("nonsense")
    await page.keyboard.press("Enter")
    await expect(page.locator("#campaign-error")).to_be_visible()
    await page.get_by_label("Campaign id").fill(f" {site.campaign_id.upper()} ")
    await page.keyboard.press("Enter")
    await heading(page, "Give").wait_for()
    assert page.url == site.address
    await page.goto(f"{site.base}/?campaign={site.campaign_id}")
    await heading(page, "Give").wait_for()


async def test_an_address_that_is_no_campaigns_says_so(context: BrowserContext, site: Site):
    page = await context.new_page()
    await page.goto(f"{site.base}/c/nonsense")
    await expect(page.get_by_role("heading", level=1)).to_have_text("This campaign does not exist")
    await page.get_by_role("link", name="To the start page").click()
    await page.get_by_label("Campaign id").wait_for()


async def test_a_browser_without_cookies_is_told_so(page: Page, context: BrowserContext):
    await context.clear_cookies()
    await page.get_by_role("button", name="Give $").click()
    await expect(page.get_by_role("alert")).to_contain_text("does not keep cookies")


async def test_the_page_says_who_receives(page: Page):
    await expect(page.get_by_text("For Food for all")).to_be_visible()
