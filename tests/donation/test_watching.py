"""WatchDonation: as it stands, then each change, until nothing more can come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub

from tests.donation.conftest import Desk, guest, promise, speaking_as
from tests.donation.test_sweeping import MINUTE, half_made, twin
from tests.support.giving import Cause, gift
from tests.support.refusals import refusal_of

BOUND_S = 20


def watch(stub: Any, donation_id: str, **more: Any) -> Any:
    return stub.WatchDonation(messages.WatchDonationRequest(donation_id=donation_id), **more)


async def next_state(stream: Any) -> Any:
    async with asyncio.timeout(BOUND_S):
        return (await anext(aiter(stream))).donation.state


async def rest_of(stream: Any) -> list[Any]:
    async with asyncio.timeout(BOUND_S):
        return [response.donation.state async for response in stream]


@pytest.mark.requirement("INT-8")
async def test_a_watcher_sees_where_it_stands_each_change_and_the_end(desk: Desk, appeal: Cause) -> None:
    donation_id = await half_made(desk, appeal.campaign_id)
    stream = watch(desk.donations, donation_id)

    assert await next_state(stream) == Donation.STATE_PENDING
    desk.clock.advance(MINUTE)
    assert await next_state(stream) == Donation.STATE_AWAITING_PAYMENT
    await desk.tell(desk.payments.decline(donation_id))
    assert await next_state(stream) == Donation.STATE_FAILED
    await desk.tell(desk.payments.succeed(donation_id))
    assert await rest_of(stream) == [Donation.STATE_SUCCEEDED]


@pytest.mark.requirement("INT-8")
async def test_what_has_ended_is_shown_once(desk: Desk, appeal: Cause) -> None:
    donation = (await desk.donations.RecordDonation(gift(appeal.campaign_id))).donation
    assert await rest_of(watch(desk.donations, donation.donation_id)) == [Donation.STATE_SUCCEEDED]


@pytest.mark.requirement("INT-8", "PAY-5", "PAY-6")
async def test_a_watcher_sees_a_dispute_to_its_verdict_and_a_refund_to_its_last_cent(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id, 100))).donation.donation_id
    await desk.tell(desk.payments.succeed(donation_id), desk.payments.refund(donation_id, 40))
    await desk.until_state(donation_id, Donation.STATE_PARTIALLY_REFUNDED)
    stream = watch(desk.donations, donation_id)
    assert await next_state(stream) == Donation.STATE_PARTIALLY_REFUNDED

    await desk.tell(desk.payments.dispute(donation_id, 60))
    assert await next_state(stream) == Donation.STATE_DISPUTED
    other = watch(desk.donations, donation_id)
    assert await next_state(other) == Donation.STATE_DISPUTED
    await desk.tell(desk.payments.lose(donation_id))
    assert await rest_of(stream) == await rest_of(other) == [Donation.STATE_DISPUTE_LOST]

    # Won after all, and given back.
    await desk.tell(desk.payments.dispute(donation_id, -60), desk.payments.refund(donation_id, 60))
    await desk.until_state(donation_id, Donation.STATE_REFUNDED)
    assert await rest_of(watch(desk.donations, donation_id)) == [Donation.STATE_REFUNDED]


@pytest.mark.requirement("INT-8", "EVT-8")
async def test_many_watchers_of_one_donation_all_see_the_end_also_at_another_replica(desk: Desk, appeal: Cause) -> None:
    answer = await desk.give(promise(appeal.campaign_id))
    donation_id = answer.donation.donation_id
    async with twin(desk) as channel:
        streams = [watch(stub, donation_id) for stub in (desk.donations, DonationServiceStub(channel)) for _ in range(10)]
        for stream in streams:
            assert await next_state(stream) == Donation.STATE_AWAITING_PAYMENT
        await desk.tell(desk.payments.succeed(donation_id))
        for stream in streams:
            assert await rest_of(stream) == [Donation.STATE_SUCCEEDED]


@pytest.mark.requirement("INT-8", "INT-10")
async def test_strangers_watch_nothing_and_the_tokens_holder_his_own(desk: Desk, appeal: Cause) -> None:
    answer = await desk.give(promise(appeal.campaign_id))
    donation_id = answer.donation.donation_id

    for identity in (guest(), guest(access_token="gdt_" + "A" * 43)):
        stream = watch(desk.donations, donation_id, **speaking_as(identity))
        assert (await refusal_of(stream.read())).reason_name == "DONATION_NOT_FOUND"
    holder = speaking_as(guest(access_token=answer.access_token))
    stream = watch(desk.donations, donation_id, **holder)
    assert await next_state(stream) == Donation.STATE_AWAITING_PAYMENT
    stream.cancel()
