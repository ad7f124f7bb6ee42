"""Points at which tests end a process."""

import signal
import subprocess
import sys

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


def test_production_refuses_to_start_with_armed_points() -> None:
    with pytest.raises(ValidationError, match="outside of development"):
        ProcessSettings(mesh_mode="production", crash_points="between")
    assert ProcessSettings(mesh_mode="development", crash_points="between").crash_points == "between"
