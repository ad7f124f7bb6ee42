"""What a run is to do: with its seed, everything that is drawn follows from it. And where its files are."""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Self

WORKERS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`losses`: whether NATS and Valkey may lose what they hold. `tree`: the source tree whose mesh is run."""

    seed: str
    seconds: float
    losses: bool
    tree: str
    workers: int = WORKERS

    def source(self, name: str) -> random.Random:
        """The stream of draws of one component: a draw more in one shifts no other."""
        return random.Random(f"{self.seed}:{name}")  # noqa: S311 - to be repeated

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text()))


def losses_of(seed: str) -> bool:
    """Every other seed loses what is derived: only a run without losses can tell a healer that hides a mistake."""
    return random.Random(f"{seed}:losses").random() < 0.5  # noqa: S311, PLR2004 - to be repeated; an even chance


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def schedule(self) -> Path:
        return self.path / "schedule.json"

    @property
    def points(self) -> Path:
        """What the mesh's processes read: which points are on."""
        return self.path / "points.json"

    @property
    def lives(self) -> Path:
        return self.path / "lives"

    @property
    def healed(self) -> Path:
        """Once it is there no process ends itself any more."""
        return self.path / "healed"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "mesh.log"

    @property
    def verdict(self) -> Path:
        return self.path / "verdict.json"

    @property
    def data(self) -> Path:
        return self.path / "data"
