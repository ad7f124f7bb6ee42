"""`mesh rebuild`: follows a rebuild to its end, also where its stream is cut on the way."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as messages
from giving.aggregate.v1 import aggregate_service_pb2_grpc
from rich.console import Console

from cli import family
from cli.folder import DataFolder, write_private
from cli.rebuild import rebuild
from cli.refusal import CommandRefused
from cli.runfile import Entry
from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.rpc.server import serve
from tests.cli.mesh_terminal import mesh
from tests.support.pretend import settings

pytestmark = pytest.mark.requirement("TOT-10")


class Aggregates(aggregate_service_pb2_grpc.AggregateServiceServicer):
    """Is cut once, does not answer once, then comes to its end."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def RebuildTotals(self, request, context):  # noqa: N802 - named by the contract
        self.requests.append(request)
        if request.reason == "another runs":
            raise RequestInFlight("another rebuild runs", retry_after_s=5)
        yield messages.RebuildTotalsResponse(done=len(self.requests), estimated=3)
        if len(self.requests) == 2:
            # Later than the channel itself would ask again.
            raise DependencyUnavailable("the donation service does not answer", retry_after_s=5, dependency="donation")
        if len(self.requests) == 3:
            yield messages.RebuildTotalsResponse(done=1234, estimated=3, repaired=2, complete=True)


@asynccontextmanager
async def running(folder: Path, aggregates: Aggregates) -> AsyncIterator[None]:
    """An aggregator that the folder's run file names, under a supervisor that lives: this process."""
    data = DataFolder(folder)
    data.prepare()

    def register(server: grpc.aio.Server) -> None:
        aggregate_service_pb2_grpc.add_AggregateServiceServicer_to_server(aggregates, server)

    async with serve(settings(), modules=(messages,), register=register, probes={}) as server:
        supervisor = family.key_of(os.getpid())
        assert supervisor
        part = Entry("aggregator", supervisor.pid, supervisor.started, "grpc", f"127.0.0.1:{server.port}", since=0)
        document = {"supervisor": dataclasses.asdict(supervisor), "parts": [dataclasses.asdict(part)]}
        write_private(data.run_file, json.dumps(document))
        yield


async def at_once(_: float) -> None:
    """What is pretended is back already."""


async def test_a_rebuild_is_followed_to_its_end_by_one_key(folder: Path) -> None:
    aggregates = Aggregates()
    async with running(folder, aggregates):
        arguments = {"folder": DataFolder(folder), "campaign_id": "", "dry_run": False, "console": Console(quiet=True)}
        ended = await rebuild(reason="a drill", sleep=at_once, **arguments)  # type: ignore[arg-type]
    assert (ended.done, ended.repaired) == (1234, 2)
    assert len(aggregates.requests) == 3
    assert len({request.request_id for request in aggregates.requests}) == 1


async def test_a_refusal_ends_it_in_one_line(folder: Path) -> None:
    async with running(folder, Aggregates()):
        arguments = {"folder": DataFolder(folder), "campaign_id": "", "dry_run": True, "console": Console(quiet=True)}
        with pytest.raises(CommandRefused, match=r"another rebuild runs \(REQUEST_IN_FLIGHT\)"):
            await rebuild(reason="another runs", sleep=at_once, **arguments)  # type: ignore[arg-type]
    ended = await mesh("rebuild", "--reason", "a drill", "--data", str(folder / "another"))
    assert (ended.code, ended.lines) == (1, [f"mesh: nothing runs on {folder}/another: start it with `mesh up`"])
