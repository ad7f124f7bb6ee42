"""Stripe's side of one payment as a model: what it does with our calls and with donors, banks and dashboards, and what it
tells, as facts. It keeps answers under idempotency keys, forgets them after a day, and never takes or gives back too much.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mesh.money import Money
from payment_svc.domain.answers import Answer, Refused, Seen
from payment_svc.domain.facts import ChargeSeen, DisputeSeen, Fact, IntentSeen, RefundSeen, ReturnsListed
from payment_svc.domain.payments import DisputeState, IntentStatus, Outcome, Progress, ReturnsSaid
from tests.support.payment_facts import DONATION

KEY_LIFE_S = 24 * 3600


@dataclass
class StripeModel:
    """`told`: every fact that it announced, oldest first."""

    amount: Money
    manual_capture: bool = False
    second: int = 1
    status: IntentStatus | None = None
    captured: int = 0
    intents: int = 0
    charges: list[ChargeSeen] = field(default_factory=list)
    refunds: dict[str, RefundSeen] = field(default_factory=dict)
    disputes: dict[str, DisputeSeen] = field(default_factory=dict)
    told: list[Fact] = field(default_factory=list)
    _keys: dict[str, tuple[int, Answer]] = field(default_factory=dict)
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    # Calls of ours.

    def create(self, key: str) -> Answer:
        return self._keyed(key, self._create)

    def capture(self, key: str, amount: int) -> Answer:
        return self._keyed(key, lambda: self._capture(amount))

    def cancel(self, key: str) -> Answer:
        return self._keyed(key, self._cancel)

    def refund(self, key: str, amount: int, *, attempt_id: str) -> Answer:
        return self._keyed(key, lambda: self._refund(amount, attempt_id=attempt_id))

    def find(self) -> IntentSeen | None:
        return self.intent() if self.status else None

    def returns(self) -> ReturnsListed:
        return ReturnsListed(self.second, tuple(self.refunds.values()), tuple(self.disputes.values()))

    def save_failure(self, key: str, answer: Answer) -> None:
        """The same failure for this key from now on."""
        self._keys.setdefault(key, (self.second, answer))

    # What others do.

    def confirm(self, *, declined: bool) -> None:
        """The donor pays, or tries to."""
        if self.status not in (IntentStatus.REQUIRES_PAYMENT_METHOD, IntentStatus.DECLINED):
            return
        outcome = Outcome.REFUSED if declined else Outcome.SUCCEEDED
        code = "insufficient_funds" if declined else ""
        taken = 0 if declined or self.manual_capture else self.amount.minor_units
        self.charges.append(ChargeSeen(f"ch_{next(self._ids)}", self.amount, outcome, taken, code, self.second))
        self.captured = taken
        won = IntentStatus.REQUIRES_CAPTURE if self.manual_capture else IntentStatus.SUCCEEDED
        self._become(IntentStatus.DECLINED if declined else won)
        self.told.append(self._charge())

    def refund_in_dashboard(self, amount: int) -> None:
        self._refund(amount, attempt_id="")

    def fail_refund(self) -> None:
        """A bank sends the oldest refund back."""
        for refund_id, refund in self.refunds.items():
            if refund.outcome is not Outcome.REFUSED:
                self.refunds[refund_id] = replace(refund, outcome=Outcome.REFUSED, code="lost_or_stolen_card")
                self.told.append(self.refunds[refund_id])
                return

    def open_dispute(self, amount: int) -> None:
        """A bank may take more than is left."""
        if self.captured and not self.disputes:
            self._dispute(DisputeSeen("dp_1", self._money(amount), DisputeState.OPEN, 1, 0, "fraudulent"))

    def decide_dispute(self, *, won: bool) -> None:
        for dispute in list(self.disputes.values()):
            if dispute.state is DisputeState.OPEN:
                state = DisputeState.WON if won else DisputeState.LOST
                self._dispute(replace(dispute, state=state, reinstatements=int(won)))

    # What it is like.

    @property
    def refunded(self) -> int:
        return sum(refund.amount.minor_units for refund in self.refunds.values() if refund.outcome is not Outcome.REFUSED)

    @property
    def disputed(self) -> int:
        return sum(d.amount.minor_units for d in self.disputes.values() if d.withdrawals > d.reinstatements)

    @property
    def left(self) -> int:
        return self.captured - self.refunded - self.disputed

    def intent(self) -> IntentSeen:
        """The intent with its newest charge, as an answer or an event shows it."""
        if self.status is None:
            raise LookupError("no intent")
        charge = self._charge() if self.charges else None
        code = self.charges[-1].code if self.status is IntentStatus.DECLINED else ""
        progress = Progress(self.second, self.status, code)
        return IntentSeen("pi_1", self.amount, progress, self.captured, str(DONATION), "pi_1_secret_x", charge)

    def _keyed(self, key: str, do: Callable[[], Answer]) -> Answer:
        known = self._keys.get(key)
        if known and self.second - known[0] < KEY_LIFE_S:
            return known[1]
        answer = do()
        self._keys[key] = (self.second, answer)
        return answer

    def _create(self) -> Answer:
        self.intents += 1
        self._become(IntentStatus.REQUIRES_PAYMENT_METHOD)
        return Seen(self.intent())

    def _capture(self, amount: int) -> Answer:
        if self.status is not IntentStatus.REQUIRES_CAPTURE:
            return Refused("payment_intent_unexpected_state", self.intent())
        self.captured = amount
        self.charges[-1] = replace(self.charges[-1], captured=amount)
        self._become(IntentStatus.SUCCEEDED)
        return Seen(self.intent())

    def _cancel(self) -> Answer:
        if self.status in (IntentStatus.SUCCEEDED, IntentStatus.CANCELED):
            return Refused("payment_intent_unexpected_state", self.intent())
        self._become(IntentStatus.CANCELED)
        return Seen(self.intent())

    def _refund(self, amount: int, *, attempt_id: str) -> Answer:
        if self.disputed:
            return Refused("charge_disputed")
        if not 0 < amount <= self.left:
            return Refused("amount_too_large")
        refund_id = f"re_{next(self._ids)}"
        made = RefundSeen(refund_id, self._money(amount), Outcome.SUCCEEDED, self.second, attempt_id)
        self.refunds[refund_id] = made
        self.told += [made, self._charge()]
        return Seen(made)

    def _become(self, status: IntentStatus) -> None:
        self.status = status
        self.told.append(replace(self.intent(), charge=None))

    def _dispute(self, dispute: DisputeSeen) -> None:
        self.disputes[dispute.dispute_id] = dispute
        self.told.append(dispute)

    def _charge(self) -> ChargeSeen:
        said = ReturnsSaid(self.second, self.refunded, bool(self.disputes))
        return replace(self.charges[-1], said=said)

    def _money(self, minor_units: int) -> Money:
        return Money(minor_units, self.amount.currency)
