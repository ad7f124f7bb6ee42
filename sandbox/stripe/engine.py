"""Runs transactions on the book, and lets follow what follows from them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from typing import TypeVar

from sandbox.book import Book
from sandbox.stripe import due, keys
from sandbox.stripe.clock import Clock
from sandbox.stripe.work import Cause, Rules, Work

ResultT = TypeVar("ResultT")
# How late a task may be.
_TICK_S = 0.1
_FORGET_EACH_TICKS = 600


class Engine:
    """`woken` is called when events were announced."""

    def __init__(self, book: Book, rules: Rules) -> None:
        self._book = book
        self._rules = rules
        self.clock = Clock()
        self.woken: Callable[[], None] = lambda: None

    async def load(self) -> None:
        """Takes the clock from the book, at the start and after it was moved."""
        await self.transact(self.clock.load)

    async def transact(self, unit: Callable[[Work], ResultT], cause: Cause = Cause()) -> ResultT:  # noqa: B008 - frozen
        """The unit's result, once what it did is durable."""

        def run(connection: sqlite3.Connection) -> tuple[ResultT, bool]:
            work = self._work(connection, cause)
            result = unit(work)
            work.flush()
            return result, bool(work.announced)

        result, announced = await self._book.run(run)
        if announced:
            self.woken()
        return result

    async def read(self, unit: Callable[[Work], ResultT]) -> ResultT:
        """Runs a long reading unit beside the others."""
        return await self._book.read(lambda connection: unit(self._work(connection, Cause())))

    def stream(self, unit: Callable[[Work], Iterator[ResultT]]) -> Iterator[ResultT]:
        """The same, for what is too long to be held at once; to be walked through outside the loop."""
        return self._book.stream(lambda connection: unit(self._work(connection, Cause())))

    def _work(self, connection: sqlite3.Connection, cause: Cause) -> Work:
        return Work(connection, self._rules, self.clock.now(), cause)

    async def happen(self) -> None:
        """Lets all that is due happen."""
        while await self.transact(due.happen):
            pass

    async def advance(self, *, seconds: int) -> int:
        """Moves the clock, lets happen what is due then; the new time."""
        await self.transact(lambda work: self.clock.advance(work, seconds=seconds))
        await self.load()
        await self.transact(keys.forget)
        await self.happen()
        return self.clock.now()

    async def tick(self) -> None:
        """Follows the clock for ever."""
        while True:
            await self.transact(keys.forget)
            for _ in range(_FORGET_EACH_TICKS):
                await self.happen()
                await asyncio.sleep(_TICK_S)
