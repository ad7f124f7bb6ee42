"""Points at which tests end a process."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from mesh.config import ProcessSettings

PROGRAM = """
from mesh import crashpoints
crashpoints.arm({plan!r})
for passage in range(1, 4):
    print(passage, flush=True)
    crashpoints.reach("between")
"""


@pytest.mark.parametrize(
    ("plan", "printed", "code"),
    [
        ("", "1 2 3", 0),
        ("elsewhere", "1 2 3", 0),
        ("between", "1", -signal.SIGKILL),
        ("x,between:2", "1 2", -signal.SIGKILL),
    ],
)
def test_a_process_ends_at_the_armed_passage_of_a_point(plan: str, printed: str, code: int) -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM.format(plan=plan)], capture_output=True, text=True, check=False)
    assert (ended.stdout.split(), ended.returncode) == (printed.split(), code)


LIVES = """
import sys
from pathlib import Path
from mesh import crashpoints
crashpoints.live(Path(sys.argv[1]), role="teller")
for passage in range(40):
    crashpoints.reach("between")
    crashpoints.reach("elsewhere")
"""


def lives(folder: Path, *, count: int, young_s: float = 0) -> list[int]:
    """The exit codes of so many lives, one after the other; with this seed the first ends at the 17th passage."""
    plan = folder / "points.json"
    plan.write_text(json.dumps({"seed": "1", "young_s": young_s, "points": {"teller": {"between": 80}}}))
    command = [sys.executable, "-c", LIVES, str(plan)]
    return [subprocess.run(command, capture_output=True, check=False).returncode for _ in range(count)]


@pytest.mark.requirement("RES-1")
def test_lives_of_a_chaos_run_end_at_points_that_are_on_each_by_its_own_draws(tmp_path: Path) -> None:
    assert lives(tmp_path, count=2) == [-signal.SIGKILL, 0]
    first, second = ((tmp_path / "lives" / f"teller.{number}").read_text().splitlines() for number in range(2))
    assert first == ["passed between", "passed elsewhere", "ended between"]
    assert second == ["passed between", "passed elsewhere"]


@pytest.mark.requirement("RES-1")
def test_no_life_ends_while_it_is_young(tmp_path: Path) -> None:
    assert lives(tmp_path, count=1, young_s=60) == [0]


@pytest.mark.requirement("RES-1")
def test_no_life_ends_once_the_run_is_healed(tmp_path: Path) -> None:
    (tmp_path / "healed").touch()
    assert lives(tmp_path, count=1) == [0]


def test_production_refuses_to_start_with_armed_points() -> None:
    with pytest.raises(ValidationError, match="outside of development"):
        ProcessSettings(mesh_mode="production", crash_points="between")
    with pytest.raises(ValidationError, match="outside of development"):
        ProcessSettings(mesh_mode="production", chaos="points.json")
    assert ProcessSettings(mesh_mode="development", crash_points="between").crash_points == "between"
