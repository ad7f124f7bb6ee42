"""`mesh trace`: the table that a person reads, the document that a program reads, and what it says of nothing."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from giving.common.v1 import error_pb2
from giving.donation.v1 import donation_operations_service_pb2 as messages
from giving.donation.v1 import donation_operations_service_pb2_grpc
from giving.donation.v1.donation_pb2 import Donation
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from cli import family
from cli.folder import DataFolder, write_private
from cli.runfile import Entry
from cli.trace import show
from mesh.errors import Refusal
from mesh.rpc.server import serve
from tests.cli.mesh_terminal import mesh
from tests.support.pretend import settings

pytestmark = pytest.mark.requirement("OPS-3")
MOMENT = Timestamp(seconds=1_767_225_600, nanos=250_000_000)
STEPS = [
    messages.TraceDonationResponse.Step(
        time=MOMENT,
        service="donation",
        what="promised, before its payment was asked for",
        details={"amount": "25.00 USD", "amount_minor_units": "2500", "actor": "[red]ann[/]"},
    ),
    messages.TraceDonationResponse.Step(time=MOMENT, service="payment", what="RefundPayment was asked for"),
]
DONATION = Donation(donation_id="d-1", state=Donation.STATE_SUCCEEDED, amount={"minor_units": 2500, "currency": "USD"})


class DonationNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_DONATION_NOT_FOUND


class Operations(donation_operations_service_pb2_grpc.DonationOperationsServiceServicer):
    """Knows one donation, by one reference, and a payment without one."""

    async def TraceDonation(self, request, context):  # noqa: N802 - named by the contract
        if request.reference not in ("order-1", "pi_1"):
            raise DonationNotFound("no service knows this reference", donation_id=request.reference)
        donation = DONATION if request.reference == "order-1" else None
        return messages.TraceDonationResponse(
            donation=donation, steps=STEPS, why="It counts.", next="Nothing: it has ended.", next_time=MOMENT
        )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[None]:
    """A donation service that the folder's run file names, under a supervisor that lives: this process."""
    data = DataFolder(folder)
    data.prepare()

    def register(server: grpc.aio.Server) -> None:
        donation_operations_service_pb2_grpc.add_DonationOperationsServiceServicer_to_server(Operations(), server)

    async with serve(settings(), modules=(messages,), register=register, probes={}) as server:
        supervisor = family.key_of(os.getpid())
        assert supervisor
        part = Entry("donation", supervisor.pid, supervisor.started, "grpc", f"127.0.0.1:{server.port}", since=0)
        document = {"supervisor": dataclasses.asdict(supervisor), "parts": [dataclasses.asdict(part)]}
        write_private(data.run_file, json.dumps(document))
        yield


async def test_a_donation_is_told_as_a_table_with_why_and_what_comes_next(folder: Path) -> None:
    async with running(folder):
        ended = await mesh("trace", "order-1", "--data", str(folder), COLUMNS="160")
    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[0] == "donation d-1: 25.00 USD, SUCCEEDED"
    assert lines[-2:] == ["why   It counts.", "next  Nothing: it has ended. (2026-01-01 00:00:00.250Z)"]
    assert "2026-01-01 00:00:00.250Z  donation  promised, before its payment was asked for" in lines
    # What others wrote is shown as they wrote it, and amounts once.
    assert "actor [red]ann[/]" in ended.out
    assert "amount 25.00 USD" in ended.out
    assert "minor_units" not in ended.out


async def test_a_program_gets_the_whole_answer(folder: Path) -> None:
    async with running(folder):
        ended = await mesh("trace", "pi_1", "--json", "--data", str(folder))
    document = json.loads(ended.out)
    assert (ended.code, document["why"], document["next_time"]) == (0, "It counts.", "2026-01-01T00:00:00.250Z")
    assert document["steps"][0]["details"]["amount_minor_units"] == "2500"
    assert "donation" not in document


async def test_what_nobody_knows_and_a_mesh_that_does_not_run_are_one_line(folder: Path) -> None:
    async with running(folder):
        ended = await mesh("trace", "order-2", "--data", str(folder))
    assert (ended.code, ended.lines) == (1, ["mesh: order-2: no service knows this reference (DONATION_NOT_FOUND)"])
    ended = await mesh("trace", "order-1", "--data", str(folder / "another"))
    assert (ended.code, ended.lines) == (1, [f"mesh: nothing runs on {folder}/another: start it with `mesh up`"])


def test_a_narrow_terminal_folds_ids_and_cuts_none() -> None:
    intent = "pi_3rrMctsFUyNzR3OqKXyTq1Zw"
    step = messages.TraceDonationResponse.Step(what="promised", service="donation", details={"provider_id": intent})
    answer = messages.TraceDonationResponse(steps=[step])
    out = io.StringIO()
    show(Console(file=out, force_terminal=True, width=60, color_system=None), answer)
    told = "".join(line.split("│")[4].strip() for line in out.getvalue().splitlines() if line.count("│") == 5)
    assert intent in told.replace(" ", "")
