"""Labelled points between two steps of something that must survive a crash: tests end the process exactly there.

A process that is killed at random rarely dies in the ten milliseconds that matter. Nothing is armed outside of development.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path

# label → passages that are left before the process ends there. A process has one plan, from its settings.
_armed: dict[str, int] = {}
# The life that a chaos run gives to this process; at most one.
_lives: list[Life] = []

_STALL_SHARE = 0.15
_STALL_S_MAX = 0.06
# Of the lives of a process: as many end wherever the run kills them.
_AIMLESS_SHARE = 0.25


def arm(plan: str) -> None:
    """Arms `label` or `label:passage` pairs, separated by commas; nothing else stays armed.

    Raises:
        ValueError: a passage is no number.
    """
    _armed.clear()
    for pair in filter(None, plan.split(",")):
        label, _, passage = pair.partition(":")
        _armed[label.strip()] = int(passage or 1)


def live(plan: Path, *, role: str) -> None:
    """Begins a life in a chaos run: `plan` is its file, which names the points of each role that are on."""
    _lives[:] = [Life(plan, role=role)]


def reach(label: str) -> None:
    """Passes a point. Where it is armed for this passage the process ends as by a power cut: nothing is tidied up."""
    for life in _lives:
        life.reach(label)
    if label not in _armed:
        return
    _armed[label] -= 1
    if _armed[label] == 0:
        _end()


class Life:
    """One life of a process in a chaos run: it ends at the k-th passage of one point, and stalls now and then at others.

    Every life draws from a stream of its own, otherwise each would end where the one before it did. While it is young it
    does not end: a process that only ever starts carries no load. What it passes is in a file beside the plan, so that the
    run knows which points it has met. Once the file `healed` is there nothing ends any more.
    """

    def __init__(self, plan: Path, *, role: str) -> None:
        document = json.loads(plan.read_text())
        self._record, number = _new_record(plan.parent / "lives", role)
        self._chance = random.Random(f"{document['seed']}:{role}:{number}")  # noqa: S311 - to be repeated
        # label → at which passage a life ends there at the latest.
        self._points: Mapping[str, int] = document["points"].get(role, {})
        self._healed = plan.parent / "healed"
        self._grown_at = time.monotonic() + document["young_s"]
        self._aim, self._left = self._choose()
        self._passed: set[str] = set()

    def reach(self, label: str) -> None:
        """Ends the process, stalls it, or does nothing."""
        if label not in self._passed:
            self._passed.add(label)
            self._write(f"passed {label}")
        if label not in self._points or self._healed.exists():
            return
        if label == self._aim and time.monotonic() > self._grown_at:
            self._left -= 1
            if self._left <= 0:
                self._write(f"ended {label}")
                _end()
        if self._chance.random() < _STALL_SHARE:
            time.sleep(self._chance.uniform(0, _STALL_S_MAX))

    def _choose(self) -> tuple[str, int]:
        if not self._points or self._chance.random() < _AIMLESS_SHARE:
            return "", 0
        aim = self._chance.choice(sorted(self._points))
        return aim, self._chance.randint(1, self._points[aim])

    def _write(self, line: str) -> None:
        with self._record.open("a") as record:
            record.write(f"{line}\n")


def _new_record(folder: Path, role: str) -> tuple[Path, int]:
    """The record of this life, which nobody else has, and how many lives there were before."""
    folder.mkdir(exist_ok=True)
    for number in itertools.count():
        record = folder / f"{role}.{number}"
        try:
            record.touch(exist_ok=False)
        except FileExistsError:
            continue
        return record, number
    raise AssertionError("counting does not end")


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
