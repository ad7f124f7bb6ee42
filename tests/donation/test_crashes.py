"""The process ends, as by a power cut, at each step: one donation, one intent and one refund, whoever finishes it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from giving.common.v1.event_pb2 import Event
from giving.donation.v1.campaign_service_pb2_grpc import CampaignServiceStub
from giving.donation.v1.charity_service_pb2_grpc import CharityServiceStub
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub
from nats.js import JetStreamContext

from cli.ports import PortBook
from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh.events.stream import connect, make_stream
from tests.donation.conftest import promise
from tests.donation.test_refunding import refund
from tests.support.books import reading
from tests.support.folders import reachable_folder
from tests.support.giving import Cause, open_cause
from tests.support.mesh import COMMON
from tests.support.payments import FakePayments, publish, serving
from tests.support.schemas import Schemas, make_database
from tests.support.waiting import until

SOON = "UPDATE donation SET next_attempt_time = now() WHERE id = $1 AND next_attempt_time IS NOT NULL"

IMPATIENT = [(f"grpc.{which}_reconnect_backoff_ms", 100) for which in ("initial", "min", "max")]
TESTS = 10  # no fewer than there are here


@dataclass(frozen=True)
class Post:
    """A donation service as a process of its own, to be killed and started again."""

    schemas: Schemas
    payments: FakePayments
    js: JetStreamContext
    environment: dict[str, str]

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.environment['LISTEN_PORT']}"

    @asynccontextmanager
    async def process(self, crash_points: str = "", **more: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Any]]:
        """The process, once it answers, and a channel to it."""
        environment = os.environ | self.environment | {"CRASH_POINTS": crash_points} | more
        command = (sys.executable, "-m", "donation_svc")
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.DEVNULL)
        try:
            async with grpc.aio.insecure_channel(self.target, options=IMPATIENT) as channel:
                await asyncio.wait_for(channel.channel_ready(), 20)
                yield process, channel
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def look_soon(self, donation_id: str) -> None:
        """Lets the sweeper look at once, whatever lease somebody died with."""
        async with reading(self.schemas, "donation") as connection:
            await connection.execute(SOON, UUID(donation_id))

    async def donations(self, campaign_id: str) -> list[tuple[str, int]]:
        """Ids and states of a campaign's donations."""
        async with reading(self.schemas, "donation") as connection:
            rows = await connection.fetch("SELECT id, state FROM donation WHERE campaign_id = $1", campaign_id)
        return [(str(row["id"]), row["state"]) for row in rows]

    async def until_state(self, campaign_id: str, state: Any) -> str:
        """The id of the campaign's one donation, once it is in a state."""
        found = await until(lambda: self.donations(campaign_id), holds=lambda rows: [row[1] for row in rows] == [state])
        return found[0][0]

    async def events(self, donation_id: str) -> list[str]:
        """Types of its events by version."""
        async with reading(self.schemas, "donation") as connection:
            rows = await connection.fetch("SELECT payload FROM event")
        events = [event for row in rows if (event := Event.FromString(row["payload"])).subject == donation_id]
        return [event.type.rpartition(".")[2] for event in sorted(events, key=lambda event: event.version)]


@dataclass(frozen=True)
class Counter:
    """What `open_cause` needs of a mesh."""

    charities: Any
    campaigns: Any


@pytest.fixture(scope="module")
async def post(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Post]:
    schemas = await make_database(postgres_server.dsn, "donation_svc")
    payments = FakePayments()
    port = PortBook(tmp_path_factory.mktemp("ports") / "ports.json").port("donation")
    with reachable_folder() as folder:
        async with (
            nats(Path(folder)) as broker,
            connect(broker.url, name=f"test-{secrets.token_hex(4)}") as client,
            serving(payments) as payment,
        ):
            await make_stream(client.jetstream(), service="payment", replicas=1)
            own = {
                "DATABASE_URL": schemas.dsn("donation"),
                "DATABASE_SCHEMA": "donation",
                "NATS_URL": broker.url,
                "LISTEN_PORT": port,
                "PAYMENT_TARGET": f"127.0.0.1:{payment.port}",
            }
            environment = {name.upper(): str(value) for name, value in (COMMON | own).items()}
            yield Post(schemas, payments, client.jetstream(), environment)


@pytest.fixture(scope="module")
async def causes(post: Post) -> list[Cause]:
    """One a test, all made by one process."""
    async with post.process() as (_, channel):
        counter: Any = Counter(CharityServiceStub(channel), CampaignServiceStub(channel))
        return [await open_cause(counter) for _ in range(TESTS)]


@pytest.fixture
def cause(causes: list[Cause]) -> Cause:
    return causes.pop()


