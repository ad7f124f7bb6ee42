"""The circuit breaker around the provider: every request of the SDK passes it, whichever call makes it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import stripe
import structlog

from mesh.clock import Clock
from payment_svc import metrics
from payment_svc.domain import breaker as rules
from payment_svc.domain.breaker import Breaker, BreakerState, Permit, TryOutcome

# Where it stands, as metrics and logs name it: what an operator holds open is not what opened by itself.
_HELD = "held"
_log = structlog.get_logger()


class CallsPaused(Exception):  # noqa: N818 - named for the fact
    """The breaker is open: nothing was sent."""


class CircuitBreaker:
    """This process's breaker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._breaker = Breaker()
        _show(self._breaker)

    @property
    def breaker(self) -> Breaker:
        """As it stands now."""
        return self._breaker

    @property
    def closed(self) -> bool:
        """Whether every call goes through."""
        return self._breaker.closed

    def enter(self) -> bool:
        """Whether work may begin that will call the provider; while paused, one at a time, as the probe."""
        entered = rules.enter(self._breaker, now=self._clock.now())
        self._turn(entered or self._breaker)
        return entered is not None

    def leave(self) -> None:
        """The work that was let in has nothing to call."""
        self._turn(rules.leave(self._breaker))

    def retry_after_s(self) -> float:
        """After how many seconds it is of use to ask again for what was refused."""
        return rules.come_again(self._breaker, now=self._clock.now()).total_seconds()

    def hold(self) -> None:
        """Holds it open until it is released."""
        self._turn(rules.hold(self._breaker))

    def release(self) -> None:
        """Closes it and leaves it to itself."""
        self._turn(rules.release(self._breaker))

    def permit(self) -> Permit:
        """Leave to send one request; tell with it what came of the request.

        Raises:
            CallsPaused: none may be sent.
        """
        after, permit = rules.permit(self._breaker, now=self._clock.now())
        self._turn(after)
        if permit is None:
            raise CallsPaused
        return permit

    def settle(self, permit: Permit, outcome: TryOutcome) -> None:
        """What came of a request."""
        if outcome is TryOutcome.FAILED:
            metrics.PROVIDER_FAILURES.inc()
        self._turn(rules.settle(self._breaker, permit, outcome, now=self._clock.now()))

    def _turn(self, after: Breaker) -> None:
        before, self._breaker = self._breaker, after
        if _word(before) != _word(after):
            _log.warning("the breaker around the provider turned", before=_word(before), after=_word(after))
            metrics.BREAKER_TRANSITIONS.labels(_word(after)).inc()
            _show(after)


class GuardedClient(stripe.AIOHTTPClient):
    """The SDK's client for HTTP; each request of it is one try."""

    def __init__(self, breaker: CircuitBreaker, *, request_s: float) -> None:
        super().__init__(timeout=aiohttp.ClientTimeout(total=request_s))
        self._breaker = breaker

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """The whole answer, as the SDK takes it: body, status, headers.

        Raises:
            CallsPaused: nothing was sent.
        """
        permit, outcome = self._breaker.permit(), TryOutcome.UNTOLD
        try:
            body, status, answered = await super().request_async(method, url, headers, post_data)
            outcome = TryOutcome.FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else TryOutcome.ANSWERED
        except Exception:
            outcome = TryOutcome.FAILED
            raise
        finally:
            self._breaker.settle(permit, outcome)
        return body, status, answered


def _show(breaker: Breaker) -> None:
    for word in (*(state.name.lower() for state in BreakerState), _HELD):
        metrics.BREAKER_STATE.labels(word).set(word == _word(breaker))


def _word(breaker: Breaker) -> str:
    return _HELD if breaker.held else breaker.state.name.lower()
