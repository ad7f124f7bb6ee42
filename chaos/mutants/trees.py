"""A copy of the source tree with a patch applied to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What a mesh is not made of.
_LEFT_OUT = (".*", "__pycache__", "*.egg-info", "build", "dist", "tests", "docs", "benchmarks")


class PatchRefused(Exception):  # noqa: N818 - the fact
    """A patch does not fit the tree: the code around its guard has changed, so the patch has to be made anew."""


@contextmanager
def patched(patch: Path) -> Iterator[Path]:
    """The copy; it is removed afterwards.

    Raises:
        PatchRefused: it does not fit.
    """
    with tempfile.TemporaryDirectory(prefix=f"giving-mutant-{patch.stem}-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        apply(patch, tree)
        yield tree


def apply(patch: Path, tree: Path) -> None:
    """Applies it, in full or not at all.

    Raises:
        PatchRefused: it does not fit.
    """
    # A tree within somebody's repository is no part of that repository.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.resolve().parent)}
    ended = subprocess.run(
        ("git", "apply", str(patch.resolve())),  # noqa: S607 - wherever git is
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise PatchRefused(f"{patch.name}: {ended.stderr.strip()}")
