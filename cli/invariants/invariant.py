"""What an invariant is, and what a look at it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from cli.invariants.view import View

# More would only push the first ones off the screen; how many there are is counted.
KEPT_MAX = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """The key of something of which the invariant does not hold, and what is wrong, in words and figures."""

    key: str
    words: str


@dataclass(slots=True)
class Findings:
    """What a look found. `checked`: how many `Invariant.unit`s; `notes`: what was not looked at, or is still under way."""

    checked: int = 0
    violated: int = 0
    violations: list[Violation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, key: object, words: str) -> None:
        """Counts a violation, and keeps it while there is room."""
        self.violated += 1
        if len(self.violations) < KEPT_MAX:
            self.violations.append(Violation(str(key), words))

    def take(self, found: Findings) -> None:
        """Adds the violations that a look shared with other invariants has found."""
        self.violated += found.violated
        self.violations += found.violations[: KEPT_MAX - len(self.violations)]

    def note(self, words: str) -> None:
        self.notes.append(words)


# Fills in what it finds as it goes: what was found stays found where something does not answer later.
Check: TypeAlias = Callable[[View, Findings], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """`number`: that of the promise in docs/invariants.md; `unit`: what is counted as checked."""

    number: str
    name: str
    unit: str
    check: Check
