"""CreateDonation while the provider's calls are paused: a promise where the campaign takes one, otherwise a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from giving.common.v1.event_pb2 import Event
from giving.donation.v1.campaign_service_pb2 import GetCampaignRequest, ListCampaignsRequest
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.event_pb2 import CampaignChanged

from tests.donation.conftest import Desk, promise
from tests.donation.test_sweeping import HOUR, MINUTE, item_of
from tests.support.books import reading
from tests.support.giving import Cause, campaign_request, open_cause
from tests.support.refusals import is_replay, refusal_of
from tests.support.waiting import until

pytestmark = pytest.mark.requirement("PAY-8")


@pytest.fixture
async def patient(desk: Desk, appeal: Cause) -> Cause:
    """A campaign that takes promises meanwhile."""
    return await open_cause(desk, accepts_deferred=True)


async def refused(desk: Desk, request: Any) -> str:
    """Asks, is refused, and finds the id of the donation that waits for the repeat."""
    before = set(await donations(desk))
    refusal = await refusal_of(desk.donations.CreateDonation(request))
    assert (refusal.reason_name, refusal.retry_after_s) == ("PROVIDER_UNAVAILABLE", 4)
    new = set(await donations(desk)) - before
    return new.pop() if new else ""


async def donations(desk: Desk) -> list[str]:
    async with reading(desk.schemas, "donation") as connection:
        return [str(row["id"]) for row in await connection.fetch("SELECT id FROM donation")]


async def test_a_campaign_says_whether_it_takes_promises_meanwhile(desk: Desk, appeal: Cause, patient: Cause) -> None:
    for cause, accepts in ((appeal, False), (patient, True)):
        campaign = (await desk.campaigns.GetCampaign(GetCampaignRequest(campaign_id=cause.campaign_id))).campaign
        [listed] = (await desk.campaigns.ListCampaigns(ListCampaignsRequest(charity_id=cause.charity_id))).campaigns
        async with reading(desk.schemas, "donation") as connection:
            rows = await connection.fetch("SELECT payload FROM event")
        events = [event for row in rows if (event := Event.FromString(row["payload"])).subject == cause.campaign_id]
        announced = {CampaignChanged.FromString(event.data).campaign.accepts_deferred for event in events}
        assert (campaign.accepts_deferred, listed.accepts_deferred, announced) == (accepts, accepts, {accepts})


@pytest.mark.requirement("IDM-2")
async def test_another_choice_under_a_used_key_is_another_campaign(desk: Desk, appeal: Cause) -> None:
    request = campaign_request(appeal.charity_id, accepts_deferred=True)
    await desk.campaigns.CreateCampaign(request)
    request.accepts_deferred = False
    assert (await refusal_of(desk.campaigns.CreateCampaign(request))).reason_name == "IDEMPOTENCY_KEY_REUSED"


async def test_where_promises_are_taken_the_donation_waits_and_becomes_ready_by_itself(desk: Desk, patient: Cause) -> None:
    desk.payments.paused = True
    request = promise(patient.campaign_id)
    first = await desk.give(request)
    assert (first.donation.state, first.client_secret) == (Donation.STATE_PENDING, "")
    assert first.access_token
    again = await desk.give(request)
    assert (again.donation.donation_id, again.client_secret) == (first.donation.donation_id, "")

    desk.payments.paused = False
    desk.clock.advance(MINUTE)

    await desk.until_state(first.donation.donation_id, Donation.STATE_AWAITING_PAYMENT)
    assert (await desk.give(request)).client_secret


@pytest.mark.requirement("IDM-1")
async def test_a_refused_key_stays_good_and_makes_one_donation_with_one_payment(desk: Desk, appeal: Cause) -> None:
    desk.payments.paused = True
    request = promise(appeal.campaign_id)
    donation_id = await refused(desk, request)
    assert await refused(desk, request) == ""

    desk.payments.paused = False
    assert await is_replay(desk.donations.CreateDonation(request))
    made = await desk.give(request)

    assert (made.donation.donation_id, made.donation.state) == (donation_id, Donation.STATE_AWAITING_PAYMENT)
    assert made.client_secret
    assert desk.payments.provider_intents[donation_id] == 1
    await desk.tell(desk.payments.succeed(donation_id))
    await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)
    desk.payments.paused = True
    paid = await desk.give(request)
    assert (paid.donation.donation_id, paid.client_secret) == (donation_id, "")


async def test_what_was_refused_becomes_ready_without_its_donor_and_his_repeat_finds_it(desk: Desk, appeal: Cause) -> None:
    desk.payments.paused = True
    request = promise(appeal.campaign_id)
    donation_id = await refused(desk, request)
    desk.clock.advance(MINUTE)

    async def waits() -> str:
        item = await item_of(desk, donation_id)
        return item.reason if item else ""

    await until(waits, holds=lambda found: found == "the payment is not ready: PROVIDER_UNAVAILABLE")
    desk.payments.paused = False
    desk.clock.advance(MINUTE)
    await desk.until_state(donation_id, Donation.STATE_AWAITING_PAYMENT)
    # It has a payment: it is answered as it stands, also while calls are paused again.
    desk.payments.paused = True
    assert (await desk.give(request)).client_secret
    assert desk.payments.provider_intents[donation_id] == 1


async def test_what_was_refused_and_is_not_repeated_within_an_hour_ends_also_during_the_pause(
    desk: Desk, appeal: Cause, patient: Cause
) -> None:
    desk.payments.paused = True
    request, taken = promise(appeal.campaign_id), promise(patient.campaign_id)
    donation_id = await refused(desk, request)
    waiting_id = (await desk.give(taken)).donation.donation_id
    desk.clock.advance(HOUR)
    for ended, again in ((donation_id, request), (waiting_id, taken)):
        await desk.until_state(ended, Donation.STATE_EXPIRED)
        answer = await desk.give(again)
        assert (answer.donation.donation_id, answer.donation.state) == (ended, Donation.STATE_EXPIRED)
        assert (answer.client_secret, desk.payments.provider_intents[ended]) == ("", 0)


async def test_a_payment_service_that_is_away_refuses_nobody(desk: Desk, appeal: Cause) -> None:
    desk.payments.away = True
    assert (await desk.give(promise(appeal.campaign_id))).donation.state == Donation.STATE_PENDING


@pytest.mark.requirement("IDM-2")
async def test_other_content_under_a_refused_key_is_refused(desk: Desk, appeal: Cause) -> None:
    desk.payments.paused = True
    request = promise(appeal.campaign_id)
    await refused(desk, request)
    request.amount.minor_units += 1
    assert (await refusal_of(desk.donations.CreateDonation(request))).reason_name == "IDEMPOTENCY_KEY_REUSED"
