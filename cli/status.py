"""`mesh status` and `mesh down`: what runs, and its end."""

from __future__ import annotations

import asyncio
import signal
import time

import grpc
from giving.payment.v1.payment_operations_service_pb2 import Breaker, GetBreakerRequest
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub
from rich.table import Table

from cli import family, gates, runfile
from cli.folder import DataFolder
from cli.lines import harmless
from cli.refusal import CommandRefused
from cli.runfile import Entry, Run

# All waves one after the other, each within its parts' own bounds.
_STOP_S_MAX = 90.0
_BREAKER_S_MAX = 2.0
_NOTHING = "nothing runs on {path}: start it with `mesh up`"


def running(folder: DataFolder) -> Run:
    """What runs.

    Raises:
        CommandRefused: nothing does.
    """
    run = runfile.read(folder)
    if run is None or not family.is_alive(run.supervisor):
        raise CommandRefused(_NOTHING.format(path=folder.path))
    return run


async def status(folder: DataFolder) -> tuple[Table, bool, str]:
    """A table of the parts, whether all are healthy, and what holds calls to the provider back; empty: nothing does."""
    run = running(folder)
    healthy = await asyncio.gather(*(is_healthy(entry) for entry in run.parts))
    table = Table("part", "pid", "address", "health", "since")
    table.add_row("supervisor", str(run.supervisor.pid), "", "[green]running[/]", "")
    for entry, answers in zip(run.parts, healthy, strict=True):
        health = "[green]healthy[/]" if answers else "[red]not healthy[/]"
        table.add_row(entry.name, str(entry.pid), entry.address, health, _since(entry.since))
    return table, all(healthy), await _held_back(run)


async def _held_back(run: Run) -> str:
    address = run.address("payment")
    if address is None:
        return ""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await PaymentOperationsServiceStub(channel).GetBreaker(GetBreakerRequest(), timeout=_BREAKER_S_MAX)
        except grpc.aio.AioRpcError:
            # That it does not answer stands in its line.
            return ""
    breaker = answer.breaker
    if breaker.state == Breaker.STATE_CLOSED:
        return ""
    why = f"held by {breaker.actor}: {breaker.reason}" if breaker.held else "it did not answer; it is probed by itself"
    return harmless(f"calls to the payment provider are paused: {why}")


async def is_healthy(entry: Entry) -> bool:
    """Whether the process lives and answers."""
    return family.is_alive(entry.key) and await gates.ready(entry.probe, entry.address)


def _since(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


async def down(folder: DataFolder) -> str:
    """Stops the mesh; what happened, in one line.

    Raises:
        CommandRefused: it did not stop within its bound.
    """
    run = runfile.read(folder)
    if run is None:
        return f"nothing runs on {folder.path}"
    if not family.is_alive(run.supervisor):
        strays = await runfile.clear_strays(folder)
        return f"the supervisor had been killed; ended {', '.join(strays) or 'nothing, all parts were gone'}"
    begun = time.monotonic()
    family.send(run.supervisor, signal.SIGTERM)
    if not await family.gone([run.supervisor], within_s=_STOP_S_MAX):
        raise CommandRefused(f"the supervisor (process {run.supervisor.pid}) still stops; once more: `mesh down`")
    return f"stopped {len(run.parts)} parts in {time.monotonic() - begun:.1f} s"
