"""How a donation follows its payment: every pair of state and fact, and every order of words."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from uuid import UUID

import pytest
from giving.payment.v1.payment_pb2 import Payment
from hypothesis import given
from hypothesis import strategies as st

from donation_svc.domain.donations import Disputed, Donation, DonationState, ExceedsRemaining, Origin, Reversed, Tally
from donation_svc.domain.payments import (
    HOLD_WITHIN,
    Declined,
    Ended,
    Fact,
    Held,
    PaymentState,
    PaymentWord,
    Readied,
    Settled,
    Step,
    WordRefused,
    apply,
    follow,
    is_final,
)
from donation_svc.domain.waiting import Due, due
from mesh.money import Money

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(hours=24)
CHARITY, DONATION, PAYMENT = UUID(int=2), UUID(int=1), UUID(int=9)
S = DonationState
PENDING = Donation(
    id=DONATION,
    charity_id=CHARITY,
    campaign_id=UUID(int=3),
    donor_id=None,
    origin=Origin.INTENT,
    state=S.PENDING,
    amount=Money(100, "USD"),
    tally=Tally(),
    anonymous=False,
    version=1,
    create_time=NOW,
    update_time=NOW,
    settle_time=None,
    next_attempt_time=NOW + datetime.timedelta(seconds=30),
)
PAID = Tally(gross=100, donations=1)
PAID_UP = replace(PENDING, state=S.SUCCEEDED, tally=PAID, settle_time=NOW, next_attempt_time=None)
# Every state that a promise can be in; a failure may be tried again or not.
STATES = {
    "PENDING": PENDING,
    "AWAITING_PAYMENT": replace(PENDING, state=S.AWAITING_PAYMENT),
    "HELD": replace(PENDING, state=S.AWAITING_PAYMENT, hold_end_time=NOW + HOLD_WITHIN),
    "RETRYABLE": replace(PENDING, state=S.FAILED, retryable=True, failure_code="card_declined"),
    "FAILED": replace(PENDING, state=S.FAILED, failure_code="card_declined", next_attempt_time=None),
    "EXPIRED": replace(PENDING, state=S.EXPIRED, next_attempt_time=None),
    "SUCCEEDED": PAID_UP,
    "PARTIALLY_REFUNDED": replace(PAID_UP, state=S.PARTIALLY_REFUNDED, tally=replace(PAID, refunded=10)),
    "REFUNDED": replace(PAID_UP, state=S.REFUNDED, tally=replace(PAID, refunded=100)),
    "DISPUTED": replace(PAID_UP, state=S.DISPUTED, tally=replace(PAID, disputed=90)),
    "DISPUTE_LOST": replace(PAID_UP, state=S.DISPUTE_LOST, tally=replace(PAID, refunded=10, disputed=80)),
}
FACTS: dict[str, Fact] = {
    "readied": Readied(),
    "declined": Declined("expired_card"),
    "ended": Ended(""),
    "ended after a decline": Ended("expired_card"),
    "held": Held(),
    "settled": Settled(100),
    "10 go back": Reversed(10),
    "10 come back": Reversed(-10),
    "10 more are disputed": Disputed(10, lost=False),
    "10 more are lost": Disputed(10, lost=True),
    "what is disputed is lost": Disputed(0, lost=True),
    "what was lost is weighed again": Disputed(0, lost=False),
    "80 are reinstated": Disputed(-80, lost=False),
}
# What was taken for refused may turn out to be open.
OPEN = ("PENDING", "AWAITING_PAYMENT", "HELD", "RETRYABLE", "FAILED")
EXCEEDS = ExceedsRemaining
# (state, fact) → state after it, or that it cannot be; every other pair changes nothing.
TABLE = {
    **{(state, "readied"): S.AWAITING_PAYMENT for state in OPEN},
    **{(state, "held"): S.AWAITING_PAYMENT for state in OPEN},
    **{(state, "declined"): S.FAILED for state in OPEN},
    **{(state, "ended"): S.EXPIRED for state in OPEN},
    # A decline that is heard of late explains an end that had no reason.
    **{(state, "ended after a decline"): S.FAILED for state in (*OPEN, "EXPIRED")},
    **{(state, "settled"): S.SUCCEEDED for state in (*OPEN, "EXPIRED")},
    ("SUCCEEDED", "10 go back"): S.PARTIALLY_REFUNDED,
    ("SUCCEEDED", "10 come back"): EXCEEDS,
    ("SUCCEEDED", "10 more are disputed"): S.DISPUTED,
    ("SUCCEEDED", "10 more are lost"): S.DISPUTE_LOST,
    ("SUCCEEDED", "80 are reinstated"): EXCEEDS,
    ("PARTIALLY_REFUNDED", "10 go back"): S.PARTIALLY_REFUNDED,
    ("PARTIALLY_REFUNDED", "10 come back"): S.SUCCEEDED,
    ("PARTIALLY_REFUNDED", "10 more are disputed"): S.DISPUTED,
    ("PARTIALLY_REFUNDED", "10 more are lost"): S.DISPUTE_LOST,
    ("PARTIALLY_REFUNDED", "80 are reinstated"): EXCEEDS,
    ("REFUNDED", "10 go back"): EXCEEDS,
    ("REFUNDED", "10 come back"): S.PARTIALLY_REFUNDED,
    ("REFUNDED", "10 more are disputed"): EXCEEDS,
    ("REFUNDED", "10 more are lost"): EXCEEDS,
    ("REFUNDED", "80 are reinstated"): EXCEEDS,
    ("DISPUTED", "10 go back"): S.DISPUTED,
    ("DISPUTED", "10 come back"): EXCEEDS,
    ("DISPUTED", "10 more are disputed"): S.DISPUTED,
    ("DISPUTED", "10 more are lost"): S.DISPUTE_LOST,
    ("DISPUTED", "what is disputed is lost"): S.DISPUTE_LOST,
    ("DISPUTED", "80 are reinstated"): S.DISPUTED,
    ("DISPUTE_LOST", "10 go back"): S.DISPUTE_LOST,
    ("DISPUTE_LOST", "10 come back"): S.DISPUTE_LOST,
    ("DISPUTE_LOST", "10 more are disputed"): S.DISPUTED,
    ("DISPUTE_LOST", "10 more are lost"): S.DISPUTE_LOST,
    ("DISPUTE_LOST", "what was lost is weighed again"): S.DISPUTED,
    ("DISPUTE_LOST", "80 are reinstated"): S.PARTIALLY_REFUNDED,
}
NO_NEWS = {("AWAITING_PAYMENT", "readied"), ("HELD", "held")}


def word(version: int, state: PaymentState, **more: object) -> PaymentWord:
    fields: dict = {"donation_id": DONATION, "charity_id": CHARITY, "payment_id": PAYMENT, "currency": "USD"}
    return PaymentWord(**fields | {"version": version, "state": state} | more)


def heard(words: Sequence[PaymentWord], start: Donation = PENDING) -> tuple[Donation, list[Step]]:
    """The donation after words, and every step on the way."""
    current, steps = start, []
    for item in words:
        current, more = follow(current, item, now=NOW, confirm_within=DAY)
        steps += more
    return current, steps


@pytest.mark.requirement("INT-2", "PAY-5", "PAY-6")
@pytest.mark.parametrize(("state", "fact"), list(product(STATES, FACTS)))
def test_every_fact_in_every_state_does_what_the_table_says(state: str, fact: str) -> None:
    before, expected = STATES[state], TABLE.get((state, fact))
    if expected is EXCEEDS:
        with pytest.raises(ExceedsRemaining):
            apply(before, FACTS[fact], now=NOW, confirm_within=DAY)
        return

    after = apply(before, FACTS[fact], now=NOW, confirm_within=DAY)

    if expected is None or (state, fact) in NO_NEWS:
        assert after is before
        return
    assert (after.state, after.version) == (expected, before.version + 1)
    assert after.retryable == (fact == "declined")
    assert after.is_open == (after.next_attempt_time is not None)
    assert (after.tally.gross > 0) == (after.settle_time is not None)
    assert (after.hold_end_time is not None) == (fact == "held")


def test_states_of_payments_are_the_contracts() -> None:
    contract = {name.removeprefix("STATE_"): number for name, number in Payment.State.items() if number}
    assert {state.name: state.value for state in PaymentState} == contract


HISTORIES = {
    "paid": [word(2, PaymentState.REQUIRES_ACTION), word(4, PaymentState.SUCCEEDED, captured=100, closed=True)],
    "declined, then paid": [
        word(2, PaymentState.REQUIRES_ACTION),
        word(3, PaymentState.FAILED, failure_code="card_declined"),
        word(4, PaymentState.PROCESSING),
        word(5, PaymentState.SUCCEEDED, captured=100, closed=True),
        word(6, PaymentState.PARTIALLY_REFUNDED, captured=100, refunded=40, closed=True),
    ],
    "declined twice and given up": [
        word(2, PaymentState.REQUIRES_ACTION),
        word(3, PaymentState.FAILED, failure_code="card_declined"),
        word(4, PaymentState.FAILED, failure_code="expired_card"),
        word(5, PaymentState.CANCELED, failure_code="expired_card", closed=True),
    ],
    "taken for refused, but there": [
        word(1, PaymentState.CREATED),
        word(2, PaymentState.FAILED, failure_code="api_error", closed=True),
        word(3, PaymentState.REQUIRES_ACTION),
    ],
    "never confirmed": [
        word(1, PaymentState.CREATED),
        word(2, PaymentState.UNKNOWN),
        word(3, PaymentState.REQUIRES_ACTION),
        word(4, PaymentState.CANCELED, closed=True),
    ],
    "paid while it was called off": [
        word(2, PaymentState.REQUIRES_ACTION),
        word(3, PaymentState.CANCELED, closed=True),
        word(4, PaymentState.SUCCEEDED, captured=100, closed=True),
        word(5, PaymentState.REFUNDED, captured=100, refunded=100, closed=True),
    ],
}
ENDS = {
    "paid": S.SUCCEEDED,
    "declined, then paid": S.PARTIALLY_REFUNDED,
    "declined twice and given up": S.FAILED,
    "taken for refused, but there": S.AWAITING_PAYMENT,
    "never confirmed": S.EXPIRED,
    "paid while it was called off": S.REFUNDED,
}


def row(donation: Donation) -> Donation:
    """What must be the same after any order; how often it changed on the way may differ."""
    return replace(donation, version=0)


@pytest.mark.requirement("INT-2", "HKI-3")
@pytest.mark.parametrize("history", HISTORIES)
def test_any_order_of_words_with_repeats_ends_in_the_same_row(history: str) -> None:
    words = HISTORIES[history]
    expected, _ = heard(words)
    assert expected.state is ENDS[history]

    for order in permutations(words):
        assert row(heard(order)[0]) == row(expected)
        assert row(heard([item for item in order for _ in range(2)])[0]) == row(expected)
        assert row(heard([*order, *order])[0]) == row(expected)


@pytest.mark.requirement("INT-2", "TOT-6")
@given(st.data())
def test_each_figure_moves_in_steps_of_its_own_and_a_donation_begins_to_count_once(data: st.DataObject) -> None:
    words = HISTORIES[data.draw(st.sampled_from(sorted(HISTORIES)))]
    drawn = data.draw(st.lists(st.sampled_from(words), max_size=10))

    end, steps = heard(drawn)

    for step in steps:
        before, after = step.before, step.donation.tally
        grown = (after.gross - before.gross, after.refunded - before.refunded, after.disputed - before.disputed)
        assert sum(map(bool, grown)) <= 1
    assert sum(step.donation.tally.donations - step.before.donations for step in steps) == end.tally.donations <= 1
    assert [step.donation.version for step in steps] == list(range(2, len(steps) + 2))


@pytest.mark.parametrize("state", [PaymentState.CREATED, PaymentState.UNKNOWN])
def test_a_payment_that_the_provider_has_not_answered_leaves_nothing_to_confirm(state: PaymentState) -> None:
    donation, steps = heard([word(1, state)])
    assert (donation.state, donation.payment_id, steps) == (S.PENDING, PAYMENT, [])


def test_one_word_that_jumps_over_figures_is_announced_figure_by_figure() -> None:
    _, steps = heard([word(7, PaymentState.REFUNDED, captured=100, refunded=100)])

    assert [step.donation.state for step in steps] == [S.SUCCEEDED, S.REFUNDED]
    assert [step.before for step in steps] == [Tally(), PAID]


@pytest.mark.requirement("INT-2", "PAY-5", "PAY-6")
@pytest.mark.parametrize(
    "wrong",
    [
        word(3, PaymentState.SUCCEEDED, captured=99),
        word(3, PaymentState.SUCCEEDED, captured=101),
        word(3, PaymentState.SUCCEEDED, captured=100, refunded=101),
        word(3, PaymentState.SUCCEEDED, captured=100, refunded=-1),
        word(3, PaymentState.DISPUTED, captured=100, disputed=101),
        word(3, PaymentState.DISPUTED, captured=100, disputed=-1),
        word(3, PaymentState.DISPUTED, captured=100, refunded=50, disputed=51),
        word(3, PaymentState.REFUNDED, refunded=1),
        replace(word(3, PaymentState.SUCCEEDED, captured=100), currency="EUR"),
        replace(word(3, PaymentState.SUCCEEDED, captured=100), charity_id=UUID(int=5)),
        replace(word(3, PaymentState.SUCCEEDED, captured=100), payment_id=UUID(int=5)),
    ],
)
def test_what_contradicts_the_donation_is_refused_and_never_booked(wrong: PaymentWord) -> None:
    awaiting, _ = heard([word(2, PaymentState.REQUIRES_ACTION)])
    with pytest.raises(WordRefused):
        heard([wrong], awaiting)


def test_money_that_arrived_is_never_unsaid() -> None:
    paid, _ = heard([word(2, PaymentState.SUCCEEDED, captured=100)])
    with pytest.raises(WordRefused):
        heard([word(3, PaymentState.CANCELED, closed=True)], paid)
    assert heard([word(1, PaymentState.REQUIRES_ACTION)], paid) == (paid, [])


def test_a_recorded_donation_follows_no_payment() -> None:
    with pytest.raises(WordRefused):
        heard([word(2, PaymentState.REQUIRES_ACTION)], replace(PENDING, origin=Origin.RECORDED))


@pytest.mark.requirement("INT-7")
@pytest.mark.parametrize(
    ("state", "age_hours", "expected"),
    [
        ("PENDING", 0, Due.READY),
        ("PENDING", 1, Due.END),
        ("AWAITING_PAYMENT", 1, Due.OTHERS),
        ("AWAITING_PAYMENT", 24, Due.END),
        ("RETRYABLE", 23, Due.OTHERS),
        ("RETRYABLE", 24, Due.END),
        ("HELD", 24, Due.OTHERS),
        ("HELD", 24 * 7, Due.END),
    ],
)
def test_what_is_due_depends_on_state_and_age(state: str, age_hours: int, expected: Due) -> None:
    now = NOW + datetime.timedelta(hours=age_hours)
    assert due(STATES[state], now=now, confirm_within=DAY) is expected


@pytest.mark.requirement("INT-8")
def test_a_watcher_has_seen_everything_where_nothing_more_can_come_soon() -> None:
    final = {"FAILED", "EXPIRED", "SUCCEEDED", "REFUNDED", "DISPUTE_LOST"}
    assert {name for name, donation in STATES.items() if is_final(donation)} == final
