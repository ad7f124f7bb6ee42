"""The `mesh` command."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from cli import check as invariants
from cli import checklist, migration
from cli import demo as demonstration
from cli import rebuild as rebuilding
from cli import reconcile as reconciliation
from cli import status as states
from cli import trace as traces
from cli import up as start
from cli.config import CheckSettings, MeshSettings
from cli.folder import DataFolder
from cli.refusal import CommandRefused
from mesh.config import load

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Data = Annotated[
    Path, typer.Option("--data", envvar="MESH_DATA", help="Folder of the mesh's data, secrets and remembered ports.")
]
_DEFAULT_DATA = Path(".mesh")


@app.command()
def up(data: Data = _DEFAULT_DATA) -> None:
    """Start everything and watch over it; Ctrl-C stops in order, a second one kills.

    With DATABASE_URL (an administrator's), NATS_URL or REDIS_URL set, those servers are used instead of embedded ones.
    """
    asyncio.run(start.up(folder=DataFolder(data), settings=load(MeshSettings), console=Console(highlight=False)))


@app.command()
def status(data: Data = _DEFAULT_DATA) -> None:
    """Show each part with its address and health; exits with 1 unless all are healthy."""
    table, healthy, held_back = asyncio.run(states.status(DataFolder(data)))
    Console().print(table)
    if held_back:
        Console(highlight=False).print(held_back, markup=False, soft_wrap=True)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def down(data: Data = _DEFAULT_DATA) -> None:
    """Stop a running mesh in order, and wait until it has stopped."""
    Console(highlight=False).print(asyncio.run(states.down(DataFolder(data))), markup=False, soft_wrap=True)


@app.command()
def migrate(data: Data = _DEFAULT_DATA) -> None:
    """Bring every service's schema to today's form; `mesh up` does so by itself."""
    applied = asyncio.run(migration.migrate_here(folder=DataFolder(data), settings=load(MeshSettings)))
    for line in applied or ["every schema is as it should be"]:
        Console(highlight=False).print(line, markup=False, soft_wrap=True)


@app.command()
def token(data: Data = _DEFAULT_DATA) -> None:
    """Print the development token: the bearer of it may do everything on this machine's mesh."""
    if not data.is_dir():
        raise CommandRefused(f"nothing has run on {data} yet: start it with `mesh up`")
    print(DataFolder(data).secret("development_token"))  # noqa: T201 - for TOKEN=$(mesh token)


@app.command()
def epoch(
    service: Annotated[str, typer.Argument(help="Whose log: donation or payment.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the epoch.")],
    data: Data = _DEFAULT_DATA,
) -> None:
    """After a restore: begin a new epoch of an event log and publish it all again; consumers drop what they know."""
    opened = asyncio.run(
        migration.open_epoch(folder=DataFolder(data), settings=load(MeshSettings), service=service, reason=reason)
    )
    Console(highlight=False).print(f"{service} is in epoch {opened}; its relay publishes everything again", markup=False)


@app.command()
def expire(data: Data = _DEFAULT_DATA) -> None:
    """Drop the days of the event logs that are older than 400 days: no consumer applies them any more."""
    dropped = asyncio.run(migration.expire(folder=DataFolder(data), settings=load(MeshSettings)))
    for line in dropped or ["no day is old enough"]:
        Console(highlight=False).print(line, markup=False, soft_wrap=True)


@app.command()
def trace(
    reference: Annotated[
        str, typer.Argument(help="A donation, a payment, a payment reference, an id of Stripe, or a request id.")
    ],
    data: Data = _DEFAULT_DATA,
    json: Annotated[bool, typer.Option("--json", help="Print the whole answer for programs.")] = False,
) -> None:
    """Say where a donation's money is and why: one timeline over all services, what comes next, and when."""
    answer = asyncio.run(traces.trace(DataFolder(data), reference))
    if json:
        print(traces.as_json(answer))  # noqa: T201 - for `mesh trace … --json | jq`
    else:
        traces.show(Console(highlight=False), answer)


@app.command()
def demo(
    data: Data = _DEFAULT_DATA,
    donations: Annotated[int, typer.Option(min=10, max=1_000_000, help="How many different donations to send.")] = 2000,
    paid_percent: Annotated[
        int, typer.Option(min=0, max=100, help="How many of a hundred are promised, and paid through Stripe's sandbox.")
    ] = 20,
) -> None:
    """Send donations through a running mesh, charged ones and promised ones, then compare every book with what was sent."""
    agreed = asyncio.run(
        demonstration.demo(
            folder=DataFolder(data),
            settings=load(MeshSettings),
            donations=donations,
            paid_percent=paid_percent,
            console=Console(),
        )
    )
    raise typer.Exit(0 if agreed else 1)


@app.command()
def check(
    data: Data = _DEFAULT_DATA,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(min=0, max=3600, help="Seconds that the mesh may take to become quiet, so that P13 can tell."),
    ] = None,
    only: Annotated[str, typer.Option(help="Only these, such as P8,P12.")] = "",
) -> None:
    """Evaluate the money invariants of a mesh from outside, reading only.

    Exits with 0 where all hold, 1 where one is violated, 2 where one could not be checked.
    """
    try:
        chosen = invariants.chosen(only)
        places = invariants.find(DataFolder(data), load(MeshSettings), load(CheckSettings))
    except CommandRefused as refusal:
        _fail(str(refusal), code=invariants.EXIT_UNREAD)
    lines = invariants.check(places, wait_s=wait, only=chosen)
    if not as_json:
        raise typer.Exit(asyncio.run(checklist.show(Console(), lines)))
    document, code = asyncio.run(checklist.document(lines))
    print(document)  # noqa: T201 - for machines
    raise typer.Exit(code)


@app.command()
def reconcile(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Stripe's report, itemised by balance transaction: CSV.")
    ],
    data: Data = _DEFAULT_DATA,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of it.")] = False,
) -> None:
    """Hold a settlement file against the books; exits with 1 unless every row matches or was imported."""
    console = Console(highlight=False)
    agrees = asyncio.run(reconciliation.reconcile(folder=DataFolder(data), path=file, dry_run=dry_run, console=console))
    raise typer.Exit(0 if agrees else 1)


@app.command()
def rebuild(
    reason: Annotated[str, typer.Option(help="Why; kept with the rebuild.")],
    data: Data = _DEFAULT_DATA,
    campaign: Annotated[str, typer.Option(help="Only this campaign's totals.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many totals would change.")] = False,
) -> None:
    """Rebuild totals, donors and statistics from the donations, while the mesh works."""
    console = Console(highlight=False)
    ended = asyncio.run(
        rebuilding.rebuild(folder=DataFolder(data), campaign_id=campaign, reason=reason, dry_run=dry_run, console=console)
    )
    what = "would change" if dry_run else "changed"
    console.print(f"{ended.done:,} donations were read, {ended.repaired:,} totals {what}", markup=False, soft_wrap=True)


def main() -> None:
    """Runs the command; what stops it is told in one line."""
    try:
        app()
    except CommandRefused as refusal:
        _fail(str(refusal))
    except PermissionError as error:
        _fail(f"{error.filename} may not be used by this user: choose another folder with --data, or run as its owner")
    except OSError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _fail(line: str, *, code: int = 1) -> NoReturn:
    print(f"mesh: {line}", file=sys.stderr)  # noqa: T201 - what the person at the terminal reads
    raise SystemExit(code) from None


if __name__ == "__main__":
    main()
