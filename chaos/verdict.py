"""What came of a run, as one line for machines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.books import Violation

# In the line; the folder that is kept has the rest.
_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`healthy_s`, `recover_s`: from the end of the last fault until every part answered, until every book said the same.

    None where that was not within the bound; a mesh that is not whole again is judged no further.
    """

    seed: str
    losses: bool
    faults: int
    self_kills: int
    ops: int
    acked: int
    refused: int
    unknown: int
    samples: int
    healthy_s: float | None
    recover_s: float | None
    repairs: int
    coverage: Mapping[str, Mapping[str, int]]
    violations: Sequence[Violation]
    folder: str

    @property
    def holds(self) -> bool:
        return not self.violations

    def line(self) -> str:
        """One JSON object; of the coverage only which points were passed, which not, and where lives ended."""
        document: dict[str, Any] = dataclasses.asdict(self)
        document["coverage"] = {
            "passed": sum(point["passed"] > 0 for point in self.coverage.values()),
            "of": len(self.coverage),
            "ended": {name: point["ended"] for name, point in self.coverage.items() if point["ended"]},
            "missed": [name for name, point in self.coverage.items() if not point["passed"]],
        }
        document["violations"] = document["violations"][:_SHOWN_MAX]
        document["violated"] = len(self.violations)
        return json.dumps(document, ensure_ascii=False)
