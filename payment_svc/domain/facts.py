"""What can be learned about a payment. Facts carry no order: every one of them may come late, early and often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mesh.money import Money
from payment_svc.domain.payments import AttemptKind, Outcome, Progress


@dataclass(frozen=True, slots=True)
class ChargeSeen:
    """One charge, as the provider shows it."""

    charge_id: str
    amount: Money
    outcome: Outcome
    captured: int
    code: str
    second: int


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
class CallUnproven:
    """A call of ours has no proven outcome; `saved`: the provider would repeat its failure under the same key."""

    kind: AttemptKind
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Nobody waits for this payment any more."""


Fact: TypeAlias = IntentSeen | ChargeSeen | IntentRefused | CallUnproven | Unwanted


class Contradiction(Exception):  # noqa: N818 - named for the fact
    """What was seen cannot be true of this payment; its text is for operators and names no values."""
