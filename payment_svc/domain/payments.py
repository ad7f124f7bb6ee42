"""Payments as facts: what the provider told us, in whatever order it told it.

A payment's facts only grow: amounts by maximum, calling-off by once, the intent's progress by the newest second, charges,
refunds and disputes by their ids, each of which moves one way only. So any order and any repetition of the same facts gives
the same payment, and its state is computed from them, never kept beside them as something that could disagree. Amounts are
minor units.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from mesh.money import Money


class PaymentState(enum.IntEnum):
    """Numbers of the contract."""

    CREATED = 1
    PROCESSING = 2
    REQUIRES_ACTION = 3
    AUTHORIZED = 4
    SUCCEEDED = 5
    FAILED = 6
    CANCELED = 7
    UNKNOWN = 8
    PARTIALLY_REFUNDED = 9
    REFUNDED = 10
    DISPUTED = 11
    DISPUTE_WON = 12
    DISPUTE_LOST = 13


class AttemptKind(enum.IntEnum):
    """Numbers of the contract."""

    CREATE_INTENT = 1
    CHARGE = 2
    CANCEL_INTENT = 3
    CAPTURE_INTENT = 4
    REFUND = 5


class Outcome(enum.IntEnum):
    """Numbers of the contract."""

    PENDING = 1
    SUCCEEDED = 2
    REFUSED = 3
    UNKNOWN = 4


class IntentStatus(enum.IntEnum):
    """Where the provider's intent stands. Of two that were seen in the same second the greater one came later."""

    REQUIRES_PAYMENT_METHOD = 1
    REQUIRES_CONFIRMATION = 2
    REQUIRES_ACTION = 3
    PROCESSING = 4
    DECLINED = 5
    REQUIRES_CAPTURE = 6
    SUCCEEDED = 7
    CANCELED = 8


@dataclass(frozen=True, slots=True, order=True)
class Progress:
    """Where the intent stood in a second of the provider's clock; `code` says why it was declined."""

    second: int
    status: IntentStatus
    code: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of ours that changes something at the provider, or one charge or refund there, whoever made it.

    `id` is None until it is stored. `object_id` is the provider's id of a charge or refund, `amount` what a capture or
    refund moves, `second` when the provider made it. `calls` counts how often we asked, `refusals` how often the provider
    refused what may be asked again; each of them begins a new idempotency key, at `key_time`. `saved` says that the provider
    keeps a failure under the key and would repeat it; since `doubt_time` the outcome is unproven. `request_key`: whose wish
    it is.
    """

    id: UUID | None
    kind: AttemptKind
    outcome: Outcome
    object_id: str = ""
    code: str = ""
    captured: int = 0
    second: int = 0
    amount: int = 0
    reason: str = ""
    request_key: UUID | None = None
    calls: int = 0
    refusals: int = 0
    last_call_time: datetime.datetime | None = None
    saved: bool = False
    doubt_time: datetime.datetime | None = None
    key_time: datetime.datetime | None = None
    create_time: datetime.datetime | None = None
    end_time: datetime.datetime | None = None

    @property
    def open(self) -> bool:
        """A call whose outcome is not known."""
        return not self.object_id and self.outcome in (Outcome.PENDING, Outcome.UNKNOWN)

    @property
    def gone_back(self) -> int:
        """What a refund took from us: from the moment at which the provider shows it until a bank sends it back."""
        counts = self.kind is AttemptKind.REFUND and self.object_id and self.outcome is not Outcome.REFUSED
        return self.amount if counts else 0


def in_order(attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The order in which attempts stand in a payment: by kind, oldest first."""
    return tuple(sorted(attempts, key=_place))


def _place(attempt: Attempt) -> tuple[int, bool, int, bool, str, str]:
    # A refund that the provider has not shown is the newest. Of two charges of one second that which succeeded came last.
    asked = attempt.kind is AttemptKind.REFUND and not attempt.object_id
    succeeded = attempt.outcome is Outcome.SUCCEEDED
    return attempt.kind, asked, attempt.second, succeeded, attempt.object_id, str(attempt.request_key)