async def died(process: asyncio.subprocess.Process) -> None:
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL


@pytest.mark.requirement("IDM-6", "INT-2")
@pytest.mark.parametrize("step", ["donation.recorded", "donation.payment_made", "donation.awaiting"])
async def test_a_repeat_after_a_crash_at_any_step_finds_one_donation_and_one_intent(
    post: Post, cause: Cause, step: str
) -> None:
    request = promise(cause.campaign_id)
    async with post.process(step) as (process, channel):
        with pytest.raises(grpc.aio.AioRpcError):
            await DonationServiceStub(channel).CreateDonation(request)
        await died(process)

    async with post.process() as (_, channel):
        answer = await DonationServiceStub(channel).CreateDonation(request)

    donation_id = answer.donation.donation_id
    assert answer.client_secret
    assert await post.donations(cause.campaign_id) == [(donation_id, Donation.STATE_AWAITING_PAYMENT)]
    assert post.payments.provider_intents[donation_id] == 1
    assert await post.events(donation_id) == ["DonationCreated", "DonationAwaitingPayment"]


@pytest.mark.requirement("INT-7", "IDM-6")
@pytest.mark.parametrize("step", ["donation.recorded", "donation.payment_made"])
async def test_what_a_crash_left_half_made_is_finished_without_any_caller(post: Post, cause: Cause, step: str) -> None:
    async with post.process(step) as (process, channel):
        with pytest.raises(grpc.aio.AioRpcError):
            await DonationServiceStub(channel).CreateDonation(promise(cause.campaign_id))
        await died(process)
    [(donation_id, state)] = await post.donations(cause.campaign_id)
    assert state == Donation.STATE_PENDING

    await post.look_soon(donation_id)
    async with post.process():
        await post.until_state(cause.campaign_id, Donation.STATE_AWAITING_PAYMENT)
    assert post.payments.provider_intents[donation_id] == 1


@pytest.mark.requirement("IDM-6", "EVT-6")
async def test_a_crash_between_settling_and_acknowledging_counts_once(post: Post, cause: Cause) -> None:
    async with post.process("donation.settled") as (process, channel):
        answer = await DonationServiceStub(channel).CreateDonation(promise(cause.campaign_id))
        donation_id = answer.donation.donation_id
        await publish(post.js, [post.payments.succeed(donation_id)])
        await died(process)
    async with post.process():
        await publish(post.js, [post.payments.refund(donation_id, 500)])
        await post.until_state(cause.campaign_id, Donation.STATE_REFUNDED)

    assert (await post.events(donation_id))[2:] == ["DonationSucceeded", "DonationRefunded"]


@pytest.mark.requirement("IDM-6", "INT-7")
async def test_a_crash_between_calling_off_and_ending_ends_the_donation_once(post: Post, cause: Cause) -> None:
    # Less than half a second: the donor has no time at all.
    async with post.process("donation.abandoned", CONFIRM_WITHIN_HOURS="0.0001") as (process, channel):
        answer = await DonationServiceStub(channel).CreateDonation(promise(cause.campaign_id))
        donation_id = answer.donation.donation_id
        await died(process)
    await post.look_soon(donation_id)
    async with post.process(CONFIRM_WITHIN_HOURS="0.0001"):
        await post.until_state(cause.campaign_id, Donation.STATE_EXPIRED)

    assert (await post.events(donation_id))[2:] == ["DonationExpired"]


@pytest.mark.requirement("IDM-6", "PAY-5")
@pytest.mark.parametrize("step", ["donation.refund_recorded", "donation.refund_made"])
async def test_a_refund_that_died_at_any_step_is_made_once_by_its_repeat(post: Post, cause: Cause, step: str) -> None:
    async with post.process(step) as (process, channel):
        donations = DonationServiceStub(channel)
        donation_id = (await donations.CreateDonation(promise(cause.campaign_id))).donation.donation_id
        await publish(post.js, [post.payments.succeed(donation_id)])
        await post.until_state(cause.campaign_id, Donation.STATE_SUCCEEDED)
        request = refund(donation_id, 200)
        with pytest.raises(grpc.aio.AioRpcError):
            await donations.RefundDonation(request)
        await died(process)

    async with post.process() as (_, channel):
        answer = await DonationServiceStub(channel).RefundDonation(request)

    assert (answer.donation.state, answer.donation.refunded.minor_units) == (Donation.STATE_PARTIALLY_REFUNDED, 200)
    assert post.payments.payments[donation_id].refunded.minor_units == 200
    assert (await post.events(donation_id))[2:] == ["DonationSucceeded", "DonationRefunded"]
