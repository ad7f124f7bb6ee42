"""`mesh rebuild`: has totals rebuilt from the donations, and shows how far that is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import grpc
from giving.aggregate.v1.aggregate_service_pb2 import RebuildTotalsRequest, RebuildTotalsResponse
from giving.aggregate.v1.aggregate_service_pb2_grpc import AggregateServiceStub
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli import status
from cli.folder import DataFolder
from cli.lines import harmless
from cli.refusal import CommandRefused
from mesh.errors import from_rpc_error

# A part that was restarted is back within that; the key makes every repeat the same rebuild.
_TRIES_MAX = 30
_PAUSE_S = 2.0
_COME_BACK = ("DEPENDENCY_UNAVAILABLE", "DEADLINE_EXCEEDED")
_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)
Show = Callable[[RebuildTotalsResponse], None]
Sleep = Callable[[float], Awaitable[None]]


async def rebuild(
    *, folder: DataFolder, campaign_id: str, reason: str, dry_run: bool, console: Console, sleep: Sleep = asyncio.sleep
) -> RebuildTotalsResponse:
    """The end of the rebuild; it goes on in the mesh where this command is interrupted.

    Raises:
        CommandRefused: no mesh runs here, it refuses, or it did not answer within the bound.
    """
    address = status.running(folder).address("aggregator")
    if address is None:
        raise CommandRefused("aggregator does not run: see `mesh status`")
    request = RebuildTotalsRequest(request_id=str(uuid.uuid4()), campaign_id=campaign_id, reason=reason, dry_run=dry_run)
    with Progress(*_COLUMNS, console=console) as progress:
        bar = progress.add_task("rehearsing" if dry_run else "rebuilding", total=None)

        def show(answer: RebuildTotalsResponse) -> None:
            # The number is estimated: there may be more.
            total = max(answer.estimated, answer.done) if answer.estimated else None
            progress.update(bar, completed=answer.done, total=answer.done if answer.complete else total)

        return await _follow(address, request, show, sleep=sleep)


async def _follow(address: str, request: RebuildTotalsRequest, show: Show, *, sleep: Sleep) -> RebuildTotalsResponse:
    problem = "the stream was cut"
    async with grpc.aio.insecure_channel(address) as channel:
        for _ in range(_TRIES_MAX):
            try:
                async for answer in AggregateServiceStub(channel).RebuildTotals(request):
                    show(answer)
                    if answer.complete:
                        return answer
            except grpc.aio.AioRpcError as error:
                refusal = from_rpc_error(error, dependency="aggregator")
                problem = harmless(f"{refusal.detail} ({refusal.reason_name})")
                if refusal.reason_name not in _COME_BACK:
                    break
            await sleep(_PAUSE_S)
    raise CommandRefused(f"totals were not rebuilt: {problem}")
