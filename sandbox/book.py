"""An SQLite file that one thread writes: units of work that come together are committed together."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
Unit = Callable[[sqlite3.Connection], Any]
# Units that share a commit; more would let the first of them wait for longer than the disk takes.
_BATCH_MAX = 64


@dataclass(slots=True)
class _Asked:
    unit: Unit
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Book:
    """Runs units one after the other. What a unit wrote is on the disk when its result is known, or undone if it raised."""

    def __init__(self, path: Path, *, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._connection = _connect(path, schema)
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="book", daemon=True)
        self._thread.start()

    async def run(self, unit: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """The unit's result, once it is durable."""
        asked = _Asked(unit, self._loop.create_future())
        self._asked.put(asked)
        result: ResultT = await asked.future
        return result

    async def read(self, unit: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Runs a long reading unit on a snapshot, beside the writer."""
        return await asyncio.to_thread(self._read, unit)

    async def close(self) -> None:
        self._asked.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def stream(self, unit: Callable[[sqlite3.Connection], Iterator[ResultT]]) -> Iterator[ResultT]:
        """What a reading unit yields, on one snapshot; each step may run on another thread."""
        with self._snapshot() as connection:
            yield from unit(connection)

    def _read(self, unit: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        with self._snapshot() as connection:
            return unit(connection)

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        source = f"file:{self._path}?mode=ro"
        connection = sqlite3.connect(source, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()

    def _work(self) -> None:
        while (first := self._asked.get()) is not None:
            batch, last = self._batch(first)
            self._commit(batch)
            self._loop.call_soon_threadsafe(_answer, batch)
            if last:
                return

    def _batch(self, first: _Asked) -> tuple[list[_Asked], bool]:
        """What waits already, and whether nothing comes after it."""
        batch = [first]
        while len(batch) < _BATCH_MAX:
            try:
                asked = self._asked.get_nowait()
            except queue.Empty:
                return batch, False
            if asked is None:
                return batch, True
            batch.append(asked)
        return batch, False

    def _commit(self, batch: list[_Asked]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for asked in batch:
                self._run(asked)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:  # the disk: nobody's unit is durable
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for asked in batch:
                asked.error = error

    def _run(self, asked: _Asked) -> None:
        self._connection.execute("SAVEPOINT unit")
        try:
            asked.result = asked.unit(self._connection)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            self._connection.execute("ROLLBACK TO unit")
            asked.error = error
        self._connection.execute("RELEASE unit")


def _connect(path: Path, schema: str) -> sqlite3.Connection:
    """Opens the file, which only its owner may read: it holds client secrets."""
    path.touch(mode=0o600)
    # Opened here, so that a bad path is refused at the start; used by the writer's thread only.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=5000")
    connection.executescript(schema)
    return connection


def _answer(batch: list[_Asked]) -> None:
    for asked in batch:
        if asked.future.done():  # whoever asked has left
            continue
        if asked.error is not None:
            asked.future.set_exception(asked.error)
        else:
            asked.future.set_result(asked.result)


@asynccontextmanager
async def opened(path: Path, *, schema: str) -> AsyncIterator[Book]:
    book = Book(path, schema=schema)
    try:
        yield book
    finally:
        await book.close()
