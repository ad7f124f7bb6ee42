"""Refunds, disputes and their undoing: any history of a payment, in any order, ends in the same figures, one at a time."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from giving.common.v1.event_pb2 import Event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator_svc import convert as aggregator
from donation_svc.convert import step_message
from donation_svc.domain.donations import Donation, DonationState, Tally
from donation_svc.domain.payments import HOLD_WITHIN, PaymentState, PaymentWord, Step, WordRefused, follow
from donation_svc.service.settlement import step_event
from mesh.rpc.guards import check
from tests.donation.test_following import DAY, NOW, PENDING, heard, row, word

P, S = PaymentState, DonationState
HOLDING = replace(PENDING, manual_capture=True)
SILENT = (P.CREATED, P.UNKNOWN)
# A busy machine fails nothing.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ASKING = (P.REQUIRES_ACTION, P.PROCESSING, P.FAILED, P.AUTHORIZED)


def returned(version: int, *, refunded: int = 0, disputed: int = 0, state: PaymentState | None = None) -> PaymentWord:
    """A word about a payment of 100 that was taken."""
    if state is None:
        state = P.DISPUTED if disputed else P.PARTIALLY_REFUNDED if refunded else P.SUCCEEDED
    return word(version, state, captured=100, refunded=refunded, disputed=disputed, closed=True)


@st.composite
def histories(draw: st.DrawFn) -> list[PaymentWord]:
    """What a payment service may come to say of one payment, oldest first."""
    said = [{"state": state} for state in (P.CREATED, *draw(st.lists(st.sampled_from(SILENT), max_size=2)))]
    code = ""
    if draw(st.booleans()):
        code = "api_error"
        said.append({"state": P.FAILED, "failure_code": code, "closed": True})
    for state in draw(st.lists(st.sampled_from(ASKING), max_size=4)):
        code = draw(st.sampled_from(["card_declined", "expired_card"])) if state is P.FAILED else code
        said.append({"state": state, "failure_code": code})
    if draw(st.booleans()):
        said.append({"state": P.CANCELED, "failure_code": code, "closed": True})
    if draw(st.booleans()):
        said += draw(takings())
    return [word(version, **fields) for version, fields in enumerate(said, start=1)]


@st.composite
def takings(draw: st.DrawFn) -> list[dict]:
    """The money is taken, all or part, and goes back and comes back."""
    captured = draw(st.sampled_from([100, 100, 60]))
    said = [{"state": P.SUCCEEDED, "captured": captured, "closed": True}]
    for _ in range(draw(st.integers(0, 6))):
        refunded = draw(st.integers(0, captured))
        disputed = draw(st.integers(0, captured - refunded))
        state = draw(st.sampled_from([P.DISPUTED, P.DISPUTE_WON, P.DISPUTE_LOST, P.PARTIALLY_REFUNDED]))
        figures = {"captured": captured, "refunded": refunded, "disputed": disputed}
        said.append({"state": state, "closed": True, **figures})
    return said


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[PaymentWord], list[PaymentWord]]:
    """A history, and what arrives of it: in any order, again and again, only the newest word for certain."""
    history = draw(histories())
    arrived = draw(st.lists(st.sampled_from(history), max_size=2 * len(history)))
    arrived.insert(draw(st.integers(0, len(arrived))), history[-1])
    return history, arrived


@pytest.mark.requirement("PAY-5", "PAY-6", "PAY-7", "HKI-3")
@UNTIMED
@given(deliveries())
def test_any_order_and_repetition_of_any_history_ends_in_the_same_row(
    delivery: tuple[list[PaymentWord], list[PaymentWord]],
) -> None:
    history, arrived = delivery
    assert row(heard(arrived, HOLDING)[0]) == row(heard(history, HOLDING)[0])


@pytest.mark.requirement("PAY-5", "PAY-6", "TOT-6")
@UNTIMED
@given(deliveries())
def test_each_step_moves_one_figure_and_never_has_more_gone_than_arrived(
    delivery: tuple[list[PaymentWord], list[PaymentWord]],
) -> None:
    end, steps = heard(delivery[1], HOLDING)

    assert [step.donation.version for step in steps] == list(range(2, len(steps) + 2))
    for step in steps:
        before, after = step.before, step.donation.tally
        moved = (after.gross - before.gross, after.refunded - before.refunded, after.disputed - before.disputed)
        assert sum(map(bool, moved)) <= 1
        assert min(after.refunded, after.disputed, after.remaining) >= 0
        assert announced(step) == figure_of(moved) or not any(moved)
        check(step_message(step))
    assert sum(step.donation.tally.donations - step.before.donations for step in steps) == end.tally.donations <= 1


def announced(step: Step) -> str:
    return type(step_message(step)).__name__


def figure_of(moved: Sequence[int]) -> str:
    """The event that a figure's move is announced by."""
    names = ("DonationSucceeded", "DonationRefunded", "DonationDisputeChanged")
    return next((name for name, growth in zip(names, moved, strict=True) if growth), "")


@pytest.mark.requirement("TOT-6")
@UNTIMED
@given(deliveries(), st.randoms(use_true_random=False))
def test_the_sum_of_the_events_in_any_order_is_what_the_donation_counts_for(
    delivery: tuple[list[PaymentWord], list[PaymentWord]], draw: random.Random
) -> None:
    end, steps = heard(delivery[1], HOLDING)
    events = [Event.FromString(step_event(step, None).payload) for step in steps]
    draw.shuffle(events)

    deltas = [aggregator.delta(event, change_of(event, steps)) for event in events]

    sums = [sum(getattr(delta, name) for delta in deltas) for name in ("gross", "refunded", "disputed", "donations")]
    assert Tally(*sums) == end.tally


