"""Why a donation stands where it does, for every state of it and of its payment, and where the payment says nothing."""

from __future__ import annotations

import datetime
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from donation_svc.domain.donations import Donation, DonationState, Origin
from donation_svc.domain.explanation import Explanation, NoPart, PaymentPart, explain, explain_without
from donation_svc.domain.payments import PaymentState, PaymentWord, follow
from tests.donation.test_following import CHARITY, DAY, DONATION, NOW, PAYMENT, STATES

pytestmark = pytest.mark.requirement("OPS-3")
P = PaymentState
NOTHING = "Nothing: it has ended."
LATER = NOW + datetime.timedelta(days=1)
SAID = Explanation("25 things are like this.", "Something happens there.", NOW + datetime.timedelta(seconds=10))
SILENT = "the payment service does not answer, so that no more is known."
NONE_YET = "the payment service has no payment of it yet."
NONE = "the payment service knows no payment of it, and an operator has to look."
ONLY = "It counts only when its payment succeeds"
OTHERWISE = "what is not confirmed in time is called off."


def word(state: PaymentState, *, version: int = 1, **more: Any) -> PaymentWord:
    return PaymentWord(DONATION, CHARITY, PAYMENT, version, state, "USD", **more)


TAKEN: dict[str, Any] = {"captured": 100, "closed": True}
# What the payment service may say in each of its states; one that was declined or called off, with and without another try.
WORDS = {
    "CREATED": word(P.CREATED),
    "UNKNOWN": word(P.UNKNOWN),
    "REQUIRES_ACTION": word(P.REQUIRES_ACTION),
    "PROCESSING": word(P.PROCESSING),
    "AUTHORIZED": word(P.AUTHORIZED),
    "DECLINED": word(P.FAILED, failure_code="card_declined"),
    "REFUSED": word(P.FAILED, failure_code="card_declined", closed=True),
    "CANCELED": word(P.CANCELED, closed=True),
    "CANCELED AFTER A DECLINE": word(P.CANCELED, failure_code="card_declined", closed=True),
    "SUCCEEDED": word(P.SUCCEEDED, **TAKEN),
    "PARTIALLY_REFUNDED": word(P.PARTIALLY_REFUNDED, **TAKEN, refunded=10),
    "REFUNDED": word(P.REFUNDED, **TAKEN, refunded=100),
    "DISPUTED": word(P.DISPUTED, **TAKEN, disputed=90),
    "DISPUTE_WON": word(P.DISPUTE_WON, **TAKEN),
    "DISPUTE_LOST": word(P.DISPUTE_LOST, **TAKEN, refunded=10, disputed=80),
}
# (donation, payment) that say the same → what that means for the charity.
AGREE = {
    ("PENDING", "CREATED"): ONLY,
    ("PENDING", "UNKNOWN"): ONLY,
    ("AWAITING_PAYMENT", "REQUIRES_ACTION"): ONLY,
    ("AWAITING_PAYMENT", "PROCESSING"): ONLY,
    ("HELD", "AUTHORIZED"): ONLY,
    ("RETRYABLE", "DECLINED"): "It counts only if another charge succeeds",
    ("FAILED", "REFUSED"): "It failed for good",
    ("FAILED", "CANCELED AFTER A DECLINE"): "It failed for good",
    ("EXPIRED", "CANCELED"): "It has expired",
    ("SUCCEEDED", "SUCCEEDED"): "It counts for 1.00 USD",
    ("SUCCEEDED", "DISPUTE_WON"): "It counts for 1.00 USD",
    ("PARTIALLY_REFUNDED", "PARTIALLY_REFUNDED"): "It counts for 0.90 USD",
    ("REFUNDED", "REFUNDED"): "It counts for nothing any more",
    ("DISPUTED", "DISPUTED"): "It counts for 0.10 USD",
    ("DISPUTE_LOST", "DISPUTE_LOST"): "It counts for 0.10 USD",
}
# Donations that a payment cannot have brought there, which has not moved since: nobody ever unsays what it has said.
UNPAID = ("AWAITING_PAYMENT", "HELD", "RETRYABLE", "FAILED", "EXPIRED")
COUNTING = ("SUCCEEDED", "PARTIALLY_REFUNDED", "REFUNDED", "DISPUTED", "DISPUTE_LOST")
NOT_TAKEN = [name for name, said in WORDS.items() if not said.captured]
CANNOT_BE = {
    *product(UNPAID, ("CREATED", "UNKNOWN")),
    *product(COUNTING, NOT_TAKEN),
    *(("EXPIRED", name) for name in ("REQUIRES_ACTION", "PROCESSING", "AUTHORIZED", "DECLINED")),
}


def explained(donation: Donation, part: PaymentWord | NoPart | None, *, now: datetime.datetime = NOW) -> Explanation:
    told = part if isinstance(part, NoPart) else PaymentPart(part, SAID)
    return explain(donation, told, now=now, confirm_within=DAY)


@pytest.mark.parametrize(("state", "name"), list(product(STATES, WORDS)))
def test_every_pair_of_donation_and_payment_is_explained(state: str, name: str) -> None:
    found = explained(STATES[state], WORDS[name])
    assert found.why.endswith(("25 things are like this.", "25 things are like this"))
    if (state, name) in AGREE:
        assert found.why == f"{AGREE[state, name]}: 25 things are like this."
    elif (state, name) in CANNOT_BE:
        assert "and an operator has to look: 25 things" in found.why
        assert (found.next, found.next_time) == ("An operator decides.", None)
    else:
        assert found.why.startswith("Its payment has moved on, and the news has not arrived here yet: ")
        after, steps = follow(STATES[state], WORDS[name], now=NOW, confirm_within=DAY)
        assert steps
        became = "its figures follow" if after.state is STATES[state].state else f"it becomes {after.state.name}"
        assert found.next == f"The payment's event arrives, and {became}."


