"""What was asked and what was answered, on disk before each call and after each answer: a killed run forgets nothing."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Journal:
    """An appended file of JSON lines; what is written at the same time is synced together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._woken = asyncio.Event()
        self.entries: list[Entry] = []

    async def write(self, **members: Any) -> None:
        """Returns when the entry is on disk."""
        written = asyncio.get_running_loop().create_future()
        entry = {"at": round(time.time(), 3), **members}
        self._waiting.append((entry, written))
        self._woken.set()
        await written

    async def run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            batch, self._waiting = self._waiting, []
            await asyncio.to_thread(_append, self._path, [entry for entry, _ in batch])
            self.entries += [entry for entry, _ in batch]
            for _, written in batch:
                if not written.done():
                    written.set_result(None)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    """A journal that is being written."""
    journal = Journal(path)
    writing = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


def read(path: Path) -> Iterator[Entry]:
    """The entries of a journal; the last line of one that was cut off is left out."""
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def _append(path: Path, entries: list[Entry]) -> None:
    with path.open("a") as file:
        file.writelines(f"{json.dumps(entry)}\n" for entry in entries)
        file.flush()
        os.fsync(file.fileno())
