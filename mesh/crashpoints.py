"""Labelled points between two steps of something that must survive a crash: tests end the process exactly there.

A process that is killed at random rarely dies in the ten milliseconds that matter. Nothing is armed outside of development.
"""

from __future__ import annotations

import os
import signal

# label → passages that are left before the process ends there. A process has one plan, from its settings.
_armed: dict[str, int] = {}


def arm(plan: str) -> None:
    """Arms `label` or `label:passage` pairs, separated by commas; nothing else stays armed.

    Raises:
        ValueError: a passage is no number.
    """
    _armed.clear()
    for pair in filter(None, plan.split(",")):
        label, _, passage = pair.partition(":")
        _armed[label.strip()] = int(passage or 1)


def reach(label: str) -> None:
    """Passes a point. Where it is armed for this passage the process ends as by a power cut: nothing is tidied up."""
    if label not in _armed:
        return
    _armed[label] -= 1
    if _armed[label] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
