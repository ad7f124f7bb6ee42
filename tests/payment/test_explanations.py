"""Why a payment stands where it does, in words: every state, every refund on its way, every dispute."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from payment_svc.domain.explanation import Explanation, explain, explain_stray, waits_for
from payment_svc.domain.facts import CallRefused, CallUnproven, CaptureAsked, IntentRefused, RefundAsked, Unwanted
from payment_svc.domain.inbound import EventState, Place, StoredEvent
from payment_svc.domain.payments import AttemptKind, DisputeState, IntentStatus, Outcome, Payment, PaymentState
from tests.support.payment_facts import (
    DECLINED,
    NOW,
    PAID,
    READY,
    after,
    charge,
    dispute,
    intent,
    payment,
    refund,
    said,
)

pytestmark = pytest.mark.requirement("OPS-3")
CALL = UUID(int=7)
DONORS_TURN = "The donor has to confirm; the provider is asked now and then in case a webhook was lost."
NOTHING = "Nothing: it has ended."
BANK = "The donor's bank decides, and the provider tells its verdict by webhook."
AGAIN = "An answer was lost: the same call is made again under its key, which does nothing twice."
MEANING = "insufficient_funds (the account does not hold the amount)"
HELD = intent(IntentStatus.REQUIRES_CAPTURE, 3)


def calling(start: Payment, kind: AttemptKind, **more: Any) -> Payment:
    """The payment whose open call of a kind is known by `CALL`."""
    calls = (replace(call, id=CALL, **more) if call.kind is kind and call.open else call for call in start.attempts)
    return replace(start, attempts=tuple(calls))


def wished(minor_units: int = 1000) -> Payment:
    """A payment that was paid, with a refund that is being made."""
    return calling(after(*PAID, RefundAsked(UUID(int=1), minor_units, "a wish")), AttemptKind.REFUND, create_time=NOW)


def tried(declines: int) -> Payment:
    """A payment after so many declines."""
    charges = [charge(f"ch_{number}", Outcome.REFUSED, number) for number in range(1, declines + 1)]
    return after(*charges, start=after(intent(IntentStatus.DECLINED, declines, code="insufficient_funds")))


def asked() -> Payment:
    return calling(payment(), AttemptKind.CREATE_INTENT, calls=1)


LOST_CAPTURE = after(
    CallUnproven(AttemptKind.CAPTURE_INTENT, NOW, attempt_id=CALL),
    start=calling(after(HELD, CaptureAsked(UUID(int=2), 1500)), AttemptKind.CAPTURE_INTENT),
)
LOST_REFUND = after(CallUnproven(AttemptKind.REFUND, NOW, attempt_id=CALL), start=wished())
LATER_REFUND = after(CallRefused(CALL, 1, "balance_insufficient", again=True, time=NOW), start=wished())
NO_REFUND = after(CallRefused(CALL, 1, "charge_disputed", again=False, time=NOW), start=wished())
BACK_AGAIN = after(
    refund("re_1", 1000, Outcome.REFUSED, attempt_id=str(CALL), code="expired_or_canceled_card"),
    start=after(refund("re_1", 1000, attempt_id=str(CALL)), start=wished()),
)

# The payment, why it stands there, what comes next.
TOLD: list[tuple[str, Payment, str, str]] = [
    ("new", payment(), "It is recorded, and the provider was not asked yet.", "The intent is being made at the provider."),
    ("sent", asked(), "It is recorded, and the provider has not answered yet.", "The intent is being made at the provider."),
    (
        "lost",
        after(CallUnproven(AttemptKind.CREATE_INTENT, NOW)),
        "An answer was lost, and whether the provider has it is not proven yet.",
        AGAIN,
    ),
    (
        "to be looked up",
        after(CallUnproven(AttemptKind.CREATE_INTENT, NOW, saved=True)),
        "An answer was lost, and whether the provider has it is not proven yet.",
        "An answer was lost: the provider is asked whether it has the intent.",
    ),
    ("ready", after(READY), "The provider waits for the donor to confirm it.", DONORS_TURN),
    (
        "called off soon",
        after(READY, Unwanted()),
        "The provider waits for the donor to confirm it; it is being called off, for nobody waits for it any more.",
        "The intent is being called off at the provider.",
    ),
    (
        "processing",
        after(intent(IntentStatus.PROCESSING, 2)),
        "The donor has confirmed, and the provider works on it.",
        "The provider works on it; the provider is asked now and then in case a webhook was lost.",
    ),
    (
        "declined",
        after(*DECLINED),
        f"The last charge was declined with {MEANING}, and the donor may confirm again.",
        DONORS_TURN,
    ),
    (
        "declined too often",
        tried(3),
        f"The last charge was declined with {MEANING}; it is being called off, for too many charges were declined.",
        "The intent is being called off at the provider.",
    ),
    (
        "called off after declines",
        after(intent(IntentStatus.CANCELED, 9), start=tried(3)),
        f"It was called off before any money was taken; of 3 declined charges the last was declined with {MEANING}.",
        NOTHING,
    ),
    ("called off", after(intent(IntentStatus.CANCELED, 9)), "It was called off before any money was taken.", NOTHING),
    (
        "given up",
        payment(attempts=(), canceled=True),
        "It was given up before the provider was asked, and takes no money any more.",
        NOTHING,
    ),
    (
        "refused",
        after(IntentRefused("amount_too_small")),
        "The provider would not have it: amount_too_small (less than the provider takes in this currency).",
        NOTHING,
    ),
    (
        "refused for what nobody has published",
        after(IntentRefused("code_of_next_year")),
        "The provider would not have it: code_of_next_year.",
        NOTHING,
    ),
    (
        "held",
        after(HELD),
        "25.00 USD is held on the donor's card, and nobody has captured it yet.",
        "Somebody has to capture what is held; the provider is asked now and then in case a webhook was lost.",
    ),
    (
        "being captured",
        after(HELD, CaptureAsked(UUID(int=2), 1500)),
        "25.00 USD is held on the donor's card, and 15.00 USD of 25.00 USD is being captured.",
        "What is held is being taken.",
    ),
    (
        "capture lost",
        LOST_CAPTURE,
        (
            "25.00 USD is held on the donor's card; the answer to the capture of 15.00 USD of 25.00 USD was lost, "
            "and whether it was made is not proven yet."
        ),
        AGAIN,
    ),
    ("taken", after(*PAID), "25.00 USD was taken.", NOTHING),
    (
        "taken in part",
        after(intent(IntentStatus.SUCCEEDED, 9, captured=1500)),
        "15.00 USD of 25.00 USD was taken.",
        NOTHING,
    ),
    (
        "refund under way",
        wished(),
        "25.00 USD was taken; a refund of 10.00 USD is being made.",
        "A refund is being made at the provider.",
    ),
    (
        "refund lost",
        LOST_REFUND,
        "25.00 USD was taken; the answer to a refund of 10.00 USD was lost, and whether it was made is not proven yet.",
        AGAIN,
    ),
    (
        "refund again later",
        LATER_REFUND,
        (
            "25.00 USD was taken; a refund of 10.00 USD is being made, refused once so far, last with "
            "balance_insufficient (the balance at the provider does not cover a refund yet)."
        ),
        "A refund is being made at the provider.",
    ),
    (
        "refund refused",
        NO_REFUND,
        (
            "25.00 USD was taken; the last refund, of 10.00 USD, was refused with charge_disputed "
            "(the donor's bank holds the money)."
        ),
        NOTHING,
    ),
    (
        "refund sent back",
        BACK_AGAIN,
        (
            "25.00 USD was taken; the last refund, of 10.00 USD, was sent back by the donor's bank with "
            "expired_or_canceled_card."
        ),
        NOTHING,
    ),
    ("part back", after(*PAID, refund("re_1", 1000)), "10.00 USD of 25.00 USD went back to the donor.", NOTHING),
    ("all back", after(*PAID, refund("re_1", 2500)), "All that was taken, 25.00 USD, went back to the donor.", NOTHING),
    (
        "not added up",
        after(*PAID, said(20, 700)),
        "25.00 USD was taken; the charge speaks of refunds or disputes that are not known here yet.",
        "What went back does not add up yet: the provider is asked for all of it.",
    ),
    (
        "asked about",
        after(*PAID, dispute("dp_1", 2500, DisputeState.INQUIRY)),
        "25.00 USD was taken; the donor's bank asks about it (fraudulent), and no money has moved.",
        "The donor's bank is content, or opens a dispute.",
    ),
    (
        "disputed without a withdrawal",
        after(*PAID, dispute("dp_1", 2500, DisputeState.OPEN)),
        "25.00 USD was taken; the donor's bank disputes it (fraudulent), and holds nothing of it now.",
        BANK,
    ),
    (
        "disputed",
        after(*PAID, refund("re_1", 800), dispute("dp_1", 1700, DisputeState.OPEN, 1)),
        "The donor's bank holds 17.00 USD of 25.00 USD (fraudulent); 8.00 USD went back before.",
        BANK,
    ),
    (
        "won",
        after(*PAID, dispute("dp_1", 2500, DisputeState.WON, 1, 1)),
        "25.00 USD was taken; the donor's bank disputed it and decided for the charity.",
        NOTHING,
    ),
    (
        "lost to the bank",
        after(*PAID, dispute("dp_1", 2500, DisputeState.LOST, 1)),
        "The donor's bank took back and keeps 25.00 USD (fraudulent).",
        NOTHING,
    ),
    (
        "lost in part and disputed again",
        after(*PAID, dispute("dp_1", 1000, DisputeState.LOST, 1), dispute("dp_2", 1500, DisputeState.OPEN, 1)),
        "The donor's bank holds 15.00 USD of 25.00 USD (fraudulent); it keeps 10.00 USD for good.",
        BANK,
    ),
]


@pytest.mark.parametrize(("standing", "why", "then"), [case[1:] for case in TOLD], ids=[case[0] for case in TOLD])
def test_a_payment_is_explained(standing: Payment, why: str, then: str) -> None:
    explained = explain(standing, now=NOW)
    assert (explained.why, explained.next) == (why, then)


def test_every_state_is_explained() -> None:
    assert {standing.state for _, standing, _, _ in TOLD} == set(PaymentState)


def test_what_a_list_of_open_payments_says_is_what_comes_next() -> None:
    for _, standing, _, then in TOLD:
        assert then.lower().startswith(waits_for(standing, now=NOW).lower()) or then in (
            BANK,
            "The donor's bank is content, or opens a dispute.",
        )


def test_what_needs_an_operator_says_so_and_what_he_can_do() -> None:
    due = NOW + datetime.timedelta(days=1)
    stuck = replace(LOST_REFUND, manual_reason="refund: unproven for a day", next_attempt_time=due)
    explained = explain(stuck, now=NOW)
    assert explained.why.endswith("is not proven yet; an operator has to look: refund: unproven for a day.")
    assert explained.next.startswith(
        "An operator may have the provider asked at once by AskProvider; without him, an answer"
    )
    assert explained.next_time == due
    excess = explain(replace(after(*PAID), manual_reason="more went back than was taken"), now=NOW)
    assert (excess.next, excess.next_time) == ("An operator decides; nothing happens by itself.", None)


@pytest.mark.requirement("PAY-8")
def test_what_waits_for_paused_calls_says_so_and_nothing_else_does() -> None:
    paused = "calls to the provider are paused, and this waits for them"
    waiting = {case[0] for case in TOLD if paused in explain(case[1], now=NOW, paused=True).why}
    assert {"new", "lost", "called off soon", "being captured", "refund under way", "not added up"} <= waiting
    assert not {"ready", "held", "taken", "disputed", "won"} & waiting


def event(state: EventState, **more: Any) -> StoredEvent:
    due = NOW if state is EventState.PARKED else None
    fields = {
        "event_id": "evt_1",
        "type": "charge.succeeded",
        "intent_id": "pi_1",
        "place": Place(state, "a second charge", due),
        "attempts": 1,
        "polled": False,
        "operator_reason": "",
        "actor": "",
        "provider_time": NOW,
        "create_time": NOW,
        "update_time": NOW,
    }
    return StoredEvent(**fields | more)


@pytest.mark.requirement("HKI-4")
def test_what_the_provider_said_without_effect_is_a_part_of_why() -> None:
    explained = explain(after(*PAID), now=NOW, events=[event(EventState.PARKED), event(EventState.QUARANTINED)])
    assert explained.why.endswith("the provider's event evt_1 is quarantined, and 1 more: a second charge.")
    assert explained.next.endswith("by ReplayProviderEvents or SkipProviderEvent.")
    quiet = explain(after(*PAID), now=NOW, events=[event(EventState.APPLIED), event(EventState.SKIPPED)])
    assert quiet == explain(after(*PAID), now=NOW)


def test_what_belongs_to_no_payment_is_explained_too() -> None:
    assert explain_stray([], posted=True) == Explanation("A checkout charged it, and it is posted to the ledger.", NOTHING)
    of_nobody = "No payment here belongs to what the provider speaks of"
    assert explain_stray([event(EventState.APPLIED)], posted=False) == Explanation(f"{of_nobody}.", NOTHING)
    parked = explain_stray([event(EventState.PARKED)], posted=False)
    assert parked.why == f"{of_nobody}; the provider's event evt_1 is parked: a second charge."
    assert (parked.next, parked.next_time) == ("What waits is looked at again.", NOW)
