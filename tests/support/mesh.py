"""The whole mesh in one process: the services' own applications on free ports, over real servers."""

from __future__ import annotations

import secrets
import socket
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
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub
from giving.payment.v1.payment_service_pb2_grpc import PaymentServiceStub

import aggregator_svc.app
import aggregator_svc.config
import donation_svc.app
import donation_svc.config
import gateway.app
import gateway.config
import payment_svc.app
import payment_svc.config
from mesh.clock import Clock
from tests.support.sandbox import Sandbox
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
    payments: Any
    payment_operations: Any
    rest: aiohttp.ClientSession
    base: str
    sandbox: Sandbox


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
    # Only tests of the poller fetch what a test withholds.
    own = {"database_url": schemas.dsn("payment"), "nats_url": nats_url, "stripe_poll_s": 0, "settlement_poll_s": 0}
    return payment_svc.config.Settings(**COMMON | stripe | own | more)


def aggregator_settings(
    schemas: Schemas, *, nats_url: str, redis_url: str, donation_port: int, **more: Any
) -> aggregator_svc.config.Settings:
    own = {
        "database_url": schemas.dsn("aggregator"),
        "nats_url": nats_url,
        "redis_url": redis_url,
        "donation_target": f"127.0.0.1:{donation_port}",
        # Only tests of the verifier have one: others would wait for what it does.
        "verify_period_s": 0,
        "verify_patience_s": 1,
    }
    return aggregator_svc.config.Settings(**COMMON | own | more)


def gateway_settings(**more: Any) -> gateway.config.GatewaySettings:
    return gateway.config.GatewaySettings(
        **{"mesh_mode": "development", "listen_port": 0, "development_token": TOKEN, "drain_s": 0, "grace_s": 2} | more
    )


@asynccontextmanager
async def running_gateway(
    *, donation: int, payment: int, aggregator: int, **settings: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """Both gateway processes in one, each an origin of its own; the session speaks to REST as the development operator."""
    # Each has to know the other's origin before it starts.
    rest_port, live_port = free_ports(2)
    base = f"http://127.0.0.1:{rest_port}"
    common = {
        "donation_target": f"127.0.0.1:{donation}",
        "payment_target": f"127.0.0.1:{payment}",
        "aggregator_target": f"127.0.0.1:{aggregator}",
        "cors_origins": (base,),
        "live_url": f"http://127.0.0.1:{live_port}",
    } | settings
    live = gateway_settings(gateway_role="live", listen_port=live_port, **common)
    rest = gateway_settings(listen_port=rest_port, **common)
    async with (
        gateway.app.application(live),
        gateway.app.application(rest),
        aiohttp.ClientSession(base, headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        yield session


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def stripe_settings(sandbox: Sandbox) -> dict[str, Any]:
    """What the payment service is told of the sandbox."""
    return {
        "stripe_api_key": sandbox.secret,
        "stripe_api_base": sandbox.url,
        "stripe_webhook_secrets": ",".join(sandbox.webhook_secrets),
    }


@asynccontextmanager
async def running_mesh(
    schemas: Schemas, *, nats_url: str, redis_url: str, sandbox: Sandbox, clock: Clock | None = None
) -> AsyncIterator[Mesh]:
    """Every service, healthy, until it is left; the sandbox's webhooks arrive at its gateway."""
    async with AsyncExitStack() as stack:
        payment = await stack.enter_async_context(
            payment_svc.app.application(payment_settings(schemas, nats_url=nats_url, **stripe_settings(sandbox)), clock)
        )
        donation = await stack.enter_async_context(
            donation_svc.app.application(donation_settings(schemas, nats_url=nats_url, payment_port=payment.port), clock)
        )
        aggregator = await stack.enter_async_context(
            aggregator_svc.app.application(
                aggregator_settings(schemas, nats_url=nats_url, redis_url=redis_url, donation_port=donation.port)
            )
        )
        rest = await stack.enter_async_context(
            running_gateway(
                donation=donation.port,
                payment=payment.port,
                aggregator=aggregator.port,
                stripe_publishable_key=sandbox.publishable,
                stripe_browser_base=sandbox.url,
            )
        )
        base = str(rest._base_url).rstrip("/")
        sandbox.hooks.forward_to = f"{base}/webhooks/stripe"
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
            payments=PaymentServiceStub(to_payment),
            payment_operations=PaymentOperationsServiceStub(to_payment),
            rest=rest,
            base=base,
            sandbox=sandbox,
        )
        sandbox.hooks.forward_to = ""


def fresh_key(prefix: str = "key") -> str:
    """An idempotency key that nobody has used."""
    return f"{prefix}-{secrets.token_hex(8)}"
