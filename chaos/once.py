"""One run in a folder of its own, from its plan to its verdict."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from chaos.plan import Plan, RunFolder
from chaos.processes import MeshDied
from chaos.progress import Display
from chaos.run import run
from chaos.schedule import Fault
from chaos.verdict import Verdict


class Untold(Exception):  # noqa: N818 - the fact
    """A run came to no verdict; a person has been told why."""


def once(plan: Plan, faults: Sequence[Fault], *, console: Console, keep: bool) -> Verdict:
    """The verdict; the folder is kept where something did not hold, or where `keep` says so.

    Raises:
        Untold: the run came to none.
    """
    folder = RunFolder(Path(tempfile.mkdtemp(prefix=f"giving-chaos-{plan.seed}-")))
    # PostgreSQL runs as another user where we are root.
    folder.path.chmod(0o711)
    console.print(f"seed {plan.seed}: {len(faults)} faults in {plan.seconds:g} s, {folder.path}", highlight=False)
    try:
        with Display(console, seed=plan.seed) as display:
            verdict = uvloop.run(run(plan, folder, faults, display=display))
    except Exception as error:  # noqa: BLE001 - whatever stops a run is no verdict
        if not isinstance(error, MeshDied):
            console.print_exception()
        console.print(f"seed {plan.seed}: {error or 'the mesh ended'}; kept {folder.path}", style="red", markup=False)
        raise Untold from None
    folder.verdict.write_text(f"{verdict.line()}\n")
    if verdict.holds and not keep:
        shutil.rmtree(folder.path)
    return verdict
