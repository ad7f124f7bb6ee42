"""`mesh reconcile`: hands a settlement file to the payment service, and shows what became of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
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
# Why a file is refused, as docs/reconciliation.md says it.
PROBLEMS: Mapping[str, str] = {
    "not_utf8": "its bytes are no text",
    "not_csv": "it is no CSV",
    "columns_missing": "the first line does not name the columns that are needed: balance_transaction_id, created_utc, "
    "currency, gross, fee, net, reporting_category, source_id",
    "columns_repeated": "the first line names a column twice",
    "header_repeated": "the first line comes again",
    "row_malformed": "a row has another number of fields, or a field that is no amount, time or id",
    "row_too_long": "a row is too long",
    "net_differs": "gross less fee is not net",
    "truncated": "its end is missing",
    "size_differs": "it changed while it was sent",
    "hash_differs": "it changed while it was sent",
    "totals_differ": "the rows of a payout do not sum to the payout",
}
# What nobody has to look at.
_AGREEING = ("matched", "imported")
_HINT = "which rows: PaymentOperationsService.ListReconciliationItems; what to do about a class: docs/reconciliation.md"
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
    return _agrees(answer)


def _agrees(answer: messages.UploadSettlementResponse) -> bool:
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
    return f"the file is refused, nothing of it was taken: {PROBLEMS.get(problem, problem)}{place} ({problem})"


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
    if not answer.rows:
        console.print("the file has no rows")
    if not _agrees(answer):
        console.print(_HINT, soft_wrap=True)
