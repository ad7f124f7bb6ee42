"""A promise with the real payment service and Stripe's sandbox behind it, to each of its ends."""

from __future__ import annotations

import datetime
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.campaign_service_pb2_grpc import CampaignServiceStub
from giving.donation.v1.charity_service_pb2_grpc import CharityServiceStub
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub

import donation_svc.app
from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh.clock import ManualClock
from tests.support.folders import reachable_folder
from tests.support.giving import open_cause
from tests.support.mesh import donation_settings
from tests.support.sandbox import Sandbox, running_sandbox
from tests.support.schemas import make_database
from tests.support.till import confirm, running_till
from tests.support.waiting import until


@dataclass(frozen=True)
class Counter:
    """Donations and payments over one sandbox; the services' clock is moved by hand."""

    sandbox: Sandbox
    clock: ManualClock
    charities: Any
    campaigns: Any
    donations: Any

    async def give(self, campaign_id: str) -> messages.CreateDonationResponse:
        amount = Money(minor_units=2500, currency="USD")
        request = messages.CreateDonationRequest(request_id=str(uuid.uuid4()), campaign_id=campaign_id, amount=amount)
        return await self.donations.CreateDonation(request)

    async def reaches(self, donation_id: str, state: Any, *, retryable: bool = False) -> Donation:
        """The donation, once it has come to a state."""

        async def donation() -> Donation:
            answer = await self.donations.GetDonation(messages.GetDonationRequest(donation_id=donation_id))
            return answer.donation

        return await until(donation, holds=lambda found: (found.state, found.retryable) == (state, retryable))

    async def intent_of(self, secret: str) -> dict[str, Any]:
        """What Stripe's book says of the intent behind a client secret."""
        return (await self.sandbox.book())[secret.partition("_secret_")[0]]


@pytest.fixture(scope="module")
async def counter(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Counter]:
    schemas, clock = await make_database(postgres_server.dsn, "donation_svc", "payment_svc"), ManualClock()
    with reachable_folder() as folder:
        async with (
            nats(Path(folder)) as broker,
            running_sandbox(tmp_path_factory.mktemp(f"sandbox-{secrets.token_hex(2)}")) as sandbox,
            running_till(schemas, nats_url=broker.url, sandbox=sandbox, clock=clock) as till,
            donation_svc.app.application(
                donation_settings(schemas, nats_url=broker.url, payment_port=till.port), clock
            ) as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            stubs = CharityServiceStub(channel), CampaignServiceStub(channel), DonationServiceStub(channel)
            yield Counter(sandbox, clock, *stubs)


@pytest.fixture
async def campaign_id(counter: Counter) -> str:
    services: Any = counter
    return (await open_cause(services)).campaign_id


@pytest.mark.requirement("INT-2")
async def test_a_gift_that_is_paid_counts(counter: Counter, campaign_id: str) -> None:
    answer = await counter.give(campaign_id)
    assert answer.donation.state == Donation.STATE_AWAITING_PAYMENT

    await confirm(counter.sandbox, answer.client_secret)

    donation = await counter.reaches(answer.donation.donation_id, Donation.STATE_SUCCEEDED)
    assert donation.gross.minor_units == 2500


@pytest.mark.requirement("INT-2")
async def test_a_declined_gift_is_tried_again_with_the_same_secret(counter: Counter, campaign_id: str) -> None:
    answer = await counter.give(campaign_id)
    donation_id = answer.donation.donation_id
    await confirm(counter.sandbox, answer.client_secret, "pm_card_chargeDeclined")

    declined = await counter.reaches(donation_id, Donation.STATE_FAILED, retryable=True)
    assert declined.failure_code
    request = messages.GetDonationRequest(donation_id=donation_id, include_client_secret=True)
    assert (await counter.donations.GetDonation(request)).client_secret == answer.client_secret

    await confirm(counter.sandbox, answer.client_secret)
    await counter.reaches(donation_id, Donation.STATE_SUCCEEDED)


@pytest.mark.requirement("INT-7")
@pytest.mark.parametrize(("declined", "end"), [(False, Donation.STATE_EXPIRED), (True, Donation.STATE_FAILED)])
async def test_what_is_not_paid_within_a_day_is_called_off_at_stripe_and_ends(
    counter: Counter, campaign_id: str, declined: bool, end: Any
) -> None:
    answer = await counter.give(campaign_id)
    donation_id = answer.donation.donation_id
    if declined:
        await confirm(counter.sandbox, answer.client_secret, "pm_card_chargeDeclined")
        await counter.reaches(donation_id, Donation.STATE_FAILED, retryable=True)

    counter.clock.advance(datetime.timedelta(hours=24, minutes=1))

    await counter.reaches(donation_id, end)
    assert (await counter.intent_of(answer.client_secret))["status"] == "canceled"
