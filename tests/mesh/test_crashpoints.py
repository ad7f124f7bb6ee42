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
    """The exit codes of so many lives, one after the other."""
    plan = folder / "points.json"
    plan.write_text(json.dumps({"seed": "1", "young_s": young_s, "points": {"teller": {"between": 80}}}))
    command = [sys.executable, "-c", LIVES, str(plan)]
    return [subprocess.run(command, capture_output=True, check=False).returncode for _ in range(count)]


@pytest.mark.requirement("RES-1")
def test_lives_of_a_chaos_run_end_at_points_that_are_on_each_by_its_own_draws(tmp_path: Path) -> None:
    codes = lives(tmp_path, count=6)
    assert set(codes) == {0, -signal.SIGKILL}
    records = [(tmp_path / "lives" / f"teller.{number}").read_text().split("\n") for number in range(6)]
    assert [("ended between" in record) for record in records] == [code != 0 for code in codes]
    assert not any("ended elsewhere" in record for record in records)
    assert any("passed elsewhere" in record for record in records)


@pytest.mark.requirement("RES-1")
def test_nothing_ends_while_it_is_young_nor_once_the_run_is_healed(tmp_path: Path) -> None:
    assert lives(tmp_path, count=4, young_s=60) == [0] * 4
    (tmp_path / "healed").touch()
    assert lives(tmp_path, count=4) == [0] * 4


def test_production_refuses_to_start_with_armed_points() -> None:
    with pytest.raises(ValidationError, match="outside of development"):
        ProcessSettings(mesh_mode="production", crash_points="between")
    with pytest.raises(ValidationError, match="outside of development"):
        ProcessSettings(mesh_mode="production", chaos="points.json")
    assert ProcessSettings(mesh_mode="development", crash_points="between").crash_points == "between"
