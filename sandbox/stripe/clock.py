"""The sandbox's clock: the machine's, moved by as much as it was told to. The shift is in the book."""

from __future__ import annotations

import time

from sandbox.stripe.work import Work

_SHIFT = "clock_shift_s"


class Clock:
    """Reads without the book; moves within a transaction, and must then be told that it was committed."""

    def __init__(self) -> None:
        self._shift_s = 0

    def now(self) -> int:
        return int(time.time()) + self._shift_s

    def load(self, work: Work) -> None:
        self._shift_s = int(work.one("get_setting", _SHIFT) or 0)

    def advance(self, work: Work, *, seconds: int) -> None:
        """Moves the book's clock; `load` makes it this one's."""
        shift = int(work.one("get_setting", _SHIFT) or 0) + seconds
        work.ask("set_setting", _SHIFT, str(shift))
