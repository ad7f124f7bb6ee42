"""What the service finishes or ends by itself, and what it shows of it meanwhile."""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from giving.donation.v1.donation_operations_service_pb2 import ListStuckRequest, ListStuckResponse
from giving.donation.v1.donation_pb2 import Donation
from giving.payment.v1.payment_pb2 import Payment
from google.protobuf.duration_pb2 import Duration

import donation_svc.app
from mesh.postgres import load_queries
from tests.donation.conftest import Desk, promise
from tests.donation.test_promising import events_of
from tests.support.books import reading
from tests.support.giving import Cause
from tests.support.mesh import donation_settings
from tests.support.plans import grown, plan
from tests.support.refusals import refusal_of
from tests.support.waiting import until

MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)


async def stuck(desk: Desk, age_s: int = 0, **more: Any) -> ListStuckResponse:
    return await desk.operations.ListStuck(ListStuckRequest(age=Duration(seconds=age_s), **more))


async def item_of(desk: Desk, donation_id: str) -> ListStuckResponse.Item | None:
    """The donation among the exceptions."""
    token = ""
    while True:
        page = await stuck(desk, page_size=100, page_token=token)
        for item in page.items:
            if item.donation.donation_id == donation_id:
                return item
        token = page.next_page_token
        if not token:
            return None


async def half_made(desk: Desk, campaign_id: str) -> str:
    """A donation whose payment the payment service has never heard of."""
    desk.payments.away = True
    donation_id = (await desk.give(promise(campaign_id))).donation.donation_id
    desk.payments.away = False
    assert donation_id not in desk.payments.payments
    return donation_id


@pytest.mark.requirement("INT-7", "IDM-6")
async def test_a_half_made_donation_is_finished_without_any_caller_within_a_minute(desk: Desk, appeal: Cause) -> None:
    donation_id = await half_made(desk, appeal.campaign_id)
    assert (await desk.get(donation_id)).state == Donation.STATE_PENDING

    desk.clock.advance(MINUTE)

    await desk.until_state(donation_id, Donation.STATE_AWAITING_PAYMENT)
    assert desk.payments.provider_intents[donation_id] == 1


@pytest.mark.requirement("INT-7")
async def test_nothing_is_looked_at_before_its_time(desk: Desk, appeal: Cause) -> None:
    waiting, other = [(await desk.give(promise(appeal.campaign_id))).donation.donation_id for _ in range(2)]
    late = await half_made(desk, appeal.campaign_id)
    desk.clock.advance(MINUTE)
    await desk.until_state(late, Donation.STATE_AWAITING_PAYMENT)

    for donation_id in (waiting, other):
        assert desk.payments.calls_about(donation_id) == ["CreatePaymentRequest"]


@pytest.mark.requirement("INT-7")
async def test_what_never_becomes_ready_is_called_off_after_an_hour_and_stays_off(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id)
    desk.payments.away = True
    donation_id = (await desk.give(request)).donation.donation_id
    desk.clock.advance(MINUTE)

    async def waits() -> str:
        item = await item_of(desk, donation_id)
        return item.reason if item else ""

    reason = "the payment is not ready: DEPENDENCY_UNAVAILABLE"
    await until(waits, holds=lambda found: found == reason)

    desk.payments.away = False
    desk.clock.advance(HOUR)
    await desk.until_state(donation_id, Donation.STATE_EXPIRED)
    assert desk.payments.payments[donation_id].state == Payment.STATE_CANCELED
    assert desk.payments.provider_intents[donation_id] == 0
    assert (await desk.give(request)).donation.state == Donation.STATE_EXPIRED
    assert await item_of(desk, donation_id) is None


@pytest.mark.requirement("INT-7")
async def test_a_tombstone_that_somebody_left_and_did_not_tell_of_ends_the_donation(desk: Desk, appeal: Cause) -> None:
    donation_id = await half_made(desk, appeal.campaign_id)
    donation = await desk.get(donation_id)
    desk.payments._payment(donation).state = Payment.STATE_CANCELED

    desk.clock.advance(MINUTE)

    await desk.until_state(donation_id, Donation.STATE_EXPIRED)
    assert desk.payments.calls_about(donation_id)[-2:] == ["CreatePaymentRequest", "AbandonPaymentRequest"]