def test_every_state_of_both_is_in_the_table() -> None:
    assert {STATES[state].state for state, _ in AGREE} == set(DonationState)
    assert {WORDS[name].state for _, name in AGREE} == set(PaymentState)


@pytest.mark.parametrize(
    ("donation", "why", "then"),
    [
        ("PENDING", f"{ONLY}: the payment is being made ready; ", None),
        (
            "AWAITING_PAYMENT",
            "It counts only when its payment succeeds: the donor has not confirmed the payment; ",
            OTHERWISE,
        ),
        (
            "RETRYABLE",
            "It counts only if another charge succeeds: the charge was declined; the donor may try again (card_declined); ",
            OTHERWISE,
        ),
        ("FAILED", "It failed for good: its payment ended with card_declined; ", NOTHING),
        ("EXPIRED", "It has expired: nobody confirmed in time; ", NOTHING),
        ("SUCCEEDED", "It counts for 1.00 USD: its money arrived; ", NOTHING),
        ("PARTIALLY_REFUNDED", "It counts for 0.90 USD: 0.10 USD went back; ", NOTHING),
        ("REFUNDED", "It counts for nothing any more: all of it went back; ", NOTHING),
        ("DISPUTED", "It counts for 0.10 USD: the donor's bank holds 0.90 USD; ", NOTHING),
        ("DISPUTE_LOST", "It counts for 0.10 USD: 0.10 USD went back and the donor's bank keeps 0.80 USD; ", NOTHING),
    ],
)
def test_without_the_payment_service_the_donation_tells_what_it_knows(donation: str, why: str, then: str | None) -> None:
    silent, unknown = (explained(STATES[donation], part) for part in (NoPart.SILENT, NoPart.UNKNOWN))
    assert silent.why == f"{why}{SILENT}"
    assert unknown.why == f"{why}{NONE_YET if donation == 'PENDING' else NONE}"
    then = then or "Its payment is asked for again, and called off an hour after the promise."
    assert silent.next.lower() == unknown.next.lower() == then.lower()
    assert silent.next_time == STATES[donation].next_attempt_time


@pytest.mark.requirement("PAY-8")
def test_what_the_service_noted_when_it_looked_last_is_told() -> None:
    paused = replace(STATES["PENDING"], waiting_for="the payment is not ready: PROVIDER_UNAVAILABLE")
    why = "It counts only when its payment succeeds: the payment is not ready: PROVIDER_UNAVAILABLE; "
    assert explained(paused, NoPart.UNKNOWN).why == f"{why}{NONE_YET}"
    stuck = replace(STATES["AWAITING_PAYMENT"], waiting_for="the payment is not called off yet: DEPENDENCY_UNAVAILABLE")
    assert explained(stuck, WORDS["REQUIRES_ACTION"]).why.endswith(f"like this; {stuck.waiting_for}.")
    held = replace(STATES["HELD"], waiting_for="held on the card until it is captured")
    assert explained(held, WORDS["AUTHORIZED"]).why.endswith("succeeds: 25 things are like this.")


def test_what_comes_next_of_an_open_donation_is_the_payments_or_its_end_whichever_is_sooner() -> None:
    open_one = replace(STATES["AWAITING_PAYMENT"], next_attempt_time=LATER)
    found = explained(open_one, WORDS["REQUIRES_ACTION"])
    assert (found.next, found.next_time) == (f"Something happens there; {OTHERWISE}", SAID.next_time)
    over = explained(open_one, WORDS["REQUIRES_ACTION"], now=NOW + DAY)
    assert over.next == "Something happens there; its time is over, and its payment is called off."
    held = explained(STATES["HELD"], WORDS["AUTHORIZED"])
    assert held.next.endswith("; what is not captured in time is let go of.")
    ended = explained(STATES["SUCCEEDED"], WORDS["SUCCEEDED"])
    assert (ended.next, ended.next_time) == (SAID.next, SAID.next_time)


def test_a_payment_that_contradicts_its_donation_is_an_operators() -> None:
    other = replace(WORDS["SUCCEEDED"], captured=99)
    found = explained(STATES["AWAITING_PAYMENT"], other)
    assert found.why == (
        "Its payment contradicts it (another amount was taken than was promised), and an operator has to look: "
        "25 things are like this."
    )
    assert found.next == "An operator decides."


CHARGED = replace(STATES["SUCCEEDED"], origin=Origin.RECORDED, payment_ref="order-1")
BACK = replace(STATES["PARTIALLY_REFUNDED"], origin=Origin.RECORDED, payment_ref="order-1")


def test_what_a_checkout_charged_is_explained_with_its_posting() -> None:
    charged = "A checkout charged it, and it counts for 1.00 USD; "
    assert explained(CHARGED, None).why == f"{charged}it is posted to the ledger."
    coming = explained(CHARGED, NoPart.UNKNOWN)
    assert coming.why == f"{charged}it is not posted to the ledger yet."
    assert coming.next == "The payment service posts it when its event arrives."
    assert explained(CHARGED, NoPart.SILENT) == Explanation(f"{charged}{SILENT}", NOTHING)
    assert explained(BACK, None).why.startswith(
        "A checkout charged it, and it counts for 0.90 USD; 0.10 USD was taken back; "
    )


def test_what_the_payment_service_alone_knows_is_explained() -> None:
    assert explain_without(PaymentPart(None, SAID)) == SAID
    orphan = explain_without(PaymentPart(WORDS["SUCCEEDED"], SAID))
    assert orphan.why == (
        "The donation that it was for is not recorded here, and an operator has to look: 25 things are like this."
    )
