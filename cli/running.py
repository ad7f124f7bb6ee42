"""A part and its process: started behind its health gate, stopped, killed, started again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable

from cli import family, gates
from cli.family import ProcessKey
from cli.part import Part, last_line, spawn
from cli.refusal import CommandRefused

_POLL_S = 0.02
# Enough to say why a part did not start.
_LINES_KEPT = 20
# What a part's last words may take to arrive once it has ended.
_LAST_WORDS_S = 1.0

# Gets the part's name and one line of its output.
Show = Callable[[str, str], None]


def ignore(_name: str, _line: str) -> None:
    """Shows nothing; the last lines are kept for the reason of a failed start all the same."""


class Running:
    """A part and the process that it currently is."""

    def __init__(self, part: Part, *, show: Show = ignore) -> None:
        self.part = part
        self._show = show
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        # The process that it is or, after an end, was.
        self.key: ProcessKey | None = None
        # Called when there is another process than before; set by whoever keeps books of them.
        self.changed: Callable[[], None] = lambda: None
        # Seconds since 1970 of the last start.
        self.since = 0.0

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def family(self) -> set[ProcessKey]:
        """The process and everyone who descends from it."""
        return family.family(self.key) if self.key else set()

    async def start(self) -> None:
        """Starts it and returns when it is ready.

        Raises:
            CommandRefused: it ended, or was not ready in time; nothing of it is left.
        """
        await self.kill()
        self._lines.clear()
        self._process = await spawn(self.part)
        self.key = family.key_of(self._process.pid) or ProcessKey(self._process.pid, 0)
        self.since = time.time()
        self._ended = asyncio.create_task(self._process.wait())
        self._reading = asyncio.create_task(self._read(self._process))
        try:
            self.changed()
            await self._until_ready(self._ended)
        except BaseException:
            await self.kill()
            raise

    async def ended(self) -> int:
        """Waits for its end; the exit code, negative for a signal."""
        if self._ended is None:
            raise RuntimeError(f"{self.part.name} was not started")
        return await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Asks it to stop, waits, and kills whatever is left of it and its children."""
        if self._process is None:
            return
        members = self.family()
        if self._process.returncode is None:
            self._process.send_signal(self.part.stop_signal)
        await family.gone(members, within_s=self.part.stop_s_max)
        await self._bury(members)

    async def kill(self) -> None:
        """SIGKILL to it and its children; returns when all are gone."""
        if self._process is not None:
            await self._bury(self.family())

    def kill_now(self) -> None:
        """SIGKILL without waiting, for whoever has no time left."""
        for key in self.family():
            family.send(key, signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than the bound; the stream has dropped it
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self._lines.append(text)
            self._show(self.part.name, text)

    async def _until_ready(self, ended: asyncio.Task[int]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.part.start_s_max
        while not await gates.ready(self.part.probe, self.part.address) and loop.time() < deadline and not ended.done():
            await asyncio.wait({ended}, timeout=_POLL_S)
        if ended.done():
            await self._last_words()
            raise CommandRefused(f"{self.part.name} ended with code {ended.result()}{last_line(self._lines)}")
        if loop.time() >= deadline:
            raise CommandRefused(f"{self.part.name} was not ready after {self.part.start_s_max:g} s{last_line(self._lines)}")

    async def _bury(self, members: set[ProcessKey]) -> None:
        if not await family.kill(members):
            raise CommandRefused(f"{self.part.name} does not die: see process {min(key.pid for key in members)}")
        if self._ended is not None:
            await self._ended
        await self._last_words()
        self._process = None

    async def _last_words(self) -> None:
        """The process is gone; its pipe ends with it, unless somebody foreign holds it."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_LAST_WORDS_S)
            self._reading.cancel()
