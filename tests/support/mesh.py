"""The whole mesh in one process: the services' own applications on free ports, over real servers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
from giving.aggregate.v1.aggregate_service_pb2_grpc import AggregateServiceStub
from giving.donation.v1.campaign_service_pb2_grpc import CampaignServiceStub
from giving.donation.v1.charity_service_pb2_grpc import CharityServiceStub
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub
from giving.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub

import aggregator_svc.app
import aggregator_svc.config
import donation_svc.app
import donation_svc.config
import gateway.app
import gateway.config
import payment_svc.app
import payment_svc.config
from tests.support.schemas import Schemas

TOKEN = "a-development-token-of-tests"
COMMON: dict[str, Any] = {
    "mesh_mode": "development",
    "listen_port": 0,
    "drain_s": 0,
    "grace_s": 2,
    "event_shards": 4,
    "page_token_key": "k" * 32,
    "access_token_key": "t" * 32,
    "data_key": "ab" * 32,
}


@dataclass(frozen=True)
class Mesh:
    """A mesh that runs."""

    schemas: Schemas
    nats_url: str
    redis_url: str
    donation_port: int
    payment_port: int
    aggregator_port: int
    charities: Any
    campaigns: Any
    donations: Any
    aggregates: Any
    ledger: Any
    rest: aiohttp.ClientSession


def donation_settings(schemas: Schemas, *, nats_url: str, payment_port: int, **more: Any) -> donation_svc.config.Settings:
    return donation_svc.config.Settings(
        **COMMON
        | {
            "database_url": schemas.dsn("donation"),
            "nats_url": nats_url,
            "payment_target": f"127.0.0.1:{payment_port}",
        }
        | more
    )


def payment_settings(schemas: Schemas, *, nats_url: str, **more: Any) -> payment_svc.config.Settings:
    stripe = {"stripe_api_key": "sk_test_of_nobody", "stripe_webhook_secrets": "whsec_of_nobody", "stripe_request_s": 2}
    own = {"database_url": schemas.dsn("payment"), "nats_url": nats_url}
    return payment_svc.config.Settings(**COMMON | stripe | own | more)


def aggregator_settings(schemas: Schemas, *, nats_url: str, redis_url: str, **more: Any) -> aggregator_svc.config.Settings:
    return aggregator_svc.config.Settings(
        **COMMON | {"database_url": schemas.dsn("aggregator"), "nats_url": nats_url, "redis_url": redis_url} | more
    )


def gateway_settings(**more: Any) -> gateway.config.GatewaySettings:
    return gateway.config.GatewaySettings(
        **{"mesh_mode": "development", "listen_port": 0, "development_token": TOKEN, "drain_s": 0, "grace_s": 2} | more
    )


@asynccontextmanager
async def running_gateway(*, donation: int, payment: int, aggregator: int) -> AsyncIterator[aiohttp.ClientSession]:
    """Both gateway processes in one; the session speaks to the REST one as the development operator."""
    targets = {
        "donation_target": f"127.0.0.1:{donation}",
        "payment_target": f"127.0.0.1:{payment}",
        "aggregator_target": f"127.0.0.1:{aggregator}",
    }
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(gateway.app.application(gateway_settings(gateway_role="live", **targets)))
        live_url = f"http://127.0.0.1:{live.port}"
        rest = await stack.enter_async_context(gateway.app.application(gateway_settings(live_url=live_url, **targets)))
        yield await stack.enter_async_context(
            aiohttp.ClientSession(f"http://127.0.0.1:{rest.port}", headers={"Authorization": f"Bearer {TOKEN}"})
        )


@asynccontextmanager
async def running_mesh(schemas: Schemas, *, nats_url: str, redis_url: str) -> AsyncIterator[Mesh]:
    """Every service, healthy, until it is left."""
    async with AsyncExitStack() as stack:
        payment = await stack.enter_async_context(payment_svc.app.application(payment_settings(schemas, nats_url=nats_url)))
        donation = await stack.enter_async_context(
            donation_svc.app.application(donation_settings(schemas, nats_url=nats_url, payment_port=payment.port))
        )
        aggregator = await stack.enter_async_context(
            aggregator_svc.app.application(aggregator_settings(schemas, nats_url=nats_url, redis_url=redis_url))
        )
        rest = await stack.enter_async_context(
            running_gateway(donation=donation.port, payment=payment.port, aggregator=aggregator.port)
        )
        to_donation = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{donation.port}"))
        to_payment = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{payment.port}"))
        to_aggregator = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{aggregator.port}"))
        yield Mesh(
            schemas=schemas,
            nats_url=nats_url,
            redis_url=redis_url,
            donation_port=donation.port,
            payment_port=payment.port,
            aggregator_port=aggregator.port,
            charities=CharityServiceStub(to_donation),
            campaigns=CampaignServiceStub(to_donation),
            donations=DonationServiceStub(to_donation),
            aggregates=AggregateServiceStub(to_aggregator),
            ledger=LedgerServiceStub(to_payment),
            rest=rest,
        )


def fresh_key(prefix: str = "key") -> str:
    """An idempotency key that nobody has used."""
    return f"{prefix}-{secrets.token_hex(8)}"
