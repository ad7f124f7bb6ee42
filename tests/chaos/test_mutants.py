"""Each guard that is left out is still there to be left out: its patch fits today's tree, and what comes of it compiles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chaos import edges
from chaos.mutants.catalogue import MUTANTS, Mutant
from chaos.mutants.trees import ROOT, PatchRefused, apply
from chaos.points import POINTS
from chaos.processes import PARTS

MUTANTS_MIN = 12


@pytest.mark.requirement("RES-3")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_guard_can_be_left_out_of_todays_tree(mutant: Mutant, tmp_path: Path):
    before = {path: (ROOT / path).read_text() for path in _touched(mutant.patch)}
    assert before
    _copied(before, tmp_path)
    apply(mutant.patch, tmp_path)
    for path, text in before.items():
        after = (tmp_path / path).read_text()
        assert after != text
        if path.endswith(".py"):
            compile(after, path, "exec")


def test_a_patch_that_does_not_fit_is_refused_in_full(tmp_path: Path):
    paths = _touched(MUTANTS[0].patch)
    _copied(paths, tmp_path)
    (tmp_path / paths[-1]).write_text("another text\n")
    with pytest.raises(PatchRefused, match=paths[-1]):
        apply(MUTANTS[0].patch, tmp_path)
    assert (tmp_path / paths[0]).read_text() == (ROOT / paths[0]).read_text()


def test_every_patch_is_a_mutant_and_no_name_is_used_twice():
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) >= MUTANTS_MIN
    assert sorted(names) == sorted(path.stem for path in (ROOT / "chaos" / "mutants").glob("*.patch"))


def test_a_mutants_run_knows_its_targets_and_points_and_loses_only_what_it_says():
    targets = {*PARTS, *edges.ALL, "webhooks", "provider"}
    for mutant in MUTANTS:
        assert {fault.target for fault in mutant.faults} <= targets
        assert all(fault.at_s < mutant.seconds for fault in mutant.faults)
        assert any(fault.loses for fault in mutant.faults) is mutant.losses
        assert all(labels.keys() <= POINTS[role].keys() for role, labels in mutant.points.items())


def _touched(patch: Path) -> list[str]:
    return [line.removeprefix("+++ b/") for line in patch.read_text().splitlines() if line.startswith("+++ b/")]


def _copied(paths: list[str] | dict[str, str], folder: Path) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
