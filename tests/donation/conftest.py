"""The donation service's own application over real servers, beside a payment service that does what a test tells it."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from giving.common.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.money_pb2 import Money
from giving.common.v1.policy_pb2 import ROLE_DONOR, ROLE_PUBLIC
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.campaign_service_pb2_grpc import CampaignServiceStub
from giving.donation.v1.charity_service_pb2_grpc import CharityServiceStub
from giving.donation.v1.donation_operations_service_pb2_grpc import DonationOperationsServiceStub
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub
from nats.js import JetStreamContext

import donation_svc.app
from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh.clock import ManualClock
from mesh.events.stream import connect, make_stream
from mesh.rpc.call import IDENTITY_KEY
from tests.support.folders import reachable_folder
from tests.support.giving import Cause, open_cause
from tests.support.mesh import donation_settings
from tests.support.payments import FakePayments, publish, serving
from tests.support.schemas import Schemas, make_database
from tests.support.waiting import until


@dataclass(frozen=True)
class Desk:
    """The donation service, its callers' stubs, and what stands around it."""

    schemas: Schemas
    nats_url: str
    payments: FakePayments
    payment_port: int
    clock: ManualClock
    js: JetStreamContext
    charities: Any
    campaigns: Any
    donations: Any
    operations: Any
    letters: Any

    async def give(self, request: Any, **more: Any) -> messages.CreateDonationResponse:
        return await self.donations.CreateDonation(request, **more)

    async def get(self, donation_id: str) -> Donation:
        return (await self.donations.GetDonation(messages.GetDonationRequest(donation_id=donation_id))).donation

    async def tell(self, *events: Any) -> None:
        """Publishes events of the payment service."""
        await publish(self.js, events)

    async def until_state(self, donation_id: str, state: Any) -> Donation:
        return await until(lambda: self.get(donation_id), holds=lambda donation: donation.state == state)


def promise(campaign_id: str, minor_units: int = 500, currency: str = "USD", **more: Any) -> messages.CreateDonationRequest:
    fields: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "campaign_id": campaign_id,
        "amount": Money(minor_units=minor_units, currency=currency),
    }
    return messages.CreateDonationRequest(**fields | more)


def speaking_as(identity: Identity) -> dict[str, Any]:
    """What a call of the gateway on somebody's behalf carries."""
    return {"metadata": ((IDENTITY_KEY, identity.SerializeToString()),)}


def guest(**more: Any) -> Identity:
    fields: dict[str, Any] = {"roles": [ROLE_PUBLIC], "client_id": str(uuid.uuid4())}
    return Identity(**fields | more)


def donor(donor_id: str) -> Identity:
    return Identity(roles=[ROLE_PUBLIC, ROLE_DONOR], subject=f"donor-{donor_id}", donor_id=donor_id)


@pytest.fixture(scope="package")
async def desk(postgres_server: Postgres) -> AsyncIterator[Desk]:
    schemas = await make_database(postgres_server.dsn, "donation_svc")
    payments, clock = FakePayments(), ManualClock()
    # A broker of its own: on the mesh's, two services would share one durable consumer.
    with reachable_folder() as folder:
        async with (
            nats(Path(folder)) as broker,
            connect(broker.url, name=f"test-{secrets.token_hex(4)}") as client,
            serving(payments) as payment,
        ):
            await make_stream(client.jetstream(), service="payment", replicas=1)
            settings = donation_settings(schemas, nats_url=broker.url, payment_port=payment.port)
            async with (
                donation_svc.app.application(settings, clock) as server,
                grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
            ):
                yield Desk(
                    schemas=schemas,
                    nats_url=broker.url,
                    payments=payments,
                    payment_port=payment.port,
                    clock=clock,
                    js=client.jetstream(),
                    charities=CharityServiceStub(channel),
                    campaigns=CampaignServiceStub(channel),
                    donations=DonationServiceStub(channel),
                    operations=DonationOperationsServiceStub(channel),
                    letters=DeadLetterServiceStub(channel),
                )


@pytest.fixture
async def appeal(desk: Desk) -> Cause:
    """An open campaign at the desk; whatever a test broke at the payment service is whole again."""
    payments = desk.payments
    payments.away = payments.paused = payments.provider_slow = payments.answer_lost = False
    payments.gate.set()
    return await open_cause(desk)
