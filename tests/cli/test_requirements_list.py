from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.mesh_terminal import Ended, python

_TESTS = """
import pytest
pytestmark = pytest.mark.requirement("AAA-1")

@pytest.mark.requirement("AAA-2", "AAA-3")
def test_one(): ...

@pytest.mark.requirement("AAA-2")
class TestMore:
    async def test_two(self): ...
"""


async def listing(folder: Path, *rows: str) -> Ended:
    (folder / "requirements.md").write_text("| id | what it promises |\n|---|---|\n" + "\n".join(rows))
    (folder / "test_it.py").write_text(_TESTS)
    return await python("scripts/requirements.py", "--list", str(folder / "requirements.md"), "--tests", str(folder))


async def test_every_id_is_printed_with_the_tests_that_prove_it(tmp_path: Path):
    ended = await listing(tmp_path, "| AAA-1 | one |", "| AAA-2 | two |", "| AAA-3 | three |", "| AAA-4 | four |")
    path = tmp_path / "test_it.py"
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "AAA-1  one",
        f"    {path}::test_one",
        f"    {path}::TestMore::test_two",
        "AAA-2  two",
        f"    {path}::test_one",
        f"    {path}::TestMore::test_two",
        "AAA-3  three",
        f"    {path}::test_one",
        "AAA-4  four  — not proven by a test yet",
        "3 of 4 are proven by tests",
    ]


@pytest.mark.parametrize("missing", ["AAA-1", "AAA-3"])
async def test_an_id_that_the_list_lacks_fails(tmp_path: Path, missing: str):
    rows = [f"| {name} | text |" for name in ("AAA-1", "AAA-2", "AAA-3") if name != missing]
    ended = await listing(tmp_path, *rows)
    assert ended.code == 1
    assert f"{missing} is not in the list" in ended.err