@pytest.mark.requirement("INT-7")
async def test_what_nobody_confirms_is_called_off_first_and_expires_then(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    item = await item_of(desk, donation_id)
    assert item
    assert item.reason == "the donor has not confirmed the payment"
    assert item.next_attempt_time.ToDatetime(datetime.UTC) == desk.clock.now() + 24 * HOUR

    desk.clock.advance(24 * HOUR + MINUTE)

    await desk.until_state(donation_id, Donation.STATE_EXPIRED)
    assert desk.payments.payments[donation_id].state == Payment.STATE_CANCELED
    assert (await events_of(desk, donation_id))[-1] == "DonationExpired"
    assert await item_of(desk, donation_id) is None


@pytest.mark.requirement("INT-7")
async def test_a_declined_donation_that_nobody_tries_again_fails_for_good(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    await desk.tell(desk.payments.decline(donation_id))
    await desk.until_state(donation_id, Donation.STATE_FAILED)

    desk.clock.advance(24 * HOUR + MINUTE)

    donation = await until(lambda: desk.get(donation_id), holds=lambda found: not found.retryable)
    assert (donation.state, donation.failure_code) == (Donation.STATE_FAILED, "card_declined")


@pytest.mark.requirement("INT-7")
async def test_a_success_that_races_the_expiry_wins(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    paid = desk.payments.succeed(donation_id)
    desk.clock.advance(24 * HOUR + MINUTE)
    settled = await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)

    await desk.tell(paid)
    later = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    await desk.tell(desk.payments.succeed(later))
    await desk.until_state(later, Donation.STATE_SUCCEEDED)
    assert await desk.get(donation_id) == settled


@pytest.mark.requirement("INT-7")
async def test_money_that_comes_after_the_expiry_still_counts(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    desk.clock.advance(24 * HOUR + MINUTE)
    await desk.until_state(donation_id, Donation.STATE_EXPIRED)

    await desk.tell(desk.payments.succeed(donation_id))

    assert (await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)).gross.minor_units == 500


@pytest.mark.requirement("INT-7")
async def test_while_the_payment_service_is_away_nothing_expires_and_everything_is_listed(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    desk.payments.away = True
    desk.clock.advance(24 * HOUR + MINUTE)

    async def waits() -> str:
        item = await item_of(desk, donation_id)
        return item.reason if item else ""

    reason = "the payment is not called off yet: DEPENDENCY_UNAVAILABLE"
    await until(waits, holds=lambda found: found == reason)
    item = await item_of(desk, donation_id)
    assert item
    assert item.next_attempt_time.ToDatetime(datetime.UTC) == desk.clock.now() + MINUTE
    desk.payments.away = False
    desk.clock.advance(2 * MINUTE)
    await desk.until_state(donation_id, Donation.STATE_EXPIRED)


@pytest.mark.requirement("IDM-4")
async def test_a_repeat_after_forty_days_returns_the_same_donation_and_asks_nobody(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id)
    donation_id = (await desk.give(request)).donation.donation_id
    await desk.tell(desk.payments.succeed(donation_id))
    await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)
    desk.clock.advance(40 * 24 * HOUR)

    again = await desk.give(request)

    assert (again.donation.donation_id, again.client_secret) == (donation_id, "")
    assert desk.payments.calls_about(donation_id) == ["CreatePaymentRequest"]


@asynccontextmanager
async def twin(desk: Desk) -> AsyncIterator[Any]:
    """A second donation service over the same stores."""
    settings = donation_settings(desk.schemas, nats_url=desk.nats_url, payment_port=desk.payment_port)
    async with donation_svc.app.application(settings, desk.clock) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield channel


@pytest.mark.requirement("INT-7", "EVT-8")
async def test_two_replicas_end_each_donation_once(desk: Desk, appeal: Cause) -> None:
    given = await asyncio.gather(*(desk.give(promise(appeal.campaign_id)) for _ in range(20)))
    ids = [answer.donation.donation_id for answer in given]
    async with twin(desk):
        desk.clock.advance(24 * HOUR + MINUTE)
        for donation_id in ids:
            await desk.until_state(donation_id, Donation.STATE_EXPIRED)

    for donation_id in ids:
        assert desk.payments.calls_about(donation_id) == ["CreatePaymentRequest", "AbandonPaymentRequest"]
        assert (await events_of(desk, donation_id)).count("DonationExpired") == 1


@pytest.mark.requirement("INT-7")
async def test_exceptions_are_listed_in_pages_oldest_first_and_only_when_old_enough(desk: Desk, appeal: Cause) -> None:
    desk.clock.advance(48 * HOUR)

    async def nothing_open() -> bool:
        return not (await stuck(desk)).items

    await until(nothing_open)
    ids = []
    for _ in range(5):
        ids.append((await desk.give(promise(appeal.campaign_id))).donation.donation_id)
        desk.clock.advance(MINUTE)

    seen, token = [], ""
    while True:
        page = await stuck(desk, page_size=2, page_token=token)
        seen += [item.donation.donation_id for item in page.items]
        token = page.next_page_token
        if not token:
            break
    assert seen == ids
    assert [item.donation.donation_id for item in (await stuck(desk, age_s=150)).items] == ids[:3]
    assert not (await stuck(desk, age_s=2**62)).items
    first = await stuck(desk, page_size=2)
    refusal = await refusal_of(stuck(desk, age_s=60, page_token=first.next_page_token))
    assert refusal.reason_name == "PAGE_TOKEN_INVALID"


@pytest.mark.requirement("INT-7")
async def test_due_donations_are_found_by_their_index(desk: Desk) -> None:
    async with reading(desk.schemas, "donation") as connection:
        # Of a few rows any way costs the same: what is asked is whether an index has the order.
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        for statement, index in (
            ("SELECT id FROM donation WHERE next_attempt_time <= now() ORDER BY next_attempt_time LIMIT 50", "donation_due"),
            ("SELECT id FROM donation WHERE next_attempt_time IS NOT NULL ORDER BY id LIMIT 50", "donation_open"),
        ):
            found = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
            assert index in found


@pytest.mark.requirement("INT-7")
async def test_due_donations_are_taken_without_reading_the_others(desk: Desk, appeal: Cause) -> None:
    await desk.give(promise(appeal.campaign_id))
    async with reading(desk.schemas, "donation") as connection, grown(connection, "donation"):
        found = await plan(connection, load_queries("donation_svc")["claim_due"], parameters=3)
    assert "donation_due" in found
    assert not re.search("Seq Scan|Nested Loop|Join", found)