def change_of(event: Event, steps: Sequence[Step]):
    """What the event says of the donation."""
    message = type(step_message(next(step for step in steps if step.donation.version == event.version)))
    return message.FromString(event.data).change


def states_after(words: Sequence[PaymentWord]) -> list[tuple[DonationState, str]]:
    """Every step as (state, event)."""
    return [(step.donation.state, announced(step)) for step in heard(words, PENDING)[1]]


@pytest.mark.requirement("PAY-6")
def test_a_dispute_that_is_won_gives_back_and_one_that_is_lost_keeps() -> None:
    opened = [returned(1), returned(2, disputed=100)]
    begun = [(S.SUCCEEDED, "DonationSucceeded"), (S.DISPUTED, "DonationDisputeChanged")]

    won = [*opened, returned(3, state=P.DISPUTE_WON)]
    assert states_after(won) == [*begun, (S.SUCCEEDED, "DonationDisputeChanged")]
    lost = [*opened, returned(3, disputed=100, state=P.DISPUTE_LOST)]
    assert states_after(lost) == [*begun, (S.DISPUTE_LOST, "DonationDisputeChanged")]


@pytest.mark.requirement("PAY-6")
def test_a_verdict_that_moves_no_figure_is_announced_all_the_same() -> None:
    disputed, _ = heard([returned(1, disputed=40)])
    lost, steps = heard([returned(2, disputed=40, state=P.DISPUTE_LOST)], disputed)

    assert [(step.before, announced(step)) for step in steps] == [(disputed.tally, "DonationDisputeChanged")]
    assert (lost.state, lost.tally, lost.version) == (S.DISPUTE_LOST, disputed.tally, disputed.version + 1)


@pytest.mark.requirement("PAY-6")
def test_a_question_of_the_bank_that_moves_no_money_is_no_news() -> None:
    paid, _ = heard([returned(1)])
    assert heard([returned(2, state=P.DISPUTED)], paid)[1] == []


@pytest.mark.requirement("PAY-5")
def test_a_refund_that_the_bank_could_not_take_counts_again() -> None:
    gone = [returned(1), returned(2, refunded=100), returned(3, refunded=30), returned(4)]
    refunds = [
        (S.REFUNDED, "DonationRefunded"),
        (S.PARTIALLY_REFUNDED, "DonationRefunded"),
        (S.SUCCEEDED, "DonationRefunded"),
    ]
    assert states_after(gone) == [(S.SUCCEEDED, "DonationSucceeded"), *refunds]


@pytest.mark.requirement("PAY-5", "PAY-6")
@pytest.mark.parametrize(
    ("before", "after", "between"),
    [
        ({"disputed": 100}, {"refunded": 100}, Tally(gross=100, donations=1)),
        ({"refunded": 100}, {"disputed": 100}, Tally(gross=100, donations=1)),
        ({"refunded": 60, "disputed": 40}, {"refunded": 40, "disputed": 60}, Tally(100, 40, 40, 1)),
        ({"refunded": 40, "disputed": 60}, {"refunded": 60, "disputed": 40}, Tally(100, 40, 40, 1)),
    ],
)
def test_where_one_figure_makes_room_for_another_it_moves_first(
    before: dict[str, int], after: dict[str, int], between: Tally
) -> None:
    start, _ = heard([returned(1, **before)])
    _, steps = heard([returned(2, **after)], start)

    assert [step.before for step in steps] == [start.tally, between]


@pytest.mark.requirement("PAY-7")
@pytest.mark.parametrize("captured", [1, 60, 100])
def test_what_is_captured_by_hand_is_what_arrived(captured: int) -> None:
    donation, steps = heard([word(1, P.AUTHORIZED), word(2, P.SUCCEEDED, captured=captured)], HOLDING)

    assert (donation.state, donation.tally) == (S.SUCCEEDED, Tally(gross=captured, donations=1))
    assert [announced(step) for step in steps] == ["DonationAwaitingPayment", "DonationSucceeded"]


@pytest.mark.requirement("PAY-7")
def test_another_amount_than_was_captured_first_is_refused() -> None:
    taken, _ = heard([word(1, P.SUCCEEDED, captured=60)], HOLDING)
    for captured in (0, 59, 61, 100):
        with pytest.raises(WordRefused):
            heard([word(2, P.SUCCEEDED, captured=captured)], taken)


@pytest.mark.requirement("PAY-7", "INT-7")
def test_what_is_held_waits_a_week_from_the_moment_that_it_is_held() -> None:
    late = NOW + datetime.timedelta(hours=20)
    awaiting, _ = heard([word(1, P.REQUIRES_ACTION)], HOLDING)
    held = heard_at(late, word(2, P.AUTHORIZED), awaiting)

    assert (held.state, held.waiting_for) == (S.AWAITING_PAYMENT, "held on the card until it is captured")
    assert held.next_attempt_time == held.hold_end_time == late + HOLD_WITHIN
    assert (held.is_open, held.is_confirmable) == (True, False)
    again = heard_at(late + HOLD_WITHIN, word(3, P.AUTHORIZED), held)
    assert replace(again, payment_version=2) == held


def heard_at(now: datetime.datetime, item: PaymentWord, start: Donation) -> Donation:
    return follow(start, item, now=now, confirm_within=DAY)[0]


@pytest.mark.requirement("PAY-7")
def test_a_hold_that_is_let_go_of_ends_the_donation() -> None:
    gone, steps = heard([word(2, P.AUTHORIZED), word(3, P.CANCELED, closed=True)], HOLDING)

    assert (gone.state, gone.hold_end_time, gone.next_attempt_time, gone.waiting_for) == (S.EXPIRED, None, None, "")
    assert [announced(step) for step in steps] == ["DonationAwaitingPayment", "DonationExpired"]
