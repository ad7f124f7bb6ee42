"""Payments as facts: every pair of state and fact, every order, any repetition."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import replace
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.money import Money
from payment_svc.domain.advance import DECLINES_MAX, advance
from payment_svc.domain.asking import CHECKED_AT, DAY, Step, absent_for_sure, ask_again_at, due_time, next_step
from payment_svc.domain.facts import (
    CallRefused,
    CallUnproven,
    CaptureAsked,
    Contradiction,
    Fact,
    IntentRefused,
    RefundAsked,
    ReturnsListed,
    Unwanted,
)
from payment_svc.domain.payments import (
    LEGAL,
    AttemptKind,
    Command,
    DisputeState,
    IntentStatus,
    Outcome,
    Payment,
    PaymentState,
    ReturnsSaid,
)
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

S = IntentStatus
D = DisputeState

HELD = dispute("dp_1", 2500, D.OPEN, 1)
WON = dispute("dp_1", 2500, D.WON, 1, 1)
LOST = dispute("dp_1", 2500, D.LOST, 1)
PART, REST = refund("re_1", 1000), refund("re_2", 1500)

# One payment in each state, by the facts that lead there.
REACHED: dict[PaymentState, tuple[Fact, ...]] = {
    PaymentState.CREATED: (),
    PaymentState.UNKNOWN: (CallUnproven(AttemptKind.CREATE_INTENT, NOW),),
    PaymentState.REQUIRES_ACTION: (READY,),
    PaymentState.PROCESSING: (READY, intent(S.PROCESSING, 3)),
    PaymentState.AUTHORIZED: (READY, intent(S.REQUIRES_CAPTURE, 3)),
    PaymentState.FAILED: (READY, *DECLINED),
    PaymentState.CANCELED: (READY, intent(S.CANCELED, 8)),
    PaymentState.SUCCEEDED: (READY, *PAID),
    PaymentState.PARTIALLY_REFUNDED: (READY, *PAID, PART),
    PaymentState.REFUNDED: (READY, *PAID, PART, REST),
    PaymentState.DISPUTED: (READY, *PAID, HELD),
    PaymentState.DISPUTE_WON: (READY, *PAID, WON),
    PaymentState.DISPUTE_LOST: (READY, *PAID, LOST),
}
FACTS: dict[str, Fact] = {
    "ready": READY,
    "action": intent(S.REQUIRES_ACTION, 6),
    "processing": intent(S.PROCESSING, 6),
    "authorized": intent(S.REQUIRES_CAPTURE, 7),
    "declined": intent(S.DECLINED, 6, code="expired_card"),
    "declined charge": charge("ch_6", Outcome.REFUSED, 6),
    "canceled": intent(S.CANCELED, 8),
    "paid": PAID[0],
    "charged": PAID[1],
    "refused": IntentRefused("amount_too_small"),
    "unproven": CallUnproven(AttemptKind.CREATE_INTENT, NOW),
    "unwanted": Unwanted(),
    "capture refused": CallRefused(UUID(int=1), 1, "charge_expired_for_capture", again=False, time=NOW),
    "a part refunded": PART,
    "that refund failed": refund("re_1", 1000, Outcome.REFUSED),
    "all refunded": ReturnsListed(30, (PART, REST), ()),
    "inquiry": dispute("dp_1", 2500, D.INQUIRY),
    "disputed": HELD,
    "dispute won": WON,
    "dispute lost": LOST,
    "refund asked": RefundAsked(UUID(int=2), 500, "a wish"),
    "capture asked": CaptureAsked(UUID(int=3), 2500),
    # As Stripe shows a bank debit under way: captured, and nothing has come.
    "debit under way": charge("ch_7", Outcome.PENDING, 6, captured=2500),
}
P = PaymentState
CREATED, UNKNOWN, ACTION, PROCESSING, AUTHORIZED, FAILED, CANCELED, SUCCEEDED = (
    P.CREATED,
    P.UNKNOWN,
    P.REQUIRES_ACTION,
    P.PROCESSING,
    P.AUTHORIZED,
    P.FAILED,
    P.CANCELED,
    P.SUCCEEDED,
)
PARTLY, REFUNDED, DISPUTED, DISPUTE_WON, DISPUTE_LOST = (
    P.PARTIALLY_REFUNDED,
    P.REFUNDED,
    P.DISPUTED,
    P.DISPUTE_WON,
    P.DISPUTE_LOST,
)


def row(*, moved: tuple[PaymentState, ...], paid: PaymentState, rest: tuple[PaymentState, ...] | PaymentState) -> dict:
    """The states after each of FACTS, in their order: what the intent shows, the money, then all that may happen to it."""
    others = rest if isinstance(rest, tuple) else (rest,) * (len(FACTS) - len(moved) - 2)
    return dict(zip(FACTS, (*moved, paid, paid, *others), strict=True))


SEEN = (ACTION, ACTION, PROCESSING, AUTHORIZED, FAILED)
# state → state after each of FACTS. Before there is money nothing can go back: such facts wait in the payment for it.
TABLE: dict[PaymentState, dict[str, PaymentState]] = {
    CREATED: row(moved=(*SEEN, CREATED, CANCELED), paid=SUCCEEDED, rest=(FAILED, UNKNOWN, *(CREATED,) * 12)),
    UNKNOWN: row(moved=(*SEEN, UNKNOWN, CANCELED), paid=SUCCEEDED, rest=(FAILED, *(UNKNOWN,) * 13)),
    ACTION: row(moved=(*SEEN, ACTION, CANCELED), paid=SUCCEEDED, rest=ACTION),
    PROCESSING: row(moved=(PROCESSING, *SEEN[1:], PROCESSING, CANCELED), paid=SUCCEEDED, rest=PROCESSING),
    AUTHORIZED: row(moved=(AUTHORIZED, *SEEN[1:], AUTHORIZED, CANCELED), paid=SUCCEEDED, rest=AUTHORIZED),
    FAILED: row(moved=(FAILED, *SEEN[1:], FAILED, CANCELED), paid=SUCCEEDED, rest=FAILED),
    CANCELED: row(moved=(CANCELED,) * 7, paid=SUCCEEDED, rest=CANCELED),
    SUCCEEDED: row(
        moved=(SUCCEEDED,) * 7,
        paid=SUCCEEDED,
        rest=(
            *(SUCCEEDED,) * 4,
            *(PARTLY, SUCCEEDED, REFUNDED, SUCCEEDED, DISPUTED, DISPUTE_WON, DISPUTE_LOST, *(SUCCEEDED,) * 3),
        ),
    ),
    PARTLY: row(
        moved=(PARTLY,) * 7,
        paid=PARTLY,
        rest=(
            *(PARTLY,) * 4,
            *(PARTLY, SUCCEEDED, REFUNDED, PARTLY, DISPUTED, PARTLY, DISPUTE_LOST, *(PARTLY,) * 3),
        ),
    ),
    REFUNDED: row(moved=(REFUNDED,) * 7, paid=REFUNDED, rest=(*(REFUNDED,) * 5, PARTLY, *(REFUNDED,) * 8)),
    DISPUTED: row(
        moved=(DISPUTED,) * 7,
        paid=DISPUTED,
        rest=(
            *(DISPUTED,) * 4,
            *(DISPUTED, DISPUTED, REFUNDED, DISPUTED, DISPUTED, DISPUTE_WON, DISPUTE_LOST, *(DISPUTED,) * 3),
        ),
    ),
    DISPUTE_WON: row(
        moved=(DISPUTE_WON,) * 7,
        paid=DISPUTE_WON,
        rest=(*(DISPUTE_WON,) * 4, PARTLY, DISPUTE_WON, REFUNDED, *(DISPUTE_WON,) * 7),
    ),
    DISPUTE_LOST: row(
        moved=(DISPUTE_LOST,) * 7,
        paid=DISPUTE_LOST,
        rest=(
            *(DISPUTE_LOST,) * 6,
            *(REFUNDED, DISPUTE_LOST, DISPUTE_LOST, DISPUTE_WON, *(DISPUTE_LOST,) * 4),
        ),
    ),
}


@pytest.mark.requirement("PAY-2")
@pytest.mark.parametrize("state", REACHED)
def test_each_state_is_what_its_facts_amount_to(state: PaymentState) -> None:
    assert after(*REACHED[state]).state is state


@pytest.mark.requirement("PAY-2")
@pytest.mark.parametrize(("state", "fact"), list(itertools.product(TABLE, FACTS)))
def test_every_pair_of_state_and_fact(state: PaymentState, fact: str) -> None:
    expected = TABLE[state][fact]
    before = after(*REACHED[state])
    once = advance(before, FACTS[fact])
    assert once.state is expected
    assert advance(once, FACTS[fact]) == once


@pytest.mark.requirement("PAY-2")
def test_the_table_knows_every_state_and_every_kind_of_fact() -> None:
    assert set(TABLE) == set(REACHED) == set(PaymentState)
    assert {type(fact) for fact in FACTS.values()} == set(get_args(Fact))
    assert {state for state, _ in LEGAL} == set(PaymentState)


@pytest.mark.requirement("PAY-2")
@pytest.mark.parametrize("state", PaymentState)
def test_which_commands_a_state_allows(state: PaymentState) -> None:
    no_money_yet = state <= UNKNOWN and state is not SUCCEEDED
    assert LEGAL[state, Command.ABANDON] is LEGAL[state, Command.CANCEL] is no_money_yet
    assert LEGAL[state, Command.CAPTURE] is (state is AUTHORIZED)
    assert LEGAL[state, Command.REFUND] is not no_money_yet


HISTORIES = {
    "paid at once": (READY, intent(S.PROCESSING, 2), *PAID),
    "declined, then paid": (READY, *DECLINED, *PAID),
    "3-D Secure, failed, then paid": (
        READY,
        intent(S.REQUIRES_ACTION, 2),
        intent(S.DECLINED, 3, code="payment_intent_authentication_failure"),
        *PAID,
    ),
    "called off": (READY, *DECLINED, intent(S.CANCELED, 8)),
    "refunded in parts, one of which the bank sends back": (
        *PAID,
        PART,
        REST,
        refund("re_2", 1500, Outcome.REFUSED, code="expired_or_canceled_card"),
        said(21, 2500),
        said(25, 1000),
    ),
    "disputed and won": (*PAID, dispute("dp_1", 2500, D.INQUIRY), HELD, WON, said(22, 0, disputed=True)),
    "a part refunded, the rest disputed and lost": (
        *PAID,
        PART,
        dispute("dp_1", 1500, D.OPEN),
        dispute("dp_1", 1500, D.OPEN, 1),
        dispute("dp_1", 1500, D.LOST, 1),
    ),
}


@pytest.mark.requirement("PAY-2", "HKI-3")
@pytest.mark.parametrize("history", HISTORIES)
def test_any_order_of_a_history_ends_in_the_same_payment(history: str) -> None:
    start = payment()
    facts = HISTORIES[history]
    ends = {after(*order, start=start) for order in itertools.permutations(facts)}
    assert len(ends) == 1
    assert ends == {after(*facts, *facts, start=start)}


@pytest.mark.requirement("HKI-3")
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_shuffled_and_repeated_facts_end_where_those_in_order_end(data: st.DataObject) -> None:
    declines = data.draw(st.integers(0, DECLINES_MAX - 1))
    facts: list[Fact] = [READY]
    for second in range(2, 2 + declines):
        facts += [intent(S.DECLINED, second, code="x"), charge(f"ch_{second}", Outcome.REFUSED, second, code="x")]
    facts += data.draw(st.sampled_from([[], list(PAID), [intent(S.CANCELED, 8)], [intent(S.PROCESSING, 7)]]))
    start = payment()
    repeated = data.draw(st.lists(st.sampled_from(facts), max_size=10))
    shuffled = data.draw(st.permutations(facts + repeated))
    assert after(*shuffled, start=start) == after(*facts, start=start)


def test_the_first_reason_stays_until_a_newer_decline_brings_another() -> None:
    declined = after(READY, *DECLINED)
    assert (declined.failure_code, declined.closed) == ("insufficient_funds", False)
    again = after(
        intent(S.DECLINED, 6, code="expired_card"), charge("ch_6", Outcome.REFUSED, 6, code="expired_card"), start=declined
    )
    assert again.failure_code == "expired_card"
    assert after(*PAID, start=again).failure_code == ""


@pytest.mark.requirement("PAY-1")
def test_each_charge_is_an_attempt_of_the_same_payment() -> None:
    paid = after(READY, *DECLINED, *PAID)
    charges = [(attempt.object_id, attempt.outcome) for attempt in paid.calls(AttemptKind.CHARGE)]
    assert charges == [("ch_5", Outcome.REFUSED), ("ch_9", Outcome.SUCCEEDED)]


@pytest.mark.requirement("PAY-1")
def test_a_second_success_on_one_intent_is_a_contradiction() -> None:
    with pytest.raises(Contradiction):
        after(READY, *PAID, charge("ch_10", Outcome.SUCCEEDED, 10))


@pytest.mark.parametrize(
    "lie",
    [
        intent(S.SUCCEEDED, 9, captured=2501),
        intent(S.SUCCEEDED, 9, captured=-1),
        intent(S.SUCCEEDED, 9, captured=2500, amount=Money(2501, "USD")),
        intent(S.SUCCEEDED, 9, captured=2500, amount=Money(2500, "EUR")),
        intent(S.SUCCEEDED, 9, captured=2500, donation_id="another"),
        intent(S.SUCCEEDED, 9, captured=2500, provider_id="pi_2"),
        charge("ch_9", Outcome.SUCCEEDED, amount=Money(1, "USD")),
        charge("ch_9", Outcome.SUCCEEDED, captured=2501),
    ],
)
def test_what_cannot_be_true_of_the_payment_changes_nothing(lie: Fact) -> None:
    with pytest.raises(Contradiction):
        after(READY, lie)


@pytest.mark.requirement("ABU-2")
def test_the_third_decline_asks_for_the_end_of_the_intent() -> None:
    declines = [charge(f"ch_{number}", Outcome.REFUSED, number) for number in range(1, DECLINES_MAX + 1)]
    two = after(READY, *declines[:-1])
    assert next_step(two, now=NOW) is Step.CHECK
    three = after(declines[-1], start=two)
    assert (three.unwanted, next_step(three, now=NOW), three.secret_to_confirm) == (True, Step.CANCEL, "")
    ended = after(intent(S.CANCELED, 8), start=three)
    assert (ended.state, ended.closed, next_step(ended, now=NOW)) == (CANCELED, True, None)
    assert [call.outcome for call in ended.calls(AttemptKind.CANCEL_INTENT)] == [Outcome.SUCCEEDED]


@pytest.mark.requirement("PAY-7")
def test_a_third_decline_that_is_told_late_does_not_call_off_what_is_being_taken() -> None:
    declined = [charge(f"ch_{second}", Outcome.REFUSED, second) for second in (2, 3, 4)]
    held = (intent(S.REQUIRES_CAPTURE, 8), charge("ch_9", Outcome.SUCCEEDED, 8, captured=0))
    taking = after(READY, *declined[:2], *held, CaptureAsked(UUID(int=1), 2500), start=payment(manual_capture=True))
    told_late = after(declined[2], start=taking)
    assert not told_late.unwanted
    assert next_step(told_late, now=NOW) is Step.CAPTURE


@pytest.mark.requirement("INT-7")
def test_a_success_that_races_the_end_of_an_intent_wins() -> None:
    unwanted = after(READY, Unwanted())
    paid = after(*PAID, start=unwanted)
    assert (paid.state, next_step(paid, now=NOW)) == (SUCCEEDED, None)
    assert [call.outcome for call in paid.calls(AttemptKind.CANCEL_INTENT)] == [Outcome.REFUSED]


@pytest.mark.requirement("PAY-4")
@pytest.mark.parametrize(
    ("age", "saved", "step"),
    [
        (datetime.timedelta(0), False, Step.CREATE),
        (datetime.timedelta(hours=22, minutes=59), False, Step.CREATE),
        (datetime.timedelta(hours=23), False, Step.LOOK_UP),
        (datetime.timedelta(seconds=30), True, Step.LOOK_UP),
    ],
)
def test_a_call_is_repeated_while_the_provider_knows_its_key_and_looked_up_after_that(age, saved: bool, step: Step) -> None:
    unproven = after(CallUnproven(AttemptKind.CREATE_INTENT, NOW, saved=saved))
    assert next_step(unproven, now=NOW + age) is step


@pytest.mark.requirement("PAY-3")
def test_a_lost_answer_is_neither_failed_nor_closed() -> None:
    unproven = after(CallUnproven(AttemptKind.CREATE_INTENT, NOW))
    assert (unproven.state, unproven.closed, unproven.failure_code) == (UNKNOWN, False, "")
    assert after(*PAID, start=unproven).state is SUCCEEDED


def test_an_intent_that_was_given_up_before_it_was_known_is_made_and_then_called_off() -> None:
    given_up = after(CallUnproven(AttemptKind.CREATE_INTENT, NOW), Unwanted())
    assert next_step(given_up, now=NOW) is Step.CREATE
    assert next_step(after(READY, start=given_up), now=NOW) is Step.CANCEL


@pytest.mark.requirement("PAY-3")
def test_a_search_without_result_proves_nothing_before_ten_minutes() -> None:
    call = replace(payment().attempts[0], calls=1, last_call_time=NOW)
    assert not absent_for_sure(call, now=NOW + datetime.timedelta(minutes=9, seconds=59))
    assert absent_for_sure(call, now=NOW + datetime.timedelta(minutes=10))
    assert absent_for_sure(replace(call, last_call_time=None), now=NOW)


@pytest.mark.requirement("PAY-3", "REC-1")
def test_an_unproven_call_is_asked_about_at_the_published_ages_and_then_every_day() -> None:
    (call,) = after(CallUnproven(AttemptKind.CREATE_INTENT, NOW)).attempts
    asked = [NOW]
    while len(asked) <= 8:
        asked.append(ask_again_at(call, now=asked[-1]))
    ages = [(time - NOW).total_seconds() for time in asked[1:]]
    assert ages == [30, 120, 600, 3600, 21600, 86400, 2 * 86400, 3 * 86400]


@pytest.mark.requirement("HKI-5", "INT-7")
def test_a_donors_silence_is_looked_into_at_growing_ages_and_then_every_day_until_it_has_ended() -> None:
    waiting = after(READY)
    looked = [due_time(waiting, now=NOW)]
    while len(looked) < len(CHECKED_AT) + 2:
        looked.append(due_time(waiting, now=looked[-1]))
    last = NOW + CHECKED_AT[-1]
    assert looked == [*(NOW + age for age in CHECKED_AT), last + DAY, last + 2 * DAY]
    soon = NOW + datetime.timedelta(seconds=30)
    assert due_time(waiting, now=NOW, ask_at=soon) == soon
    assert due_time(after(*PAID), now=NOW) is None
    assert due_time(after(READY, Unwanted()), now=NOW) == NOW


@pytest.mark.requirement("PAY-5")
def test_two_refunds_that_name_one_call_are_two_refunds() -> None:
    asked = _with_ids(after(*PAID, RefundAsked(UUID(int=2), 1000, "a wish")))
    call = str(asked.attempts[-1].id)
    both = after(refund("re_1", 1000, attempt_id=call), refund("re_2", 1000, attempt_id=call), start=asked)
    assert both.refunded == 2000


@pytest.mark.requirement("PAY-5")
def test_a_refund_of_ours_with_another_amount_contradicts() -> None:
    asked = _with_ids(after(*PAID, RefundAsked(UUID(int=2), 1000, "a wish")))
    with pytest.raises(Contradiction):
        advance(asked, refund("re_1", 900, attempt_id=str(asked.attempts[-1].id)))


@pytest.mark.requirement("PAY-3", "PAY-11")
def test_a_refusal_that_is_told_twice_ends_no_later_doubt() -> None:
    asked = _with_ids(after(*PAID, RefundAsked(UUID(int=2), 1000, "a wish")))
    call = asked.attempts[-1].id
    assert call is not None
    refused = CallRefused(call, 1, "balance_insufficient", again=True, time=NOW)
    doubted = after(refused, CallUnproven(AttemptKind.REFUND, NOW, attempt_id=call), start=asked)
    assert advance(doubted, refused) == doubted
    assert doubted.attempts[-1].outcome is Outcome.UNKNOWN


@pytest.mark.requirement("PAY-6")
def test_what_a_declined_charge_says_of_refunds_is_not_of_the_charge_that_was_paid() -> None:
    declined = charge("ch_6", Outcome.REFUSED, 6, said=ReturnsSaid(99, 2500, True))
    assert not advance(after(*PAID), declined).unmatched


@pytest.mark.requirement("PAY-6")
def test_a_refund_that_the_provider_told_of_and_does_not_list_contradicts() -> None:
    told = after(*PAID, PART)
    with pytest.raises(Contradiction):
        advance(told, ReturnsListed(PART.second + 1, (), ()))
    # It may have been made after the list was read.
    assert advance(told, ReturnsListed(PART.second, (), ())).refunded == PART.amount.minor_units


@pytest.mark.requirement("PAY-2")
def test_a_bank_debit_counts_when_it_has_succeeded_and_never_when_it_fails() -> None:
    under_way = after(FACTS["processing"], FACTS["debit under way"])
    assert (under_way.state, under_way.captured) == (PROCESSING, 0)
    assert after(charge("ch_7", Outcome.REFUSED, 6, captured=2500), FACTS["declined"], start=under_way).state is FAILED
    assert after(charge("ch_7", Outcome.SUCCEEDED, 6), start=under_way).captured == 2500


@pytest.mark.requirement("PAY-7")
@pytest.mark.parametrize(("taken", "outcome"), [(2000, Outcome.SUCCEEDED), (1500, Outcome.REFUSED)])
def test_a_capture_that_somebody_outran_with_another_amount_was_not_ours(taken: int, outcome: Outcome) -> None:
    held = after(READY, intent(S.REQUIRES_CAPTURE, 7), CaptureAsked(UUID(int=3), 2000), start=payment(manual_capture=True))
    paid = after(intent(S.SUCCEEDED, 9, captured=taken), start=held)
    assert (paid.captured, paid.calls(AttemptKind.CAPTURE_INTENT)[0].outcome) == (taken, outcome)


def _with_ids(payment: Payment) -> Payment:
    """As it is when its attempts were stored."""
    stored = [replace(attempt, id=attempt.id or UUID(int=900 + place)) for place, attempt in enumerate(payment.attempts)]
    return replace(payment, attempts=tuple(stored))
