"""Runs seeds, or replays a run that was kept.

python -m chaos --seed 7 --seconds 40
python -m chaos --replay DIR --times 10
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from chaos import schedule
from chaos.plan import WORKERS, Plan, RunFolder, losses_of
from chaos.processes import MeshDied
from chaos.progress import Display
from chaos.run import run
from chaos.schedule import Fault
from chaos.verdict import Verdict

EXIT_VIOLATED = 1
EXIT_UNTOLD = 2
_TREE = Path(__file__).parents[1]


def main(
    *,
    seed: Annotated[list[str] | None, typer.Option(help="What everything is drawn from; several for several runs.")] = None,
    seconds: Annotated[float, typer.Option(min=5, max=3600, help="How long the load and the faults last.")] = 40,
    workers: Annotated[int, typer.Option(min=1, max=100, help="Closed loops of the load.")] = WORKERS,
    losses: Annotated[
        bool | None, typer.Option(help="Whether NATS and Valkey lose what they hold; as the seed says without it.")
    ] = None,
    tree: Annotated[Path, typer.Option(help="The source tree whose mesh is run; this one without it.")] = _TREE,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder of a run also where all holds.")] = False,
    replay: Annotated[Path | None, typer.Option(help="The folder of a run: its plan once more.")] = None,
    times: Annotated[int, typer.Option(min=1, help="How often, with --replay.")] = 1,
) -> None:
    """Exits with 0 where everything held, 1 where something did not, 2 where a run could not be made."""
    console = Console(stderr=True)
    if replay:
        plan, faults = Plan.load(replay / "plan.json"), schedule.load(replay / "schedule.json")
        plans = [(plan, faults)] * times
    else:
        seeds = seed or [str(random.SystemRandom().randrange(1_000_000))]
        plans = [_drawn(name, seconds=seconds, workers=workers, losses=losses, tree=tree) for name in seeds]
    held = [_one(plan, faults, console=console, keep=keep) for plan, faults in plans]
    if replay:
        console.print(f"{held.count(False)} of {times} runs of seed {plans[0][0].seed} were violated", highlight=False)
    raise typer.Exit(0 if all(held) else EXIT_VIOLATED)


def _drawn(seed: str, *, seconds: float, workers: int, losses: bool | None, tree: Path) -> tuple[Plan, Sequence[Fault]]:
    lossy = losses_of(seed) if losses is None else losses
    plan = Plan(seed=seed, seconds=seconds, losses=lossy, tree=str(tree.resolve()), workers=workers)
    return plan, schedule.draw(seed, seconds=seconds, losses=lossy)


def _one(plan: Plan, faults: Sequence[Fault], *, console: Console, keep: bool) -> bool:
    """Whether everything held; the folder is kept where it did not."""
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
        raise typer.Exit(EXIT_UNTOLD) from None
    _tell(verdict, console)
    folder.verdict.write_text(f"{verdict.line()}\n")
    if verdict.holds and not keep:
        shutil.rmtree(folder.path)
    return verdict.holds


def _tell(verdict: Verdict, console: Console) -> None:
    print(verdict.line(), flush=True)  # noqa: T201 - for machines
    for violation in verdict.violations:
        console.print(f"  {violation.number} {violation.key}: {violation.words}", style="red", markup=False, highlight=False)
    console.print("held" if verdict.holds else f"violated; kept {verdict.folder}", highlight=False)


if __name__ == "__main__":
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.command()(main)
    program()
