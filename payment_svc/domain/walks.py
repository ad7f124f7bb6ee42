"""Walks through a list of the provider, newest item first, that find what was never delivered and end at a checkpoint."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

# What the provider lists late, and what its clock and ours may differ by.
OVERLAP = datetime.timedelta(minutes=10)
# The provider forgets its events after this.
KEPT_FOR = datetime.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a list has been walked, by the provider's clock: everything before `position` was seen.

    A walk that has not ended leaves `cursor`, the last item that was seen, and `target`, what the position is at its end.
    """

    position: datetime.datetime | None = None
    cursor: str = ""
    target: datetime.datetime | None = None


def walk_from(checkpoint: Checkpoint, *, oldest: datetime.datetime | None, now: datetime.datetime) -> datetime.datetime:
    """How far back the walk goes. The first one looks as far as there is something of ours, our `oldest`."""
    if checkpoint.position:
        return checkpoint.position - OVERLAP
    return max((oldest or now) - OVERLAP, now - KEPT_FOR)


def walked(checkpoint: Checkpoint, *, last_id: str, more: bool, time: datetime.datetime) -> Checkpoint:
    """The checkpoint after a page that ended with `last_id` and was shown at `time`: the first page's time is the target."""
    target = checkpoint.target or time
    return replace(checkpoint, cursor=last_id, target=target) if more else Checkpoint(position=target)


def begun_anew(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint of a walk whose cursor the provider has forgotten."""
    return Checkpoint(position=checkpoint.position)
