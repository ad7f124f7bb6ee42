"""The circuit breaker's rules: every state and fact, every order of tries, probes, clocks and operators."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from payment_svc.domain.breaker import (
    DURING_PROBE,
    FAILURES_MAX,
    FAILURES_WITHIN,
    PROBE_EVERY,
    WHILE_HELD,
    Breaker,
    BreakerState,
    Permit,
    TryOutcome,
    come_again,
    enter,
    hold,
    leave,
    permit,
    recent_failures,
    release,
    settle,
)

pytestmark = pytest.mark.requirement("PAY-8")
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
CLOSED, OPEN, HALF_OPEN = BreakerState
ANSWERED, FAILED, UNTOLD = TryOutcome


def failing(times: int, *, start: Breaker | None = None, every: datetime.timedelta = SECOND) -> Breaker:
    """So many tries failed, the last of them now."""
    breaker = start or Breaker()
    for left in reversed(range(times)):
        time = NOW - left * every
        breaker, given = permit(breaker, now=time)
        assert given
        breaker = settle(breaker, given, FAILED, now=time)
    return breaker


def let_in(breaker: Breaker) -> Breaker:
    entered = enter(breaker, now=NOW)
    assert entered
    return entered


TIRED = failing(FAILURES_MAX - 1)
WAITING = failing(FAILURES_MAX)
DUE = replace(WAITING, paused_at=NOW - PROBE_EVERY)
EXPECTING = let_in(DUE)
PROBING = permit(DUE, now=NOW)[0]
STATES = {
    "closed": Breaker(),
    "closed, one failure short": TIRED,
    "open": WAITING,
    "open, probe due": DUE,
    "open, work let in": EXPECTING,
    "half open": PROBING,
    "held": hold(Breaker()),
    "held while open": hold(DUE),
    "held while work was let in": hold(EXPECTING),
    "held while probing": hold(PROBING),
}


def told(outcome: TryOutcome, *, stale: bool = False) -> Callable[[Breaker], Breaker]:
    """A try of this era or of the one before ends."""
    return lambda breaker: settle(breaker, Permit(breaker.era - stale), outcome, now=NOW)


FACTS: dict[str, Callable[[Breaker], Breaker]] = {
    "answered": told(ANSWERED),
    "failed": told(FAILED),
    "untold": told(UNTOLD),
    "a late answer": told(ANSWERED, stale=True),
    "a late failure": told(FAILED, stale=True),
    "held": hold,
    "released": release,
    "left": leave,
}
# state → whether work is let in, whether a try may be sent, the state after each of FACTS. None: it cannot happen, no try of
# its era is under way while it waits.
HELD = (False, False, None, None, None, OPEN, OPEN, OPEN, CLOSED, OPEN)
TABLE: dict[str, tuple[bool | BreakerState | None, ...]] = {
    "closed": (True, True, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, OPEN, CLOSED, CLOSED),
    "closed, one failure short": (True, True, CLOSED, OPEN, CLOSED, CLOSED, CLOSED, OPEN, CLOSED, CLOSED),
    "open": (False, False, None, None, None, OPEN, OPEN, OPEN, CLOSED, OPEN),
    "open, probe due": (True, True, None, None, None, OPEN, OPEN, OPEN, CLOSED, OPEN),
    "open, work let in": (False, True, None, None, None, OPEN, OPEN, OPEN, CLOSED, OPEN),
    "half open": (False, False, CLOSED, OPEN, OPEN, HALF_OPEN, HALF_OPEN, OPEN, CLOSED, HALF_OPEN),
    "held": HELD,
    "held while open": HELD,
    "held while work was let in": HELD,
    "held while probing": HELD,
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_lets_in_what_it_may(state: str) -> None:
    breaker, (works, tries, *_) = STATES[state], TABLE[state]
    assert (enter(breaker, now=NOW) is not None, permit(breaker, now=NOW)[1] is not None) == (works, tries)


PAIRS = [
    (state, fact, after)
    for state, (_, _, *row) in TABLE.items()
    for fact, after in zip(FACTS, row, strict=True)
    if after is not None
]


@pytest.mark.parametrize(("state", "fact", "after"), PAIRS)
def test_each_fact_in_each_state_leads_where_the_table_says(state: str, fact: str, after: BreakerState) -> None:
    assert FACTS[fact](STATES[state]).state is after


def test_failures_that_are_further_apart_than_ten_seconds_do_not_open_it() -> None:
    assert failing(20, every=FAILURES_WITHIN / (FAILURES_MAX - 1)).closed
    assert not failing(FAILURES_MAX, every=FAILURES_WITHIN / FAILURES_MAX).closed


def test_answers_between_failures_do_not_hide_them() -> None:
    breaker = failing(FAILURES_MAX - 1)
    breaker = settle(breaker, Permit(breaker.era), ANSWERED, now=NOW)
    assert not failing(1, start=breaker).closed


def test_calls_that_were_under_way_when_it_opened_neither_close_nor_prolong_it() -> None:
    breaker, late = permit(failing(FAILURES_MAX - 1), now=NOW)
    assert late
    opened = failing(1, start=breaker)
    for outcome in TryOutcome:
        assert settle(opened, late, outcome, now=NOW + SECOND) == opened
    closed = release(opened)
    assert settle(closed, late, FAILED, now=NOW + SECOND) == closed


def test_one_probe_at_a_time_and_the_next_five_seconds_after_it_failed() -> None:
    probing, given = permit(DUE, now=NOW)
    assert given
    assert permit(probing, now=NOW + 60 * SECOND)[1] is None
    assert enter(probing, now=NOW + 60 * SECOND) is None
    failed = settle(probing, given, FAILED, now=NOW + 8 * SECOND)
    assert failed.next_probe_time == NOW + 13 * SECOND
    assert permit(failed, now=NOW + 12 * SECOND)[1] is None
    assert permit(failed, now=NOW + 13 * SECOND)[1] is not None


def test_work_that_was_let_in_and_sends_nothing_gives_its_place_up() -> None:
    assert enter(EXPECTING, now=NOW + 4 * SECOND) is None
    assert enter(EXPECTING, now=NOW + 5 * SECOND) is not None
    assert enter(leave(EXPECTING), now=NOW) is not None


def test_a_clock_that_steps_back_prolongs_no_wait() -> None:
    back = NOW - datetime.timedelta(minutes=10)
    assert permit(WAITING, now=back)[1] is not None
    assert enter(EXPECTING, now=back) is not None
    assert recent_failures(TIRED, now=back) == ()


def test_whoever_is_refused_is_told_when_to_come_again() -> None:
    assert come_again(WAITING, now=NOW) == PROBE_EVERY
    assert come_again(WAITING, now=NOW + 3 * SECOND) == 2 * SECOND
    assert come_again(DUE, now=NOW) == DURING_PROBE
    assert come_again(EXPECTING, now=NOW) == DURING_PROBE
    assert come_again(PROBING, now=NOW) == DURING_PROBE
    assert come_again(hold(WAITING), now=NOW) == WHILE_HELD
    assert come_again(WAITING, now=NOW - datetime.timedelta(minutes=10)) == PROBE_EVERY


def test_the_next_probe_has_a_time_only_where_one_is_waited_for() -> None:
    times = {name: breaker.next_probe_time for name, breaker in STATES.items() if breaker.next_probe_time}
    assert times == {"open": NOW + PROBE_EVERY, "open, probe due": NOW, "open, work let in": NOW}


class Calls(RuleBasedStateMachine):
    """Calls come, end in any order and at any time, while the clock jumps and an operator interferes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.breaker = Breaker()
        self.under_way: list[tuple[Permit, bool]] = []
        self.failures: list[datetime.datetime] = []

    @rule(seconds=st.sampled_from((0.1, 1, 2, 5, 10, -600)))
    def time_passes(self, seconds: float) -> None:
        self.now += datetime.timedelta(seconds=seconds)

    @rule()
    def work_comes(self) -> None:
        entered = enter(self.breaker, now=self.now)
        assert entered is None or not self.breaker.held
        self.breaker = entered or self.breaker

    @rule()
    def work_leaves(self) -> None:
        self.breaker = leave(self.breaker)

    @rule()
    def a_call_is_tried(self) -> None:
        was_closed = self.breaker.closed
        self.breaker, given = permit(self.breaker, now=self.now)
        if given:
            assert not self.breaker.held
            self.under_way.append((given, not was_closed))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(TryOutcome))
    def a_call_ends(self, data: st.DataObject, outcome: TryOutcome) -> None:
        given, is_probe = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        before, counts = self.breaker, given.era == self.breaker.era
        self.breaker = settle(before, given, outcome, now=self.now)
        if not counts:
            assert self.breaker == before
            return
        if outcome is FAILED:
            self.failures.append(self.now)
        if before.state is HALF_OPEN:
            assert is_probe
            assert self.breaker.closed == (outcome is ANSWERED)
            self.failures = [] if self.breaker.closed else self.failures
        elif not self.breaker.closed:
            recent = [time for time in self.failures if self.now - FAILURES_WITHIN < time <= self.now]
            assert len(recent) >= FAILURES_MAX

    @rule(held=st.booleans())
    def an_operator_decides(self, held: bool) -> None:
        self.breaker = (hold if held else release)(self.breaker)
        self.failures = self.failures if held else []

    @invariant()
    def one_probe_at_most_is_under_way(self) -> None:
        probes = [given for given, is_probe in self.under_way if is_probe and given.era == self.breaker.era]
        assert len(probes) == (self.breaker.state is HALF_OPEN)

    @invariant()
    def little_is_remembered(self) -> None:
        assert len(self.breaker.failures) <= FAILURES_MAX

    @invariant()
    def it_closes_again_once_the_provider_answers(self) -> None:
        if self.breaker.closed or self.breaker.held or self.breaker.state is HALF_OPEN:
            return
        probing, given = permit(self.breaker, now=self.now + PROBE_EVERY)
        assert given
        assert settle(probing, given, ANSWERED, now=self.now + PROBE_EVERY).closed


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=50)
