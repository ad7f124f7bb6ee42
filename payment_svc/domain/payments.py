"""Payments as facts: what the provider told us, in whatever order it told it.

A payment's facts only grow: amounts by maximum, calling-off by once, the intent's progress by the newest second, charges
by their ids. So any order and any repetition of the same facts gives the same payment, and its state is computed from them,
never kept beside them as something that could disagree. Amounts are minor units.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
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
    """One call of ours that changes something at the provider, or one charge there.

    `id` is None until it is stored. `charge_id` is the provider's id of a charge. `calls` counts how often we asked; `saved`
    says that the provider keeps a failure under the call's idempotency key and would repeat it.
    """

    id: UUID | None
    kind: AttemptKind
    outcome: Outcome
    charge_id: str = ""
    code: str = ""
    captured: int = 0
    second: int = 0
    calls: int = 0
    last_call_time: datetime.datetime | None = None
    saved: bool = False
    create_time: datetime.datetime | None = None
    end_time: datetime.datetime | None = None


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
    captured: int = 0
    refunded: int = 0
    disputed: int = 0
    provider_id: str = ""
    client_secret: str = ""
    progress: Progress | None = None
    canceled: bool = False
    refused: bool = False
    unwanted: bool = False
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
    if payment.refunded == 0:
        return PaymentState.SUCCEEDED
    return PaymentState.REFUNDED if payment.refunded == payment.captured else PaymentState.PARTIALLY_REFUNDED


class Command(enum.Enum):
    """What a caller may ask of a payment."""

    ABANDON = enum.auto()


# (state, command) → whether it may be asked in that state; a repeat of what was done is always allowed.
LEGAL: Mapping[tuple[PaymentState, Command], bool] = {
    (state, Command.ABANDON): state
    in (
        PaymentState.CREATED,
        PaymentState.PROCESSING,
        PaymentState.REQUIRES_ACTION,
        PaymentState.AUTHORIZED,
        PaymentState.FAILED,
        PaymentState.CANCELED,
        PaymentState.UNKNOWN,
    )
    for state in PaymentState
}
