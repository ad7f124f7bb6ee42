"""What the documents list is what there is: failure codes with their words on the page, the sandbox's switches."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from payment_svc.provider import EVENT_TYPES
from sandbox.stripe import cards, control, faults

ROOT = Path(__file__).parents[1]
FAILURES = (ROOT / "docs/failures.md").read_text()
SANDBOX = (ROOT / "docs/sandbox.md").read_text()
WEBHOOKS = (ROOT / "docs/webhooks.md").read_text()
TEXTS = (ROOT / "gateway/web/page/texts.js").read_text()
WORDS = dict(re.findall(r'^  (\w+): "(.*)",$', TEXTS.split("const DECLINES = {")[1].split("};")[0], flags=re.MULTILINE))
SAME_CARD = re.findall(r'"(\w+)"', TEXTS.split("const SAME_CARD = new Set([")[1].split("]);")[0])
NEUTRAL = re.search(r'^const DECLINED = "(.*)";$', TEXTS, flags=re.MULTILINE)[1]


def rows(document: str, section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = re.split(r"^## ", document.split(f"## {section}\n")[1], flags=re.MULTILINE)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")]


def declines() -> list[tuple[str, str, str]]:
    """Each code of a decline, whether the same card may be tried again, and what the page says."""
    return [
        (code, again, says) for codes, _, again, says in rows(FAILURES, "Declines") for code in re.findall(r"`(\w+)`", codes)
    ]


@pytest.mark.requirement("PAY-11", "WEB-4")
@pytest.mark.parametrize(("code", "again", "says"), declines())
def test_the_page_says_of_a_decline_what_the_document_says(code: str, again: str, says: str) -> None:
    assert WORDS.get(code, NEUTRAL) == says
    assert again == ("same" if code in SAME_CARD else "other")


@pytest.mark.requirement("PAY-11")
def test_every_code_that_the_page_or_the_sandbox_knows_is_in_the_document() -> None:
    listed = [code for code, _, _ in declines()]
    assert len(listed) == len(set(listed))
    of_cards = {name for decline in cards.DECLINES.values() for name in (decline.code, decline.decline_code) if name}
    assert set(WORDS) | set(SAME_CARD) | of_cards <= set(listed)


@pytest.mark.requirement("PAY-11")
def test_a_refusal_has_no_words_of_its_own_on_the_page() -> None:
    refusals = [code.strip("`") for code, _ in rows(FAILURES, "Refusals")]
    assert "provider_error" in refusals
    assert not set(refusals) & set(WORDS)


def test_every_switch_of_the_sandbox_is_in_its_document() -> None:
    listed = set(re.findall(r"`(GET|POST|DELETE) (/sandbox/[\w/{}.]+)`", SANDBOX))
    routes = control.routes(engine=None, secret="")
    assert {(method, route.path) for route in routes for method in route.methods - {"HEAD"}} == listed


@pytest.mark.parametrize("fault", [*faults.API_FAULTS, *faults.WEBHOOK_FAULTS])
def test_every_fault_of_the_sandbox_is_in_its_document(fault: str) -> None:
    assert re.search(rf"^\| (`\w+`, )*`{fault}`[, |]", SANDBOX, flags=re.MULTILINE)


@pytest.mark.requirement("HKI-4")
def test_the_types_of_events_that_stripe_is_asked_for_are_in_the_document() -> None:
    listed = [
        name for types, _ in rows(WEBHOOKS, "What Stripe is asked to send") for name in re.findall(r"`([\w.]+)`", types)
    ]
    assert sorted(listed) == sorted(EVENT_TYPES)


@pytest.mark.requirement("HKI-4")
def test_whatever_the_sandbox_announces_about_money_is_asked_for() -> None:
    """`charge.refund.updated` is an older name for `refund.updated`, which comes beside it."""
    sources = "".join(path.read_text() for path in (ROOT / "sandbox/stripe").glob("*.py"))
    announced = set(re.findall(r'"((?:payment_intent|charge|refund)\.[\w.]+)"', sources)) - {"charge.refund.updated"}
    assert announced
    assert announced <= set(EVENT_TYPES)
