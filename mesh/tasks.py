"""Tasks that outlive their caller, because cancelled is not undone, and loops that never end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

ResultT = TypeVar("ResultT")
RESTART_S = 1.0
_CANCEL_AGAIN_S = 0.5
_log = structlog.get_logger()


class TaskSet:
    """Holds references to running tasks and logs what they raise when nobody waits any more."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def shielded(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Runs `work` to its end even when the caller is cancelled; the caller's cancellation still reaches the caller."""
        task = self.start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_orphan)
            raise

    def start(self, work: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
        """Starts a task and keeps it from being collected."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def join(self, *, timeout_s: float) -> None:
        """Waits for what runs, at most `timeout_s`."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)


def _log_orphan(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception():
        _log.warning("call ended after its caller had left", error=type(task.exception()).__name__)


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancels a background task and waits until it is gone.

    One cancellation may get lost: `asyncio.wait_for` of Python 3.11, which our drivers use, swallows one that arrives in
    the moment in which what it waits for is done.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
    if not task.cancelled() and (error := task.exception()):
        _log.error("background task had failed", exc_info=error)


@asynccontextmanager
async def background(*loops: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs loops while it is entered; they end before it is left. One that fails is begun again: none dies in silence."""
    tasks = [asyncio.create_task(_run_again(loop)) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            await cancel(task)


async def _run_again(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await loop()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop must go on
            _log.error("a background loop failed and begins again", loop=repr(loop), exc_info=error)
        await asyncio.sleep(RESTART_S)
