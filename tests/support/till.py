"""The payment service with Stripe's sandbox behind it and a gateway's webhook door before it: what money passes through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
from giving.common.v1.money_pb2 import Money
from giving.payment.v1 import payment_pb2, payment_service_pb2
from giving.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from giving.payment.v1.payment_operations_service_pb2 import Breaker, GetBreakerRequest, SetBreakerRequest
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub
from giving.payment.v1.payment_service_pb2_grpc import PaymentServiceStub

import payment_svc.app
from mesh.clock import ManualClock
from mesh.ids import new_id, new_tenant_id
from tests.support.books import reading
from tests.support.mesh import fresh_key, payment_settings, running_gateway, stripe_settings
from tests.support.sandbox import Sandbox
from tests.support.schemas import Schemas
from tests.support.waiting import until

# Where the donor comes back to after a step at the bank; nobody listens there.
RETURN = "http://127.0.0.1/back"

_POSTPONE = (
    "UPDATE payment SET next_attempt_time = '2100-01-01' WHERE next_attempt_time IS NOT NULL AND leased_until IS NULL"
)
_UNDER_WAY = "SELECT count(*) FROM payment WHERE next_attempt_time < '2100-01-01' OR leased_until IS NOT NULL"


@dataclass(frozen=True)
class Till:
    """A payment service that runs; its clock is moved by hand."""

    payments: Any
    ledger: Any
    port: int
    rest: aiohttp.ClientSession
    sandbox: Sandbox
    clock: ManualClock
    schemas: Schemas
    operations: Any

    async def create(self, request: payment_service_pb2.CreatePaymentRequest, **more: Any) -> Any:
        return await self.payments.CreatePayment(request, **more)

    async def payment(self, payment_id: str) -> payment_pb2.Payment:
        request = payment_service_pb2.GetPaymentRequest(payment_id=payment_id)
        return (await self.payments.GetPayment(request)).payment

    async def reaches(self, payment_id: str, state: int) -> payment_pb2.Payment:
        """The payment, once it has come to a state."""
        return await until(lambda: self.payment(payment_id), holds=lambda found: found.state == state)

    async def breaker(self) -> Breaker:
        """The circuit breaker, as it stands now."""
        return (await self.operations.GetBreaker(GetBreakerRequest())).breaker

    async def set_breaker(self, state: int, **more: Any) -> Breaker:
        """An operator's decision."""
        fields = {"request_id": fresh_key(), "state": state, "reason": "a test"}
        return (await self.operations.SetBreaker(SetBreakerRequest(**fields | more))).breaker

    async def postpone_everything(self) -> None:
        """Until nothing is being asked of the provider, and nothing that it was asked for so far is due in this century."""

        async def is_quiet() -> bool:
            async with reading(self.schemas, "payment") as connection:
                await connection.execute(_POSTPONE)
                return not await connection.fetchval(_UNDER_WAY)

        await until(is_quiet)

    async def requests(self, path: str) -> list[dict[str, Any]]:
        """What reached the sandbox under a path."""
        return [request for request in await self.sandbox.requests() if request["path"] == path]

    async def calls_about(self, payment: payment_pb2.Payment, *, path: str = "") -> int:
        """How often Stripe was asked, under a path or under any, for an intent of the payment's donation or for its own."""
        asked = await (self.requests(path) if path else self.sandbox.requests())
        known = [name for name in (payment.provider_id, payment.donation_id) if name]
        return sum(any(name in str(request) for name in known) for request in asked)


@asynccontextmanager
async def running_till(
    schemas: Schemas, *, nats_url: str, sandbox: Sandbox, clock: ManualClock, **more: Any
) -> AsyncIterator[Till]:
    settings = payment_settings(schemas, nats_url=nats_url, **stripe_settings(sandbox) | more)
    async with payment_svc.app.application(settings, clock) as service:
        async with (
            running_gateway(donation=1, payment=service.port, aggregator=1) as rest,
            grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
        ):
            before = sandbox.hooks.forward_to
            sandbox.hooks.forward_to = f"{str(rest._base_url).rstrip('/')}/webhooks/stripe"
            yield Till(
                PaymentServiceStub(channel),
                LedgerServiceStub(channel),
                service.port,
                rest,
                sandbox,
                clock,
                schemas,
                PaymentOperationsServiceStub(channel),
            )
            sandbox.hooks.forward_to = before


def order(minor_units: int = 2500, currency: str = "USD", **more: Any) -> payment_service_pb2.CreatePaymentRequest:
    """A request for a payment of a donation that has none."""
    charity = more.pop("charity", None) or new_tenant_id()
    fields = {
        "donation_id": str(new_id(tenant_id=charity)),
        "charity_id": str(charity),
        "campaign_id": str(new_id(tenant_id=charity)),
        "amount": Money(minor_units=minor_units, currency=currency),
    }
    return payment_service_pb2.CreatePaymentRequest(**fields | more)


def abandoning(request: payment_service_pb2.CreatePaymentRequest) -> payment_service_pb2.AbandonPaymentRequest:
    return payment_service_pb2.AbandonPaymentRequest(
        donation_id=request.donation_id,
        charity_id=request.charity_id,
        campaign_id=request.campaign_id,
        amount=request.amount,
    )


async def confirm(sandbox: Sandbox, client_secret: str, method: str = "pm_card_visa", **more: str) -> dict[str, Any]:
    """The donor's browser confirms, as Stripe.js does; what Stripe answers."""
    intent = client_secret.partition("_secret_")[0]
    form = {
        "key": sandbox.publishable,
        "client_secret": client_secret,
        "payment_method": method,
        "return_url": RETURN,
    } | more
    async with (
        aiohttp.ClientSession() as browser,
        browser.post(f"{sandbox.url}/v1/payment_intents/{intent}/confirm", data=form) as answer,
    ):
        return dict(await answer.json())
