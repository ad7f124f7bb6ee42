"""Leaves out one guard of the mesh at a time, and says which invariant misses it.

python -m chaos.mutants
python -m chaos.mutants event_apart relay_by_id --seed 7
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console

from chaos.mutants.catalogue import MUTANTS, Mutant
from chaos.mutants.trees import PatchRefused, patched
from chaos.once import Untold, once

EXIT_SURVIVED = 1
EXIT_UNTOLD = 2
_TRIES = 3
_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a mutant: the invariants that were violated, with the last seed that was run. None: it survived."""

    mutant: Mutant
    caught_by: Sequence[str]
    seed: int
    seconds: float

    def line(self) -> str:
        """A row of a table in Markdown."""
        caught = ", ".join(self.caught_by) or "SURVIVED"
        return f"| `{self.mutant.name}` | {self.mutant.guard} | {caught} | {self.seed} | {self.seconds:.0f} |"


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which mutants; all without it.")] = None,
    *,
    seed: Annotated[int, typer.Option(help="The first seed; those after it follow while a mutant survives.")] = 1,
    tries: Annotated[int, typer.Option(min=1, help="How many seeds a mutant has to survive.")] = _TRIES,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folders of all runs.")] = False,
) -> None:
    """Exits with 0 where every mutant was caught, 1 where one survived, 2 where one could not be run."""
    console = Console(stderr=True)
    unknown = set(names or ()) - {mutant.name for mutant in MUTANTS}
    if unknown:
        raise typer.BadParameter(f"no such mutant: {', '.join(sorted(unknown))}")
    trials = []
    _say("| mutant | the guard that is left out | caught by | seed | s |")
    _say("|---|---|---|---|---|")
    for mutant in MUTANTS:
        if names and mutant.name not in names:
            continue
        trials.append(_tried(mutant, seeds=range(seed, seed + tries), console=console, keep=keep))
        _say(trials[-1].line())
    raise typer.Exit(0 if all(trial.caught_by for trial in trials) else EXIT_SURVIVED)


def _tried(mutant: Mutant, *, seeds: Sequence[int], console: Console, keep: bool) -> Trial:
    """Seed after seed until something is violated; the seconds are those of the last run, its mesh's start included."""
    console.print(f"{mutant.name}: without {mutant.guard}", highlight=False)
    try:
        with patched(mutant.patch) as tree:
            for seed in seeds:
                began = time.monotonic()
                verdict = once(mutant.plan(str(seed), tree=tree), mutant.faults, console=console, keep=keep)
                took_s = time.monotonic() - began
                if not keep:
                    # What is violated here is what was to be.
                    shutil.rmtree(verdict.folder, ignore_errors=True)
                if not verdict.holds:
                    break
    except (PatchRefused, Untold) as error:
        console.print(f"{mutant.name}: {error}", style="red", markup=False)
        raise typer.Exit(EXIT_UNTOLD) from None
    for violation in verdict.violations[:_SHOWN_MAX]:
        console.print(f"  {violation.number} {violation.key}: {violation.words}", markup=False, highlight=False)
    numbers = {violation.number for violation in verdict.violations}
    return Trial(mutant, sorted(numbers, key=lambda number: int(number[1:])), seed, took_s)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - for whoever keeps the table


if __name__ == "__main__":
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.command()(main)
    program()
