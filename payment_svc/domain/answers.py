"""What asking the provider can end in. Refused is proven, unproven is not, and they are never treated alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from payment_svc.domain.facts import Fact, IntentSeen


@dataclass(frozen=True, slots=True)
class Seen:
    """The provider has it, like this."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider will not do it, and has not; `intent` is what it showed beside that."""

    code: str
    intent: IntentSeen | None = None


@dataclass(frozen=True, slots=True)
class Unproven:
    """It may have been done. `saved`: the provider repeats this failure under the same key."""

    saved: bool = False


@dataclass(frozen=True, slots=True)
class NotReached:
    """It was not done: the provider was not reached, or turned us away at the door. `paused`: nothing was sent at all."""

    paused: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """The provider's search does not show it (yet)."""


Answer: TypeAlias = Seen | Refused | Unproven | NotReached
Found: TypeAlias = Seen | Absent | Unproven | NotReached