class DisputeState(enum.IntEnum):
    """Numbers of the contract. A dispute moves from a smaller one to a greater one."""

    INQUIRY = 1
    INQUIRY_CLOSED = 2
    OPEN = 3
    LOST = 4
    WON = 5


@dataclass(frozen=True, slots=True)
class Dispute:
    """A donor's bank on its way to take money back; how often it took the money, and gave it back."""

    provider_id: str
    amount: int
    state: DisputeState
    withdrawals: int
    reinstatements: int
    reason: str
    create_time: datetime.datetime | None = None
    update_time: datetime.datetime | None = None

    @property
    def held(self) -> int:
        """What is with the bank."""
        taken = self.withdrawals > self.reinstatements
        kept = self.state is DisputeState.LOST and not self.reinstatements
        return self.amount if taken or kept else 0


@dataclass(frozen=True, slots=True, order=True)
class ReturnsSaid:
    """What the charge itself said in a second of the provider's clock: the sum of its refunds, whether it is disputed."""

    second: int
    refunded: int
    disputed: bool


@dataclass(frozen=True, slots=True)
class Payment:
    """The movement of money behind a donation."""

    id: UUID
    charity_id: UUID
    campaign_id: UUID
    donation_id: UUID
    amount: Money
    manual_capture: bool
    version: int
    create_time: datetime.datetime
    update_time: datetime.datetime
    attempts: tuple[Attempt, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    returns_said: ReturnsSaid | None = None
    captured: int = 0
    # What of it went back, is asked to go back, is with banks, and of that what they keep: see `domain.returns`.
    refunded: int = 0
    refunding: int = 0
    disputed: int = 0
    lost: int = 0
    provider_id: str = ""
    client_secret: str = ""
    progress: Progress | None = None
    canceled: bool = False
    refused: bool = False
    unwanted: bool = False
    # What the provider said that cannot be true of it; empty where its last answer could be.
    contradiction: str = ""
    # Somebody wants to know how it stands at the provider, although nothing of it is open.
    look_demanded: bool = False
    # Why an operator has to look; empty where nobody has to.
    manual_reason: str = ""
    next_attempt_time: datetime.datetime | None = None

    @property
    def state(self) -> PaymentState:
        """What the facts amount to."""
        if self.captured:
            return _state_of_money(self)
        if self.canceled:
            return PaymentState.CANCELED
        if self.refused:
            return PaymentState.FAILED
        if self.progress:
            return _STATE_OF[self.progress.status]
        return PaymentState.UNKNOWN if self._unproven() else PaymentState.CREATED

    @property
    def closed(self) -> bool:
        """No charge can follow any more."""
        return self.captured > 0 or self.canceled or self.refused

    @property
    def failure_code(self) -> str:
        """Why the last charge was declined, or why the provider would not have the intent; empty where nothing failed."""
        if self.captured:
            return ""
        if self.refused:
            return next((call.code for call in self.calls(AttemptKind.CREATE_INTENT)), "")
        declined = [Progress(charge.second, IntentStatus.DECLINED, charge.code) for charge in self.declines()]
        if self.progress and self.progress.status is IntentStatus.DECLINED:
            declined.append(self.progress)
        return max(declined).code if declined else ""

    @property
    def secret_to_confirm(self) -> str:
        """What the donor may confirm with; empty where there is nothing to confirm, or no longer."""
        return "" if self.closed or self.unwanted else self.client_secret

    @property
    def refundable(self) -> int:
        """What can still be asked to go back."""
        return self.captured - self.refunded - self.refunding - self.disputed

    @property
    def excess(self) -> int:
        """What went back beyond what was taken; a mistake of somebody's, for an operator."""
        gone = sum(attempt.gone_back for attempt in self.attempts) + sum(dispute.held for dispute in self.disputes)
        return max(gone - self.captured, 0) if self.captured else 0

    def is_due(self, *, now: datetime.datetime) -> bool:
        """Whether the provider is to be asked by now."""
        return self.next_attempt_time is not None and self.next_attempt_time <= now

    @property
    def being_taken(self) -> bool:
        """Whether somebody has asked for what is held, and that is not decided."""
        return any(call.open for call in self.calls(AttemptKind.CAPTURE_INTENT))

    @property
    def unmatched(self) -> bool:
        """Whether the charge speaks of refunds or disputes other than those that we know."""
        if self.returns_said is None or not self.captured:
            return False
        known = sum(attempt.gone_back for attempt in self.attempts)
        return self.returns_said.refunded != known or (self.returns_said.disputed and not self.disputes)

    def calls(self, kind: AttemptKind) -> tuple[Attempt, ...]:
        """Attempts of one kind."""
        return tuple(attempt for attempt in self.attempts if attempt.kind is kind)

    def declines(self) -> tuple[Attempt, ...]:
        """Charges that were refused."""
        return tuple(charge for charge in self.calls(AttemptKind.CHARGE) if charge.outcome is Outcome.REFUSED)

    def _unproven(self) -> bool:
        return any(attempt.outcome is Outcome.UNKNOWN for attempt in self.calls(AttemptKind.CREATE_INTENT))


_STATE_OF: Mapping[IntentStatus, PaymentState] = {
    IntentStatus.REQUIRES_PAYMENT_METHOD: PaymentState.REQUIRES_ACTION,
    IntentStatus.REQUIRES_CONFIRMATION: PaymentState.REQUIRES_ACTION,
    IntentStatus.REQUIRES_ACTION: PaymentState.REQUIRES_ACTION,
    IntentStatus.PROCESSING: PaymentState.PROCESSING,
    IntentStatus.DECLINED: PaymentState.FAILED,
    IntentStatus.REQUIRES_CAPTURE: PaymentState.AUTHORIZED,
    # The amount that came with it decides; it is never without one.
    IntentStatus.SUCCEEDED: PaymentState.PROCESSING,
    IntentStatus.CANCELED: PaymentState.CANCELED,
}


def _state_of_money(payment: Payment) -> PaymentState:
    if payment.disputed:
        return PaymentState.DISPUTE_LOST if payment.lost == payment.disputed else PaymentState.DISPUTED
    if payment.refunded == 0:
        won = any(dispute.state is DisputeState.WON for dispute in payment.disputes)
        return PaymentState.DISPUTE_WON if won else PaymentState.SUCCEEDED
    return PaymentState.REFUNDED if payment.refunded == payment.captured else PaymentState.PARTIALLY_REFUNDED


class Command(enum.Enum):
    """What a caller may ask of a payment."""

    ABANDON = enum.auto()
    CANCEL = enum.auto()
    CAPTURE = enum.auto()
    REFUND = enum.auto()


_S = PaymentState
_NO_MONEY_YET = (_S.CREATED, _S.PROCESSING, _S.REQUIRES_ACTION, _S.AUTHORIZED, _S.FAILED, _S.CANCELED, _S.UNKNOWN)
_TAKEN = (_S.SUCCEEDED, _S.PARTIALLY_REFUNDED, _S.REFUNDED, _S.DISPUTED, _S.DISPUTE_WON, _S.DISPUTE_LOST)
_ALLOWED: Mapping[Command, tuple[PaymentState, ...]] = {
    Command.ABANDON: _NO_MONEY_YET,
    Command.CANCEL: _NO_MONEY_YET,
    Command.CAPTURE: (_S.AUTHORIZED,),
    # How much can still go back is not the state's to say: the database bounds it, and the provider knows its disputes.
    Command.REFUND: _TAKEN,
}
# (state, command) → whether it may be asked in that state; a repeat of what was done is always allowed.
LEGAL: Mapping[tuple[PaymentState, Command], bool] = {
    (state, command): state in states for command, states in _ALLOWED.items() for state in PaymentState
}
