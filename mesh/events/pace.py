"""How fast a relay works off what has piled up: intake lives on the same processor and comes first."""

from __future__ import annotations

# Rests as long as it worked, so intake has every other moment; what a slower machine needs longer for, it rests longer from.
REST_RATIO = 1.0
# A page that waited for the broker worked little: no reason for a long rest.
REST_S_MAX = 0.1
# Draining has to be twice as fast as what comes in, or it may never end.
GAIN_MIN = 2


class Pace:
    """Rests in between; shorter ones while what piles up during a drain is more than half of what it published."""

    def __init__(self) -> None:
        self._ratio = REST_RATIO
        self._pages = 0

    def rest_s(self, worked_s: float) -> float:
        """How long to rest after what took so long."""
        return min(worked_s * self._ratio, REST_S_MAX)

    def note(self, pages: int) -> None:
        """Takes note of a drain of so many full pages: they came in during the one before. None: it has caught up."""
        if pages * GAIN_MIN > self._pages > 0:
            self._ratio /= 2
        elif not pages:
            self._ratio = REST_RATIO
        self._pages = pages
