"""What piled up while the broker was away, on its return (B10, EVT-4): how fast it drains, and what intake feels of that.

    python benchmarks/drain.py [--events 100000] [--rate 100] [--seconds 10]

Starts a database, a broker and a donation service of its own, the service in another process. Gifts are recorded at a steady
rate all the while. Prints percentiles of their answers before, while the broker is away, and during the drain; then the
drain's time and rate.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import structlog
import uvloop
from giving.donation.v1 import campaign_service_pb2
from giving.donation.v1.campaign_service_pb2_grpc import CampaignServiceStub
from giving.donation.v1.charity_service_pb2_grpc import CharityServiceStub
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub

import donation_svc.app
from cli.servers.nats import nats
from cli.servers.postgres import postgres
from mesh.events.log import EventLog
from mesh.postgres import Database, load_queries, open_database
from tests.support.folders import reachable_folder
from tests.support.giving import campaign_request, charity_request, gift
from tests.support.log import fact
from tests.support.mesh import donation_settings, fresh_key
from tests.support.schemas import Schemas, make_database

DEADLINE_S = 20
DRAIN_S_MAX = 600
BATCH = 1_000
# The payment service is not needed to record gifts; nobody listens there.
NOBODY = 9


def serve(schemas: Schemas, nats_url: str, pipe: Connection) -> None:
    """The donation service, in a process of its own, until the pipe says so."""
    # That the broker is away is no news here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def run() -> None:
        settings = donation_settings(schemas, nats_url=nats_url, payment_port=NOBODY)
        async with donation_svc.app.application(settings) as server:
            pipe.send(server.port)
            await asyncio.to_thread(pipe.recv)

    uvloop.run(run())


@asynccontextmanager
async def serving(schemas: Schemas, nats_url: str) -> AsyncIterator[int]:
    """The port of a donation service."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(schemas, nats_url, theirs))
    process.start()
    try:
        yield await asyncio.to_thread(ours.recv)
    finally:
        ours.send("end")
        await asyncio.to_thread(process.join)


class Intake:
    """Gifts at a steady rate, whatever the answers take."""

    def __init__(self, channel: grpc.aio.Channel, *, rate: int) -> None:
        self._channel = channel
        self._donations: Any = DonationServiceStub(channel)
        self._rate = rate
        self._calls: set[asyncio.Task[None]] = set()
        self.waits_s: list[float] = []

    async def open(self) -> None:
        charities: Any = CharityServiceStub(self._channel)
        campaigns: Any = CampaignServiceStub(self._channel)
        self._charity = (await charities.CreateCharity(charity_request())).charity.charity_id
        campaign = (await campaigns.CreateCampaign(campaign_request(self._charity))).campaign
        self._campaign = campaign.campaign_id
        request = campaign_service_pb2.ActivateCampaignRequest(request_id=fresh_key(), campaign_id=self._campaign)
        await campaigns.ActivateCampaign(request)

    async def run(self) -> None:
        due = time.perf_counter()
        while True:
            due += 1 / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            call = asyncio.create_task(self._give(due))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _give(self, due: float) -> None:
        await self._donations.RecordDonation(gift(self._campaign, 500), timeout=DEADLINE_S)
        self.waits_s.append(time.perf_counter() - due)

    def taken(self, phase: str) -> None:
        """Prints what was measured since the last call."""
        waits, self.waits_s = self.waits_s, []
        cuts = statistics.quantiles(waits, n=100)
        print(f"{phase:<14} {len(waits):>6} gifts   p50 {cuts[49] * 1000:6.1f} ms   p99 {cuts[98] * 1000:6.1f} ms")


async def pile_up(database: Database, events: int) -> None:
    log = EventLog(load_queries("mesh.events"))
    for _ in range(events // BATCH):
        async with database.transaction() as connection:
            await log.append(connection, [fact("x" * 64) for _ in range(BATCH)])


async def drained(database: Database) -> None:
    """Returns when what waits is no more than what comes in."""
    query = load_queries("mesh.events")["backlog"]
    async with asyncio.timeout(DRAIN_S_MAX):
        while True:
            async with database.connection() as connection:
                row = await connection.fetchrow(query, BATCH)
            if row is not None and row["events"] < BATCH:
                return
            await asyncio.sleep(0.1)


async def measure(database: Database, broker: Any, intake: Intake, *, events: int, seconds: float) -> None:
    await asyncio.sleep(seconds / 2)
    intake.waits_s.clear()
    await asyncio.sleep(seconds)
    intake.taken("before")
    await broker.kill()
    await pile_up(database, events)
    intake.waits_s.clear()
    await asyncio.sleep(seconds)
    intake.taken("broker away")
    await broker.start()
    began = time.perf_counter()
    await drained(database)
    drained_s = time.perf_counter() - began
    came_in = len(intake.waits_s)
    intake.taken("during drain")
    print(f"drained {events} events in {drained_s:.1f} s: {events / drained_s:,.0f}/s; {came_in / drained_s:,.0f}/s came in")


async def run(folder: Path, *, events: int, rate: int, seconds: float) -> None:
    async with postgres(folder) as server, nats(folder) as broker:
        schemas = await make_database(server.dsn, "donation_svc")
        async with (
            open_database(schemas.dsn("donation"), schema="donation", pool_max=4, application="bench") as database,
            serving(schemas, broker.url) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            intake = Intake(channel, rate=rate)
            await intake.open()
            giving = asyncio.create_task(intake.run())
            try:
                await measure(database, broker, intake, events=events, seconds=seconds)
            finally:
                giving.cancel()


def main() -> None:

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    with reachable_folder() as folder:
        uvloop.run(run(folder, events=given.events, rate=given.rate, seconds=given.seconds))


if __name__ == "__main__":
    main()
