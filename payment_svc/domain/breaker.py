"""When calls to the provider are paused: the circuit breaker as a pure state machine, with time as a parameter.

Five failures within ten seconds open it: from then on nothing is sent but one probe every five seconds, and the first probe
that is answered closes it. An operator may hold it open. What came of a try is told with the permit that it was given. Each
opening and closing begins another era, and a try of an earlier era changes nothing: only a probe closes, and what was under
way when it opened does not open it again.

Clocks may jump: a wait is also over when now lies before its beginning.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass, replace

FAILURES_MAX = 5
FAILURES_WITHIN = datetime.timedelta(seconds=10)
PROBE_EVERY = datetime.timedelta(seconds=5)
# When whoever is refused comes again: what a probe under way finds out is known soon, what an operator decides is not.
DURING_PROBE = datetime.timedelta(seconds=1)
WHILE_HELD = datetime.timedelta(seconds=30)


class BreakerState(enum.IntEnum):
    """Numbers of the contract."""

    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


class TryOutcome(enum.Enum):
    """What a try tells of the provider.

    Whatever it says by itself is an answer: a decline, a wrong request, also that we come too often. That last one, 429, is
    its way to shed load: it comes at once, leaves nothing unproven and strikes only what is too much. Pausing for it would
    refuse every donor because of a few calls, and let all of them come back together.
    """

    ANSWERED = enum.auto()
    # It was not reached, did not answer in time, broke off, or said that it is broken (5xx).
    FAILED = enum.auto()
    # We broke it off ourselves.
    UNTOLD = enum.auto()


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to try once."""

    era: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """Where it stands.

    `failures`: when tries failed that count, newest last, at most `FAILURES_MAX`. `paused_at`: when it opened, or the last
    probe failed; None while calls go through. `entered_at`: when work was let in whose first try will be the probe.
    `probing`: the probe is under way. `held`: by an operator.
    """

    failures: tuple[datetime.datetime, ...] = ()
    paused_at: datetime.datetime | None = None
    entered_at: datetime.datetime | None = None
    probing: bool = False
    held: bool = False
    era: int = 0

    @property
    def state(self) -> BreakerState:
        """Whether calls go through."""
        if self.held:
            return BreakerState.OPEN
        if self.paused_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self.probing else BreakerState.OPEN

    @property
    def closed(self) -> bool:
        """Whether every call goes through."""
        return self.state is BreakerState.CLOSED

    @property
    def next_probe_time(self) -> datetime.datetime | None:
        """From when on the next call is the probe; None while closed, held or half open."""
        if self.held or self.probing or self.paused_at is None:
            return None
        return self.paused_at + PROBE_EVERY


@dataclass(frozen=True, slots=True)
class Decision:
    """What an operator decided last about the breakers of all replicas; `version` grows with each decision."""

    held: bool
    reason: str
    actor: str
    version: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a breaker stands: `failures` that count now, and the decision that holds."""

    breaker: Breaker
    failures: int
    decision: Decision


def recent_failures(breaker: Breaker, *, now: datetime.datetime) -> tuple[datetime.datetime, ...]:
    """When those tries failed that still count."""
    return tuple(time for time in breaker.failures if now - FAILURES_WITHIN < time <= now)


def enter(breaker: Breaker, *, now: datetime.datetime) -> Breaker | None:
    """Lets work in that will call the provider; None where it has to wait. While paused it is let in as the next probe."""
    if breaker.closed:
        return breaker
    return replace(breaker, entered_at=now) if _is_probe_due(breaker, now=now) else None


def leave(breaker: Breaker) -> Breaker:
    """Work that was let in has nothing to call: other work may be the probe at once."""
    return replace(breaker, entered_at=None)


def permit(breaker: Breaker, *, now: datetime.datetime) -> tuple[Breaker, Permit | None]:
    """Leave for one try; None where nothing may be sent."""
    if breaker.closed:
        return breaker, Permit(breaker.era)
    expected = breaker.entered_at is not None and not breaker.held
    if expected or _is_probe_due(breaker, now=now):
        return replace(breaker, entered_at=None, probing=True), Permit(breaker.era)
    return breaker, None


def settle(breaker: Breaker, given: Permit, outcome: TryOutcome, *, now: datetime.datetime) -> Breaker:
    """The breaker after a try."""
    if given.era != breaker.era:
        return breaker
    failed = (now,) if outcome is TryOutcome.FAILED else ()
    after = replace(breaker, failures=(*recent_failures(breaker, now=now), *failed)[-FAILURES_MAX:])
    if breaker.probing:
        return _closed(after) if outcome is TryOutcome.ANSWERED else _paused(after, now=now)
    return _paused(after, now=now) if len(after.failures) == FAILURES_MAX else after


def come_again(breaker: Breaker, *, now: datetime.datetime) -> datetime.timedelta:
    """After which time it is of use to ask again for what was refused."""
    if breaker.held:
        return WHILE_HELD
    if breaker.next_probe_time is None or breaker.entered_at is not None:
        return DURING_PROBE
    return min(max(breaker.next_probe_time - now, DURING_PROBE), PROBE_EVERY)


def hold(breaker: Breaker) -> Breaker:
    """Held open by an operator."""
    return replace(breaker, held=True, entered_at=None, probing=False, era=breaker.era + 1)


def release(breaker: Breaker) -> Breaker:
    """Closed by an operator, and left to itself again."""
    return _closed(breaker)


def _is_probe_due(breaker: Breaker, *, now: datetime.datetime) -> bool:
    if breaker.held or breaker.probing or breaker.paused_at is None:
        return False
    # Work that was let in and sent nothing, for whatever reason, gives its place up in the end.
    return _is_over(breaker.paused_at, now=now) and (breaker.entered_at is None or _is_over(breaker.entered_at, now=now))


def _is_over(begin: datetime.datetime, *, now: datetime.datetime) -> bool:
    return not begin <= now < begin + PROBE_EVERY


def _closed(breaker: Breaker) -> Breaker:
    return Breaker(era=breaker.era + 1)


def _paused(breaker: Breaker, *, now: datetime.datetime) -> Breaker:
    return replace(breaker, paused_at=now, probing=False, era=breaker.era + 1)
