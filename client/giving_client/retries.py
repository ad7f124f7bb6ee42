"""When a failed call is made again, and after which pause."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from giving_client.errors import MeshError

# The outcome is unknown, or the mesh is away or full. Every method is idempotent by its key, so a repeat does nothing
# twice. CANCELLED comes from a server that stopped under the call.
_PASSING = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    }
)
# Has the code of a full server, and is as large the next time.
_TOO_LARGE = "REQUEST_TOO_LARGE"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of one logical call. Pauses double from the first to the longest, each shortened by chance to half at most."""

    attempts_max: int = 5
    pause_s_first: float = 0.1
    pause_s_max: float = 2.0
    # Whoever is asked to come back later than this is told so instead of being made to wait.
    retry_after_s_max: float = 10.0

    def pause_s(self, error: MeshError, *, failed: int, chance: float) -> float | None:
        """Seconds to wait after the `failed`-th attempt; None where the error is final. `chance` is from 0 to 1."""
        asked = error.retry_after_s
        if failed >= self.attempts_max or not is_retryable(error) or (asked or 0) > self.retry_after_s_max:
            return None
        pause = min(self.pause_s_max, self.pause_s_first * float(2 ** (failed - 1)))
        return max(pause * (1 + chance) / 2, asked or 0)


# A watch outlives restarts of the mesh: about a minute of silence, counted anew after every answer.
WATCH_POLICY = RetryPolicy(attempts_max=30)


def is_retryable(error: MeshError) -> bool:
    """Whether the same call may succeed a moment later."""
    if error.retry_after_s is not None:
        return True
    return error.code in _PASSING and error.reason != _TOO_LARGE


class Attempts:
    """The failed attempts of one logical call."""

    def __init__(self, policy: RetryPolicy, *, chance: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._chance = chance
        self._failed = 0

    def pause_after(self, error: MeshError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            MeshError: `error` itself, where there is no next attempt.
        """
        self._failed += 1
        pause_s = self._policy.pause_s(error, failed=self._failed, chance=self._chance())
        if pause_s is None:
            raise error
        return pause_s

    def progress(self) -> None:
        """Something arrived: failures are counted anew."""
        self._failed = 0
