"""The page for everyone: by keyboard alone, on a small screen, read out, and with sums that are right."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from mesh.money import EXPONENTS, MINOR_UNITS_MAX, format_minor_units, granularity
from tests.support.site import Site, cover_of

pytestmark = pytest.mark.requirement("WEB-4")

# How much two colours differ (WCAG 2.2), for every text that is visible.
_CONTRAST = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const wrong = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest(".unseen, .skip, noscript")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgba(style.color)), light(behind(element))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) wrong.push(`${walker.currentNode.textContent.trim()}: ${ratio.toFixed(2)}`);
  }
  return wrong;
}
"""
_NAMELESS = """
() => [...document.querySelectorAll("input, select, textarea, button, a[href]")]
  .filter((control) => control.checkVisibility())
  .filter((control) => !(control.labels?.length || control.textContent.trim() || control.getAttribute("aria-label")))
  .map((control) => control.outerHTML)
"""
_FOCUS = """
() => {
  const at = document.activeElement;
  const shown = at.type === "radio" ? at.nextElementSibling : at;
  return { id: at.id, tag: at.tagName, text: at.textContent, outline: getComputedStyle(shown).outlineStyle };
}
"""


async def tab_to(page: Page, wanted: str) -> None:
    """Presses Tab until the control whose id or text matches has the focus; each stop on the way is visible."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        at = await page.evaluate(_FOCUS)
        if at["tag"] != "BODY":
            assert at["outline"] != "none", at
        if re.match(wanted, at["id"] or at["text"]):
            return
    raise AssertionError(f"Tab never reaches {wanted}")


@pytest.mark.requirement("INT-1")
async def test_a_donor_gives_with_the_keyboard_alone(page: Page):
    await tab_to(page, "amount-")
    await page.keyboard.press("ArrowRight")
    await tab_to(page, "cover$")
    await page.keyboard.press("Space")
    await tab_to(page, "name$")
    await page.keyboard.type("Ada")
    await tab_to(page, r"Give \$10\.61")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Pay")).to_be_focused()
    await tab_to(page, "card$")
    await page.keyboard.type("Visa 9995")
    await tab_to(page, "Pay ")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("insufficient funds")
    await expect(page.get_by_label("Test card")).to_be_focused()
    await page.keyboard.type("Visa 4242")
    await tab_to(page, "Pay ")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Thank you")).to_be_focused()


async def test_the_first_stop_skips_to_the_content(page: Page):
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()


async def assert_fits(page: Page) -> None:
    """Nothing reaches over the right edge, and every control can be scrolled to and is large enough for a finger."""
    assert await page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    for control in await page.locator("button:visible, select:visible, main a:visible, .preset label:visible").all():
        await control.scroll_into_view_if_needed()
        box = await control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.viewport_size["width"]
        assert box["height"] >= 24


@pytest.mark.parametrize("width", [320, 360])
async def test_a_small_screen_shows_everything_without_scrolling_sideways(page: Page, width: int):
    await page.set_viewport_size({"width": width, "height": 640})
    await assert_fits(page)
    await page.get_by_label("another amount").fill("9999.99")
    await page.get_by_role("textbox", name="Name").fill("A" * 200)
    await assert_fits(page)
    await page.get_by_role("button", name="Give $").click()
    await page.get_by_role("heading", name="Pay").wait_for()
    await assert_fits(page)
    await page.get_by_role("button", name="Pay $").click()
    await page.get_by_role("heading", name="Thank you").wait_for()
    await assert_fits(page)


async def test_everything_has_a_name_and_a_role(page: Page):
    assert await page.locator("html").get_attribute("lang") == "en"
    assert await page.get_by_role("heading", level=1).count() == 1
    assert await page.evaluate(_NAMELESS) == []
    await expect(page.get_by_role("group", name="Amount")).to_be_visible()
    await expect(page.get_by_role("group", name="About you")).to_be_visible()
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-label", re.compile(r"of the goal of \$1,000"))
    await expect(page.get_by_label("E-mail")).to_have_attribute("autocomplete", "email")
    await expect(page.get_by_role("status")).to_have_count(2)
    described = await page.get_by_label("another amount").get_attribute("aria-describedby")
    assert described == "other-hint other-error"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read(page: Page, scheme: str):
    await page.emulate_media(color_scheme=scheme)
    assert await page.evaluate(_CONTRAST) == []
    await page.get_by_role("button", name="Give $").click()
    await page.get_by_role("heading", name="Pay").wait_for()
    await page.get_by_label("Test card").select_option("pm_card_chargeDeclined")
    await page.get_by_role("button", name="Pay $").click()
    await page.get_by_role("alert").filter(has_text="declined").wait_for()
    assert await page.evaluate(_CONTRAST) == []


async def test_whoever_wants_no_motion_sees_none(page: Page):
    moving = "document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 1).length"
    assert await page.evaluate(moving) == 0


@pytest.fixture
async def sums(context: BrowserContext, site: Site) -> Page:
    """A page that may run the page's own arithmetic."""
    page = await context.new_page()
    await page.goto(f"{site.base}/docs")
    return page


