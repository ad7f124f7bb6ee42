"""Stripe's balance beside our books: what moves is found, posted once, and foots to the cent, whoever learned of it first."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from giving.common.v1.money_pb2 import Money
from giving.payment.v1 import payment_pb2, payment_service_pb2

from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh.clock import ManualClock
from tests.support.folders import reachable_folder
from tests.support.mesh import fresh_key
from tests.support.sandbox import running_sandbox
from tests.support.schemas import make_database
from tests.support.settling import PERIOD, Settling, settling_with
from tests.support.till import running_till

P = payment_pb2.Payment


@pytest.fixture(scope="module")
async def a_settling_till(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settling]:
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    more = {"settlement_poll_s": PERIOD.total_seconds()}
    with reachable_folder() as folder:
        async with (
            nats(folder) as broker,
            running_sandbox(tmp_path_factory.mktemp("stripe_of_the_settlement")) as stripe,
            running_till(schemas, nats_url=broker.url, sandbox=stripe, clock=ManualClock(), **more) as till,
            settling_with(till) as settling,
        ):
            yield settling


@pytest.fixture
async def settling(a_settling_till: Settling) -> AsyncIterator[Settling]:
    """Whatever a test did, in the end the books of both sides agree."""
    yield a_settling_till
    await a_settling_till.till.sandbox.clear()
    await a_settling_till.walk()
    await a_settling_till.agree()


async def refund(settling: Settling, payment: P, minor_units: int) -> payment_pb2.Attempt:
    request = payment_service_pb2.RefundPaymentRequest(
        request_id=fresh_key(),
        payment_id=payment.payment_id,
        amount=Money(minor_units=minor_units, currency=payment.amount.currency),
        reason="a wish",
    )
    return (await settling.till.payments.RefundPayment(request)).refund


@pytest.mark.requirement("REC-4", "LED-2")
async def test_what_a_charge_left_stands_on_the_balance_and_its_fee_on_fees(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    assert await settling.accounts(payment.payment_id) == {
        ("provider_clearing", "USD"): 10_000,
        ("campaign_payable", "USD"): -10_000,
    }
    await settling.walk()
    assert await settling.movements(payment.payment_id) == [("charge", "matched")]
    assert await settling.accounts(payment.payment_id) == {
        ("provider_balance", "USD"): 9_680,
        ("fees", "USD"): 320,
        ("campaign_payable", "USD"): -10_000,
    }
