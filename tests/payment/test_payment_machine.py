"""Histories of one payment, drawn at random: donors, banks, dashboards and callers act, answers are lost, webhooks come in
any order, more than once or only at the end. In the end both sides say the same, and nobody was charged or repaid twice.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payment_svc.domain import reasons
from payment_svc.domain.advance import advance
from payment_svc.domain.answers import Answer, Refused, Seen, Unproven
from payment_svc.domain.asking import Step, absent_for_sure, must_look_up, next_step, open_call
from payment_svc.domain.facts import CallRefused, CallUnproven, CaptureAsked, Fact, IntentRefused, RefundAsked, Unwanted
from payment_svc.domain.payments import LEGAL, Attempt, AttemptKind, Command, IntentStatus, Payment, PaymentState
from payment_svc.ledger import moves
from tests.support.payment_facts import AMOUNT, NOW, payment
from tests.support.stripe_model import StripeModel

FAULTS = st.sampled_from(["", "", "answer_lost", "not_reached", "saved_failure", "saved_after"])
AMOUNTS = st.integers(1, AMOUNT.minor_units)


class History(RuleBasedStateMachine):
    """Our payment and Stripe's, and what is on its way between them."""

    @initialize(manual=st.booleans(), paid=st.integers(0, 3))
    def begin(self, manual: bool, paid: int) -> None:
        """Three histories of four begin with a payment that has been made: what comes after it is longer."""
        self.now = NOW
        self.stripe = StripeModel(AMOUNT, manual_capture=manual)
        self.ours: Payment = payment(manual_capture=manual)
        self.posted: dict[str, int] = {}
        if paid:
            self.ask()
            self.stripe.confirm(declined=False)

    # The world.

    @rule(declined=st.booleans())
    def confirm(self, declined: bool) -> None:
        self.stripe.confirm(declined=declined)

    @rule(amount=AMOUNTS)
    def refund_in_dashboard(self, amount: int) -> None:
        self.stripe.refund_in_dashboard(amount)

    @rule()
    def fail_refund(self) -> None:
        self.stripe.fail_refund()

    @rule(amount=AMOUNTS | st.just(AMOUNT.minor_units + 100))
    def open_dispute(self, amount: int) -> None:
        self.stripe.open_dispute(amount)

    @rule(won=st.booleans())
    def decide_dispute(self, won: bool) -> None:
        self.stripe.decide_dispute(won=won)

    @rule(seconds=st.sampled_from([1, 60, 700, 3600, 90_000]))
    def wait(self, seconds: int) -> None:
        self.now += datetime.timedelta(seconds=seconds)
        self.stripe.second += seconds

    # Callers.

    @rule(amount=AMOUNTS)
    def wish_refund(self, amount: int) -> None:
        # The database's constraint stands for the bound.
        if LEGAL[self.ours.state, Command.REFUND] and amount <= self.ours.refundable:
            self.learn(RefundAsked(uuid4(), amount, "a wish"))

    @rule(amount=AMOUNTS)
    def wish_capture(self, amount: int) -> None:
        if LEGAL[self.ours.state, Command.CAPTURE] and not open_call(self.ours, AttemptKind.CAPTURE_INTENT):
            self.learn(CaptureAsked(uuid4(), amount))

    @rule()
    def give_up(self) -> None:
        if LEGAL[self.ours.state, Command.ABANDON]:
            self.learn(Unwanted())

    # Webhooks, in any order, each any number of times.

    @precondition(lambda self: self.stripe.told)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        fact = data.draw(st.sampled_from(self.stripe.told))
        # A webhook about an intent that we do not know is parked.
        if self.ours.provider_id:
            self.learn(fact)

    # Our own asking.

    @rule(fault=FAULTS)
    def ask(self, fault: str = "") -> None:
        step = next_step(self.ours, now=self.now)
        if step is None:
            return
        asks = {
            Step.CREATE: self._create,
            Step.LOOK_UP: self._look_up,
            Step.CANCEL: self._cancel,
            Step.CAPTURE: self._capture,
            Step.CHECK: self._check,
            Step.REFUND: self._refund,
            Step.REVIEW: self._review,
        }
        asks[step](fault)

    def _create(self, fault: str) -> None:
        (call,) = self.ours.calls(AttemptKind.CREATE_INTENT)
        answer = self._call(call, fault, self.stripe.create)
        if isinstance(answer, Refused):
            self.learn(IntentRefused(answer.code))

    def _look_up(self, fault: str) -> None:
        (call,) = self.ours.calls(AttemptKind.CREATE_INTENT)
        found = self.stripe.find()
        if fault:
            return
        if found:
            self.learn(found)
        elif absent_for_sure(call, now=self.now):
            self.learn(IntentRefused("provider_error"))

    def _cancel(self, fault: str) -> None:
        (call,) = self.ours.calls(AttemptKind.CANCEL_INTENT)
        again = replace(call, refusals=call.calls)
        answer = self._call(again, fault, self.stripe.cancel)
        if isinstance(answer, Refused) and answer.intent:
            self.learn(answer.intent)

    def _capture(self, fault: str) -> None:
        call = open_call(self.ours, AttemptKind.CAPTURE_INTENT)
        assert call
        if must_look_up(call, now=self.now):
            held = self.stripe.status is IntentStatus.REQUIRES_CAPTURE
            self.learn(self.stripe.intent())
            if held and absent_for_sure(call, now=self.now):
                self.learn(CallRefused(self._id(call), call.refusals + 1, "provider_error", again=True, time=self.now))
            return
        answer = self._call(call, fault, lambda key: self.stripe.capture(key, call.amount))
        self._refused(call, answer)

    def _check(self, fault: str) -> None:
        if not fault:
            self.learn(self.stripe.intent())

    def _refund(self, fault: str) -> None:
        call = open_call(self.ours, AttemptKind.REFUND)
        assert call
        answer = self._call(call, fault, lambda key: self.stripe.refund(key, call.amount, attempt_id=str(call.id)))
        self._refused(call, answer)

    def _review(self, fault: str) -> None:
        if fault:
            return
        call = open_call(self.ours, AttemptKind.REFUND)
        listed = self.stripe.returns()
        self.learn(listed)
        ours = {refund.attempt_id for refund in listed.refunds}
        if call and must_look_up(call, now=self.now) and str(call.id) not in ours and absent_for_sure(call, now=self.now):
            self.learn(CallRefused(self._id(call), call.refusals + 1, "provider_error", again=True, time=self.now))

    def _call(self, call: Attempt, fault: str, do: Any) -> Answer | None:
        """Makes the call, and loses its answer where the fault says so; the answer where it arrived and is no fact."""
        key = f"{call.id}-{call.refusals}"
        self._count(call)
        if fault == "not_reached":
            return None
        if fault == "saved_failure":
            self.stripe.save_failure(key, Unproven(saved=True))
        answer: Answer = do(key)
        if fault == "saved_after":
            answer = Unproven(saved=True)
        if fault == "answer_lost" or isinstance(answer, Unproven):
            saved = isinstance(answer, Unproven) and answer.saved
            self.learn(CallUnproven(call.kind, self.now, saved=saved, attempt_id=call.id))
            return None
        if isinstance(answer, Seen):
            self.learn(answer.fact)
            return None
        return answer

    def _refused(self, call: Attempt, answer: Answer | None) -> None:
        if isinstance(answer, Refused):
            if answer.intent:
                self.learn(answer.intent)
            again = reasons.of_call(answer.code).cure is reasons.Cure.RETRY
            self.learn(CallRefused(self._id(call), call.refusals + 1, answer.code, again=again, time=self.now))

    def _count(self, call: Attempt) -> None:
        def counted(attempt: Attempt) -> Attempt:
            if attempt.id != call.id:
                return attempt
            return replace(attempt, calls=attempt.calls + 1, last_call_time=self.now)

        self.ours = replace(self.ours, attempts=tuple(map(counted, self.ours.attempts)))

    @staticmethod
    def _id(call: Attempt) -> Any:
        return call.id

    def learn(self, fact: Fact) -> None:
        """Applies a fact as the store does: what is new gets an id, and what moves is posted."""
        before, after = self.ours, advance(self.ours, fact)
        for kind, minor_units in moves(before, after):
            self.posted[kind] = self.posted.get(kind, 0) + minor_units
        stored = [
            replace(attempt, id=uuid4(), create_time=self.now) if attempt.id is None else attempt
            for attempt in after.attempts
        ]
        self.ours = replace(after, attempts=tuple(stored))

    # What is always true.

    @invariant()
    def nobody_is_charged_or_repaid_twice(self) -> None:
        if hasattr(self, "stripe"):
            wishes = [refund.attempt_id for refund in self.stripe.refunds.values() if refund.attempt_id]
            assert self.stripe.intents <= 1
            assert len(wishes) == len(set(wishes))

    @invariant()
    def figures_are_bounded_and_posted(self) -> None:
        if not hasattr(self, "ours"):
            return
        ours = self.ours
        assert 0 <= ours.refunded + ours.refunding + ours.disputed <= ours.captured <= AMOUNT.minor_units
        posted = lambda growing, falling: self.posted.get(growing, 0) - self.posted.get(falling, 0)  # noqa: E731
        assert posted("captured", "") == ours.captured
        assert posted("refunded", "refund_returned") == ours.refunded
        assert posted("dispute_held", "dispute_returned") == ours.disputed
        assert posted("dispute_lost", "dispute_regained") == ours.lost
        assert posted("excess_taken", "excess_returned") == ours.excess

    def teardown(self) -> None:
        """Every webhook arrives in the end, in the wrong order; what is open is asked; then both sides agree."""
        if not hasattr(self, "stripe"):
            return
        for _ in range(60):
            for fact in reversed(self.stripe.told):
                if self.ours.provider_id:
                    self.learn(fact)
            if next_step(self.ours, now=self.now) in (None, Step.CHECK):
                break
            self.wait(700)
            self.ask()
        ours, stripe = self.ours, self.stripe
        assert next_step(ours, now=self.now) in (None, Step.CHECK)
        assert (ours.captured, ours.refunded) == (stripe.captured, stripe.refunded)
        assert ours.disputed + ours.excess == stripe.disputed
        assert ours.refunding == 0
        assert (ours.state is PaymentState.CANCELED) == (stripe.status is IntentStatus.CANCELED)


History.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestHistory = pytest.mark.requirement("PAY-2", "PAY-3", "PAY-4", "PAY-5", "PAY-6", "HKI-3", "LED-2")(History.TestCase)
