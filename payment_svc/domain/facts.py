"""What can be learned about a payment. Facts carry no order: every one of them may come late, early and often."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from mesh.money import Money
from payment_svc.domain.payments import AttemptKind, DisputeState, Outcome, Progress, ReturnsSaid


@dataclass(frozen=True, slots=True)
class ChargeSeen:
    """One charge, as the provider shows it."""

    charge_id: str
    amount: Money
    outcome: Outcome
    captured: int
    code: str
    second: int
    said: ReturnsSaid | None = None


@dataclass(frozen=True, slots=True)
class IntentSeen:
    """The provider's intent, as an answer or a webhook shows it. `donation_id` is what our metadata on it says."""

    provider_id: str
    amount: Money
    progress: Progress
    captured: int
    donation_id: str
    client_secret: str = ""
    charge: ChargeSeen | None = None


@dataclass(frozen=True, slots=True)
class IntentRefused:
    """The provider will not have the intent, or proved that it has none."""

    code: str


@dataclass(frozen=True, slots=True)
class RefundSeen:
    """One refund, as the provider shows it. `attempt_id` is what our metadata on it says; empty where it is not ours.

    `outcome`: PENDING and SUCCEEDED have taken the money from us, REFUSED has not, or no longer. `second`: when it was made.
    """

    refund_id: str
    amount: Money
    outcome: Outcome
    second: int
    attempt_id: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class DisputeSeen:
    """One dispute, as the provider shows it, and how often money moved on it."""

    dispute_id: str
    amount: Money
    state: DisputeState
    withdrawals: int
    reinstatements: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReturnsListed:
    """Every refund and dispute of the intent, as they stood in a second of the provider's clock."""

    second: int
    refunds: tuple[RefundSeen, ...]
    disputes: tuple[DisputeSeen, ...]


@dataclass(frozen=True, slots=True)
class CallUnproven:
    """A call of ours has no proven outcome since `time`; `saved`: the provider would repeat its failure under the same key.

    `attempt_id` says which, where there may be several of a kind.
    """

    kind: AttemptKind
    time: datetime.datetime
    saved: bool = False
    attempt_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class CallRefused:
    """The provider refused a call of ours for the `number`-th time, at `time`; `again`: it may be asked again.

    `calls`: where a look-up proved that nothing came of the call, how often it had been made by then.
    """

    attempt_id: UUID
    number: int
    code: str
    again: bool
    time: datetime.datetime
    calls: int | None = None


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Nobody waits for this payment any more."""


@dataclass(frozen=True, slots=True)
class CaptureAsked:
    """Somebody wants what is held to be taken."""

    request_key: UUID
    amount: int


@dataclass(frozen=True, slots=True)
class RefundAsked:
    """Somebody wants money to go back."""

    request_key: UUID
    amount: int
    reason: str


Fact: TypeAlias = (
    IntentSeen
    | ChargeSeen
    | IntentRefused
    | RefundSeen
    | DisputeSeen
    | ReturnsListed
    | CallUnproven
    | CallRefused
    | Unwanted
    | CaptureAsked
    | RefundAsked
)


class Contradiction(Exception):  # noqa: N818 - named for the fact
    """What was seen cannot be true of this payment; its text is for operators and names no values."""
