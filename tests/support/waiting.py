"""Waiting for something to become true, with a bound that only a broken mesh reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

BOUND_S = 30.0
ResultT = TypeVar("ResultT")


async def until(
    ask: Callable[[], Awaitable[ResultT]], *, holds: Callable[[ResultT], bool] = bool, bound_s: float = BOUND_S
) -> ResultT:
    """Asks until the answer holds, and returns it."""
    answer = None
    try:
        async with asyncio.timeout(bound_s):
            while True:
                answer = await ask()
                if holds(answer):
                    return answer
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"still {answer!r} after {bound_s:.0f} s") from None
