"""Starts parts wave by wave, starts crashed ones again, stops all in reverse order. It leaves nothing running."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cli.refusal import CommandRefused
from cli.running import Running, Show

_BACKOFF_S_FIRST = 0.2
_BACKOFF_S_MAX = 10.0
# A part that lived this long is taken for healthy: its next crash is a first one.
_HEALTHY_S = 30.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Watches over the parts that it has started."""

    def __init__(
        self, *, show: Show, record: Callable[[Sequence[Running]], None], restart_s_max: float = _BACKOFF_S_MAX
    ) -> None:
        self._show = show
        self._restart_s_max = restart_s_max
        self._record = record
        self._waves: list[tuple[Running, ...]] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._stop_asked = asyncio.Event()

    async def run(self, startup: Callable[[], Awaitable[None]]) -> None:
        """Runs `startup`, which calls `start`, then watches until a signal or `ask_to_stop`.

        Raises:
            CommandRefused: the start failed; what had been started is stopped again.
        """
        self._listen_to_signals()
        starting = asyncio.ensure_future(startup())
        asked = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            await asked if starting.done() else await _cancelled(starting)
        finally:
            await _cancelled(asked)
            await self._stop_all()
            self._forget_signals()

    async def start(self, *parts: Running) -> None:
        """Starts a wave at once and returns when all of it is ready."""
        self._waves.append(parts)
        for running in parts:
            running.changed = self._record_all
        results = await asyncio.gather(*(self._start(running) for running in parts), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def ask_to_stop(self) -> None:
        """The first time in order, from the second time on by SIGKILL."""
        if self._stop_asked.is_set():
            self._show("mesh", "killing everything now")
            for running in self._all():
                running.kill_now()
        else:
            self._show("mesh", "stopping; once more to kill")
            self._stop_asked.set()

    def _all(self) -> list[Running]:
        return [running for wave in self._waves for running in wave]

    def _record_all(self) -> None:
        self._record(self._all())

    async def _start(self, running: Running) -> None:
        begun = time.monotonic()
        await running.start()
        self._show("mesh", f"{running.part.name} is ready after {time.monotonic() - begun:.1f} s")
        self._watchers.append(asyncio.create_task(self._watch(running)))

    async def _watch(self, running: Running) -> None:
        crashes = 0
        while True:
            code = await running.ended()
            crashes = 1 if time.time() - running.since > _HEALTHY_S else crashes + 1
            delay_s = backoff_s(crashes, longest_s=self._restart_s_max)
            self._show("mesh", f"{running.part.name} ended with code {code}; starting it again in {delay_s:g} s")
            await asyncio.sleep(delay_s)
            await self._try_again(running)

    async def _try_again(self, running: Running) -> None:
        try:
            await running.start()
        except (CommandRefused, OSError) as error:
            self._show("mesh", str(error))
        else:
            self._show("mesh", f"{running.part.name} is ready again")

    async def _stop_all(self) -> None:
        for watcher in self._watchers:
            await _cancelled(watcher)
        for wave in reversed(self._waves):
            results = await asyncio.gather(*(self._stop(running) for running in wave), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    self._show("mesh", str(result))

    async def _stop(self, running: Running) -> None:
        was_running = running.pid is not None
        await running.stop()
        if was_running:
            self._show("mesh", f"{running.part.name} has stopped")

    def _listen_to_signals(self) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.ask_to_stop)

    def _forget_signals(self) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)


def backoff_s(crashes: int, *, longest_s: float = _BACKOFF_S_MAX) -> float:
    """How long to wait before the next start after so many crashes in a row."""
    return min(_BACKOFF_S_FIRST * (1 << min(crashes - 1, 16)), longest_s)


async def _cancelled(task: asyncio.Future[Any]) -> None:
    """Cancels it and waits until it is gone; what it ended with does not matter any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
