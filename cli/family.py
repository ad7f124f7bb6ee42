"""Which processes descend from one, and their end: a killed parent leaves its children behind, so all are followed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class ProcessKey:
    """A pid alone is reused; with its start, in clock ticks since boot, it names one process for ever."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class _Entry:
    key: ProcessKey
    parent: int
    session: int


def _entry(pid: int) -> _Entry | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":  # dead, only its parent has not noticed
        return None
    return _Entry(key=ProcessKey(pid, int(fields[19])), parent=int(fields[1]), session=int(fields[3]))


def key_of(pid: int) -> ProcessKey | None:
    """The living process with this pid. Where there is no /proc, a start of 0."""
    if _PROC.exists():
        entry = _entry(pid)
        return entry.key if entry else None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ProcessKey(pid, 0)


def is_alive(key: ProcessKey) -> bool:
    return key_of(key.pid) == key


def family(head: ProcessKey) -> set[ProcessKey]:
    """The process, its descendants, and everyone else in the session that it leads or led."""
    entries = [entry for entry in map(_entry, _pids()) if entry]
    if any(entry.key.pid == head.pid and entry.key != head for entry in entries):
        return set()  # the pid is somebody else's now, so nobody was left of the session either
    members = {entry.key for entry in entries if head.pid in (entry.key.pid, entry.session)}
    while True:
        pids = {key.pid for key in members}
        children = {entry.key for entry in entries if entry.parent in pids}
        if children <= members:
            return members or _alone(head)
        members |= children


def _pids() -> list[int]:
    return [int(path.name) for path in _PROC.glob("[0-9]*")] if _PROC.exists() else []


def _alone(head: ProcessKey) -> set[ProcessKey]:
    return {head} if is_alive(head) else set()


def send(key: ProcessKey, number: signal.Signals) -> None:
    """Signals exactly this process; one that has gone is left in peace."""
    if is_alive(key):
        with contextlib.suppress(ProcessLookupError):
            os.kill(key.pid, number)


async def gone(members: Iterable[ProcessKey], *, within_s: float) -> bool:
    """Waits until none of them lives."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    remaining = [key for key in members if is_alive(key)]
    while remaining and loop.time() < deadline:
        await asyncio.sleep(_POLL_S)
        remaining = [key for key in remaining if is_alive(key)]
    return not remaining


async def kill(members: Iterable[ProcessKey], *, within_s: float = 5.0) -> bool:
    """Kills them all and waits until they are gone; dying takes a killed PostgreSQL up to two seconds."""
    members = list(members)
    for key in members:
        send(key, signal.SIGKILL)
    return await gone(members, within_s=within_s)
