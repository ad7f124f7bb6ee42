"""`mesh reconcile`: hands a settlement file to the payment service, and shows what became of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli import status
from cli.folder import DataFolder
from cli.refusal import CommandRefused
from mesh.errors import Refusal, from_rpc_error
from mesh.money import format_minor_units

_PIECE_BYTES = 512 * 1024
# A little more than the method itself takes at most.
_UPLOAD_S_MAX = 960.0
# What nobody has to look at.
_AGREEING = ("matched", "imported")
_COLUMNS = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())


async def reconcile(*, folder: DataFolder, path: Path, dry_run: bool, console: Console) -> bool:
    """Whether everything in the file agrees with the books.

    Raises:
        CommandRefused: no mesh runs here, or the file is refused.
        OSError: the file cannot be read.
    """
    address = status.running(folder).address("payment")
    if address is None:
        raise CommandRefused("payment does not run: see `mesh status`")
    header = await asyncio.to_thread(_header, path, dry_run=dry_run)
    with Progress(*_COLUMNS, console=console) as progress:
        bar = progress.add_task("sending", total=header.size_bytes)
        answer = await _upload(address, path, header, progress, bar)
    _show(console, answer, dry_run=dry_run)
    return all(getattr(line, "class") in _AGREEING for line in answer.lines)


def _header(path: Path, *, dry_run: bool) -> messages.UploadSettlementRequest.Header:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    if not size:
        raise CommandRefused(f"{path} is empty")
    return messages.UploadSettlementRequest.Header(sha256=digest, name=path.name, size_bytes=size, dry_run=dry_run)


async def _upload(
    address: str, path: Path, header: messages.UploadSettlementRequest.Header, progress: Progress, bar: TaskID
) -> messages.UploadSettlementResponse:
    async def parts() -> AsyncIterator[messages.UploadSettlementRequest]:
        yield messages.UploadSettlementRequest(header=header)
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                yield messages.UploadSettlementRequest(chunk=piece)
                progress.update(bar, advance=len(piece))
        progress.update(bar, description="taking it")

    async with grpc.aio.insecure_channel(address) as channel:
        try:
            return await PaymentOperationsServiceStub(channel).UploadSettlement(parts(), timeout=_UPLOAD_S_MAX)
        except grpc.aio.AioRpcError as error:
            raise CommandRefused(_words(from_rpc_error(error, dependency="payment"))) from error


def _words(refusal: Refusal) -> str:
    if refusal.reason_name != "SETTLEMENT_FILE_REFUSED":
        return f"the file was not taken: {refusal.detail}"
    problem, line = refusal.metadata["problem"], refusal.metadata["line"]
    place = "" if line == "0" else f" in line {line}"
    return f"the file is refused, nothing of it was taken: {problem}{place}; docs/reconciliation.md says what that means"


def _show(console: Console, answer: messages.UploadSettlementResponse, *, dry_run: bool) -> None:
    table = Table("class", "currency", "rows", "net")
    for line in answer.lines:
        name, money = getattr(line, "class"), line.sum
        style = "" if name in _AGREEING else "red"
        table.add_row(
            name, money.currency, f"{line.count:,}", format_minor_units(money.minor_units, money.currency), style=style
        )
    console.print(table)
    what = "taken before, this is what became of it" if answer.replayed else "a rehearsal, nothing was taken"
    if answer.replayed or dry_run:
        console.print(what)
