"""`mesh trace`: where a donation's money is, and why, as a table."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from giving.donation.v1.donation_operations_service_pb2 import TraceDonationRequest, TraceDonationResponse
from giving.donation.v1.donation_operations_service_pb2_grpc import DonationOperationsServiceStub
from giving.donation.v1.donation_pb2 import Donation
from google.protobuf.json_format import MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import status
from cli.folder import DataFolder
from cli.lines import harmless
from cli.refusal import CommandRefused
from mesh.errors import from_rpc_error
from mesh.money import Money

_ANSWER_S_MAX = 10.0
# Amounts stand there for people already.
_FOR_PROGRAMS = "_minor_units"


async def trace(folder: DataFolder, reference: str) -> TraceDonationResponse:
    """What the mesh knows under the reference.

    Raises:
        CommandRefused: no mesh runs here, it knows nothing of the reference, or it does not answer.
    """
    address = status.running(folder).address("donation")
    if address is None:
        raise CommandRefused("donation does not run: see `mesh status`")
    async with grpc.aio.insecure_channel(address) as channel:
        request = TraceDonationRequest(reference=reference)
        try:
            return await DonationOperationsServiceStub(channel).TraceDonation(request, timeout=_ANSWER_S_MAX)
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error, dependency="donation")
            raise CommandRefused(harmless(f"{reference}: {refusal.detail} ({refusal.reason_name})")) from error


def as_json(answer: TraceDonationResponse) -> str:
    """The answer for programs."""
    return MessageToJson(answer, preserving_proto_field_name=True)


def show(console: Console, answer: TraceDonationResponse) -> None:
    """The answer for people."""
    if answer.HasField("donation"):
        console.print(_headline(answer.donation), style="bold", markup=False, soft_wrap=True)
    if console.is_terminal:
        console.print(_table(answer))
    else:
        _show_lines(console, answer)
    next_time = f" ({_time(answer.next_time)})" if answer.HasField("next_time") else ""
    for name, words in (("why ", answer.why), ("next", f"{answer.next}{next_time}")):
        console.print(f"{name}  {harmless(words)}", markup=False, soft_wrap=True)


def _table(answer: TraceDonationResponse) -> Table:
    table = Table("time", "service", "what")
    # Ids are there to be taken on: none is cut.
    table.add_column("details", overflow="fold")
    for step in answer.steps:
        cells = (_time(step.time), step.service, step.what, "\n".join(_details(step.details)))
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    return table


def _show_lines(console: Console, answer: TraceDonationResponse) -> None:
    """For pipes: nothing is cut or folded."""
    for step in answer.steps:
        console.print(harmless(f"{_time(step.time)}  {step.service}  {step.what}"), markup=False, soft_wrap=True)
        for line in _details(step.details):
            console.print(harmless(f"    {line}"), markup=False, soft_wrap=True)


def _headline(donation: Donation) -> str:
    state = Donation.State.Name(donation.state).removeprefix("STATE_")
    return f"donation {donation.donation_id}: {Money(donation.amount.minor_units, donation.amount.currency)}, {state}"


def _time(time: Timestamp) -> str:
    """UTC, to the millisecond."""
    return f"{time.ToDatetime().isoformat(sep=' ', timespec='milliseconds')}Z"


def _details(details: Mapping[str, str]) -> list[str]:
    return [f"{name} {details[name]}" for name in sorted(details) if not name.endswith(_FOR_PROGRAMS)]
