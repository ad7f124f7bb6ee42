"""The run file: which processes a mesh consists of, for `status`, `down`, `demo`, and for the next start."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cli import family
from cli.family import ProcessKey
from cli.folder import DataFolder, write_private
from cli.running import Running

# What parts may take that the kernel has already told to end.
_DYING_S_MAX = 3.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A part as it runs; `since` in seconds since 1970."""

    name: str
    pid: int
    started: int
    probe: str
    address: str
    since: float

    @property
    def key(self) -> ProcessKey:
        return ProcessKey(self.pid, self.started)


@dataclass(frozen=True, slots=True)
class Run:
    supervisor: ProcessKey
    parts: tuple[Entry, ...]

    def address(self, name: str) -> str | None:
        return next((entry.address for entry in self.parts if entry.name == name), None)


def read(folder: DataFolder) -> Run | None:
    """None: nothing was started here, or everything was stopped in order."""
    try:
        document = json.loads(folder.run_file.read_text())
    except FileNotFoundError:
        return None
    parts = tuple(Entry(**entry) for entry in document["parts"])
    return Run(supervisor=ProcessKey(**document["supervisor"]), parts=parts)


def write(folder: DataFolder, parts: Iterable[Running]) -> None:
    """Records what runs now under this process."""
    supervisor = family.key_of(os.getpid()) or ProcessKey(os.getpid(), 0)
    entries = [dataclasses.asdict(entry) for entry in map(_entry, parts) if entry]
    document = {"supervisor": dataclasses.asdict(supervisor), "parts": entries}
    write_private(folder.run_file, json.dumps(document, indent=1) + "\n")


def _entry(running: Running) -> Entry | None:
    key = family.key_of(running.pid) if running.pid else None
    if key is None:
        return None
    part = running.part
    return Entry(
        name=part.name, pid=key.pid, started=key.started, probe=part.probe, address=part.address, since=running.since
    )


async def clear_strays(folder: DataFolder) -> Sequence[str]:
    """Ends what a killed supervisor has left behind; returns the names of what had to be killed."""
    run = read(folder)
    if run is None:
        return ()
    members = set().union(*(family.family(entry.key) for entry in run.parts), set())
    await family.gone(members, within_s=_DYING_S_MAX)
    strays = [entry.name for entry in run.parts if family.is_alive(entry.key)]
    await family.kill(members)
    folder.run_file.unlink(missing_ok=True)
    return strays