def samples(code: str) -> list[int]:
    step = granularity(code)
    return [step, 7 * step, 99 * step, 100 * step, 101 * step, 12_340 * step, MINOR_UNITS_MAX // step * step]


@pytest.mark.requirement("PAY-10", "INT-6")
@pytest.mark.parametrize("code", ["USD", "JPY", "KWD", "ISK"])
@pytest.mark.parametrize(("basis_points", "fixed"), [(290, 30), (0, 0), (150, 0), (0, 25), (9999, 1)])
async def test_the_cover_is_what_the_contract_says(sums: Page, code: str, basis_points: int, fixed: int):
    gifts = [gift for gift in samples(code) if basis_points < 1000 or gift < 1000]
    reckoned = await sums.evaluate(
        """async ({ gifts, rule, step }) => {
          const { feeCover } = await import("/page/money.js");
          return gifts.map((gift) => String(feeCover(BigInt(gift), rule, { step: BigInt(step) })));
        }""",
        {
            "gifts": [str(gift) for gift in gifts],
            "rule": {"basis_points": basis_points, "fixed_minor_units": str(fixed)},
            "step": granularity(code),
        },
    )
    expected = [cover_of(gift, basis_points=basis_points, fixed=fixed, currency=code) for gift in gifts]
    assert [int(cover) for cover in reckoned] == expected


@pytest.mark.requirement("PAY-10")
async def test_every_currencys_amounts_are_written_and_read_exactly(sums: Page):
    pairs = [(code, units) for code in EXPONENTS for units in [*samples(code), 10**17 + 1]]
    written = await sums.evaluate(
        """async (pairs) => {
          const { currencyOf, decimal, parse } = await import("/page/money.js");
          const configuration = await (await fetch("/page.json")).json();
          return pairs.map(([code, units]) => {
            const currency = currencyOf(configuration, code);
            const text = decimal(BigInt(units), currency);
            return [text, units.length > 15 ? units : String(parse(text, currency))];
          });
        }""",
        [[code, str(units)] for code, units in pairs],
    )
    assert written == [[format_minor_units(units, code), str(units)] for code, units in pairs]


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "$",
        "1e3",
        "+1",
        "-1",
        "0x10",
        "١٢",
        "1 00",
        "1.2.3",
        ".5",
        "NaN",
        "9" * 16,
        "1.005",
        "0,500",
        "1,00,000",
        "1,000,00",
        "1.000,000",
        "€7",
        "$7$",
        "1,000 200",
    ],
)
async def test_what_is_no_amount_is_not_taken_for_one(sums: Page, text: str):
    read = """async (text) => (await import("/page/money.js")).parse(text, { code: "USD", exponent: 2 })"""
    assert await sums.evaluate(read, text) is None


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("$7", 700),
        ("7 $", 700),
        ("usd 12.5", 1250),
        ("1,000", 100_000),
        ("1.000,00", 100_000),
        ("1,234.56", 123_456),
        ("1.000.000", 100_000_000),
        ("1 000,5", 100_050),
        ("1\u2019000.50", 100_050),
        ("12.", 1200),
    ],
)
async def test_an_amount_may_be_written_as_people_write_amounts(sums: Page, text: str, cents: int):
    read = """async (text) => String((await import("/page/money.js")).parse(text, { code: "USD", exponent: 2 }))"""
    assert await sums.evaluate(read, text) == str(cents)


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize("locale", ["en-US", "de-DE", "fr-FR", "de-CH", "sv-SE"])
async def test_what_the_page_prints_it_also_takes_and_never_for_another_amount(browser: Browser, site: Site, locale: str):
    pairs = [(code, units) for code in EXPONENTS for units in samples(code)]
    context = await browser.new_context(locale=locale)
    page = await context.new_page()
    await page.goto(f"{site.base}/docs")
    read = await page.evaluate(
        """async (pairs) => {
          const { currencyOf, format, parse, written } = await import("/page/money.js");
          const configuration = await (await fetch("/page.json")).json();
          return pairs.map(([code, units]) => {
            const currency = currencyOf(configuration, code);
            const texts = [format(BigInt(units), currency), written(BigInt(units), currency)];
            const short = format(BigInt(units), currency, { short: true });
            return [...texts, short].map((text) => String(parse(text, currency)));
          });
        }""",
        [[code, str(units)] for code, units in pairs],
    )
    await context.close()
    for (code, units), (long, typed, short) in zip(pairs, read, strict=True):
        if units < 10**15:
            assert (code, long, typed) == (code, str(units), str(units))
        # With three decimals "1,000" could be one or a thousand: it is not taken at all.
        assert short == str(units) or (short == "null" and (EXPONENTS[code] == 3 or units >= 10**15)), code
