"""RecordDonation and ReverseRecordedDonation as a checkout sees them."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.campaign_service_pb2 import ActivateCampaignRequest, PauseCampaignRequest
from giving.donation.v1.charity_service_pb2 import SuspendCharityRequest
from giving.donation.v1.donation_pb2 import Donation

from mesh.errors import from_rpc_error
from tests.support.books import counted, reading
from tests.support.giving import Cause, campaign_request, charity_request, gift, open_cause, reversal, rule
from tests.support.mesh import Mesh, fresh_key
from tests.support.refusals import fields_of, is_replay, refusal_of

UNKNOWN = "0190b4a2-0000-7000-8000-000000000000"


async def recorded(mesh: Mesh, request: messages.RecordDonationRequest) -> Donation:
    return (await mesh.donations.RecordDonation(request)).donation


@pytest.mark.requirement("INT-3", "IDM-1")
async def test_a_repeat_returns_the_same_donation_and_says_so(mesh: Mesh, cause: Cause) -> None:
    request = gift(cause.campaign_id)
    first = await recorded(mesh, request)
    before = await counted(mesh.schemas, "donation")

    assert await recorded(mesh, request) == first
    assert await is_replay(mesh.donations.RecordDonation(request))
    assert not await is_replay(mesh.donations.RecordDonation(gift(cause.campaign_id)))
    assert await counted(mesh.schemas, "donation") == before + 1


@pytest.mark.requirement("IDM-2")
async def test_another_content_under_a_used_reference_is_refused_and_changes_nothing(mesh: Mesh, cause: Cause) -> None:
    request = gift(cause.campaign_id, 250)
    first = await recorded(mesh, request)

    for changed in (
        gift(cause.campaign_id, 251, payment_ref=request.payment_ref),
        gift(cause.campaign_id, 250, "EUR", payment_ref=request.payment_ref),
        gift(cause.campaign_id, 250, payment_ref=request.payment_ref, metadata={"note": "other"}),
    ):
        refusal = await refusal_of(mesh.donations.RecordDonation(changed))
        assert refusal.reason_name == "IDEMPOTENCY_KEY_REUSED"

    assert await recorded(mesh, request) == first


@pytest.mark.requirement("INT-3", "IDM-2")
async def test_fifty_equal_calls_at_once_record_one_donation(mesh: Mesh, cause: Cause) -> None:
    request = gift(cause.campaign_id)
    before = await counted(mesh.schemas, "event")

    answers = await asyncio.gather(*(recorded(mesh, request) for _ in range(50)))

    assert len({answer.donation_id for answer in answers}) == 1
    assert await counted(mesh.schemas, "event") == before + 1


@pytest.mark.requirement("INT-3")
async def test_the_same_reference_in_another_charity_is_another_donation(mesh: Mesh, cause: Cause) -> None:
    other = await open_cause(mesh)
    reference = fresh_key("order")

    here = await recorded(mesh, gift(cause.campaign_id, payment_ref=reference))
    there = await recorded(mesh, gift(other.campaign_id, payment_ref=reference))

    assert here.donation_id != there.donation_id


@pytest.mark.requirement("INT-1")
@pytest.mark.parametrize(
    ("amount", "field"),
    [
        (Money(minor_units=0, currency="USD"), "amount.minor_units"),
        (Money(minor_units=-1, currency="USD"), "amount.minor_units"),
        (Money(minor_units=1_000_001, currency="USD"), "amount.minor_units"),
        (Money(minor_units=100_000_000, currency="USD"), "amount.minor_units"),
        (Money(minor_units=2**63 - 1, currency="USD"), "amount.minor_units"),
        (Money(minor_units=-(2**63), currency="USD"), "amount.minor_units"),
        (Money(currency="USD"), "amount.minor_units"),
        (Money(minor_units=250, currency="GBP"), "amount.currency"),
        (Money(minor_units=250, currency="usd"), "amount.currency"),
        (Money(minor_units=250, currency="XTS"), "amount.currency"),
        (Money(minor_units=250), "amount.currency"),
        (None, "amount"),
    ],
)
async def test_an_amount_that_cannot_be_taken_is_refused_by_its_field_and_writes_nothing(
    mesh: Mesh, cause: Cause, amount: Money | None, field: str
) -> None:
    request = messages.RecordDonationRequest(payment_ref=fresh_key(), campaign_id=cause.campaign_id, amount=amount)
    before = await counted(mesh.schemas, "donation"), await counted(mesh.schemas, "event")

    refusal = await refusal_of(mesh.donations.RecordDonation(request))

    assert refusal.reason_name == "INVALID_ARGUMENT"
    assert fields_of(refusal) == {field}
    assert (await counted(mesh.schemas, "donation"), await counted(mesh.schemas, "event")) == before


@pytest.mark.requirement("INT-1")
async def test_a_round_up_below_the_minimum_is_recorded_because_it_has_been_charged(mesh: Mesh, cause: Cause) -> None:
    assert (await recorded(mesh, gift(cause.campaign_id, 37))).gross.minor_units == 37


@pytest.mark.requirement("PAY-10")
async def test_currencies_without_and_with_three_decimals_are_whole_minor_units(mesh: Mesh) -> None:
    cause = await open_cause(mesh, rule("JPY", 1, 100_000, (100,)), rule("KWD", 10, 100_000, (1000,)))

    assert (await recorded(mesh, gift(cause.campaign_id, 101, "JPY"))).gross.minor_units == 101
    assert (await recorded(mesh, gift(cause.campaign_id, 1230, "KWD"))).gross.minor_units == 1230
    refusal = await refusal_of(mesh.donations.RecordDonation(gift(cause.campaign_id, 1234, "KWD")))
    assert fields_of(refusal) == {"amount.minor_units"}


async def test_unknown_campaigns_and_drafts_take_nothing(mesh: Mesh, cause: Cause) -> None:
    draft = (await mesh.campaigns.CreateCampaign(campaign_request(cause.charity_id))).campaign

    unknown = await refusal_of(mesh.donations.RecordDonation(gift(UNKNOWN)))
    closed = await refusal_of(mesh.donations.RecordDonation(gift(draft.campaign_id)))

    assert (unknown.reason_name, unknown.metadata) == ("CAMPAIGN_NOT_FOUND", {"campaign_id": UNKNOWN})
    assert (closed.reason_name, closed.metadata["state"]) == ("CAMPAIGN_NOT_OPEN", "DRAFT")


async def test_a_paused_campaign_still_takes_what_has_been_charged(mesh: Mesh, cause: Cause) -> None:
    await mesh.campaigns.PauseCampaign(PauseCampaignRequest(request_id=fresh_key(), campaign_id=cause.campaign_id))

    assert (await recorded(mesh, gift(cause.campaign_id))).state == Donation.STATE_SUCCEEDED


@pytest.mark.requirement("CAM-0")
async def test_a_suspended_charity_is_offered_nowhere_but_what_was_charged_is_in_the_books(mesh: Mesh, cause: Cause) -> None:
    suspend = SuspendCharityRequest(request_id=fresh_key(), charity_id=cause.charity_id, reason="audit")
    await mesh.charities.SuspendCharity(suspend)
    assert await is_replay(mesh.charities.SuspendCharity(suspend))

    assert (await recorded(mesh, gift(cause.campaign_id))).state == Donation.STATE_SUCCEEDED
    offer = mesh.donations.GetDonationOffer(messages.GetDonationOfferRequest(campaign_id=cause.campaign_id))
    assert (await refusal_of(offer)).reason_name == "CHARITY_SUSPENDED"
    draft = mesh.campaigns.CreateCampaign(campaign_request(cause.charity_id))
    assert (await refusal_of(draft)).reason_name == "CHARITY_SUSPENDED"


@pytest.mark.requirement("IDM-1", "IDM-2")
async def test_an_id_in_capitals_names_the_same_thing(mesh: Mesh, cause: Cause) -> None:
    donor = "0190b4a2-0000-7000-8000-00000000abcd"
    request = gift(cause.campaign_id, 300, donor_id=donor)
    shouted = gift(cause.campaign_id.upper(), 300, donor_id=donor.upper(), payment_ref=request.payment_ref)
    first = await recorded(mesh, request)
    assert await recorded(mesh, shouted) == first

    back = reversal(cause.charity_id.upper(), request.payment_ref, 100)
    assert (await mesh.donations.ReverseRecordedDonation(back)).donation.refunded.minor_units == 100
    draft = campaign_request(cause.charity_id)
    again = campaign_request(cause.charity_id.upper(), request_id=draft.request_id)
    assert (await mesh.campaigns.CreateCampaign(draft)) == (await mesh.campaigns.CreateCampaign(again))


@pytest.mark.requirement("IDM-1")
async def test_a_repeat_is_answered_even_when_the_campaign_takes_less_since(mesh: Mesh, cause: Cause) -> None:
    request = gift(cause.campaign_id, 5000)
    first = await recorded(mesh, request)
    async with reading(mesh.schemas, "donation") as connection:
        await connection.execute(
            "UPDATE campaign_currency SET minor_units_max = 200 WHERE campaign_id = $1", cause.campaign_id
        )

    assert await recorded(mesh, request) == first
    assert fields_of(await refusal_of(mesh.donations.RecordDonation(gift(cause.campaign_id, 5000)))) == {
        "amount.minor_units"
    }


@pytest.mark.requirement("IDM-5")
async def test_two_genuine_equal_gifts_both_count_and_the_second_carries_a_hint(mesh: Mesh, cause: Cause) -> None:
    donor = "0190b4a2-0000-7000-8000-0000000000d1"
    first = await recorded(mesh, gift(cause.campaign_id, 500, donor_id=donor))
    second = await recorded(mesh, gift(cause.campaign_id, 500, donor_id=donor))
    other = await recorded(mesh, gift(cause.campaign_id, 501, donor_id=donor))
    nobody = await recorded(mesh, gift(cause.campaign_id, 500))

    assert first.donation_id != second.donation_id
    assert second.possible_duplicate_of == first.donation_id
    assert (first.possible_duplicate_of, other.possible_duplicate_of, nobody.possible_duplicate_of) == ("", "", "")


@pytest.mark.requirement("INT-3")
async def test_reversals_take_back_parts_and_each_reference_once(mesh: Mesh, cause: Cause) -> None:
    donation = gift(cause.campaign_id, 300)
    await mesh.donations.RecordDonation(donation)
    first = reversal(cause.charity_id, donation.payment_ref, 100)

    answer = await mesh.donations.ReverseRecordedDonation(first)
    again = await mesh.donations.ReverseRecordedDonation(first)
    rest = await mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, donation.payment_ref, 200))

    assert answer.donation.state == Donation.STATE_PARTIALLY_REFUNDED
    assert again.reversal == answer.reversal
    assert await is_replay(mesh.donations.ReverseRecordedDonation(first))
    assert rest.donation.state == Donation.STATE_REFUNDED
    assert rest.donation.refunded.minor_units == 300


@pytest.mark.requirement("INT-3")
async def test_of_two_reversals_of_sixty_on_a_hundred_exactly_one_passes(mesh: Mesh, cause: Cause) -> None:
    donation = gift(cause.campaign_id, 100)
    await mesh.donations.RecordDonation(donation)

    answers = await asyncio.gather(
        *(mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, donation.payment_ref, 60)) for _ in range(2)),
        return_exceptions=True,
    )

    passed = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(passed) == 1
    assert passed[0].donation.refunded.minor_units == 60


async def test_reversals_that_cannot_be_are_refused_with_their_reason(mesh: Mesh, cause: Cause) -> None:
    donation = gift(cause.campaign_id, 100)
    await mesh.donations.RecordDonation(donation)
    used = reversal(cause.charity_id, donation.payment_ref, 10)
    await mesh.donations.ReverseRecordedDonation(used)

    async def reason(request: messages.ReverseRecordedDonationRequest) -> str:
        return (await refusal_of(mesh.donations.ReverseRecordedDonation(request))).reason_name

    assert await reason(reversal(cause.charity_id, donation.payment_ref, 91)) == "REVERSAL_EXCEEDS_REMAINING"
    assert await reason(reversal(cause.charity_id, donation.payment_ref, 0)) == "INVALID_ARGUMENT"
    assert await reason(reversal(cause.charity_id, donation.payment_ref, 10, "EUR")) == "INVALID_ARGUMENT"
    assert await reason(reversal(cause.charity_id, fresh_key(), 10)) == "PAYMENT_REF_NOT_FOUND"
    assert await reason(reversal(UNKNOWN, donation.payment_ref, 10)) == "PAYMENT_REF_NOT_FOUND"
    changed = reversal(cause.charity_id, donation.payment_ref, 11, refund_ref=used.refund_ref)
    assert await reason(changed) == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.requirement("IDM-2")
async def test_a_refund_reference_used_for_another_donation_is_refused(mesh: Mesh, cause: Cause) -> None:
    one, two = gift(cause.campaign_id, 100), gift(cause.campaign_id, 100)
    for request in (one, two):
        await mesh.donations.RecordDonation(request)
    used = reversal(cause.charity_id, one.payment_ref, 10)
    await mesh.donations.ReverseRecordedDonation(used)

    other = reversal(cause.charity_id, two.payment_ref, 10, refund_ref=used.refund_ref)

    assert (await refusal_of(mesh.donations.ReverseRecordedDonation(other))).reason_name == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.requirement("IDM-2")
async def test_of_one_refund_reference_for_two_donations_at_once_one_passes(mesh: Mesh, cause: Cause) -> None:
    for _ in range(8):
        one, two, reference = gift(cause.campaign_id, 100), gift(cause.campaign_id, 100), fresh_key("refund")
        await asyncio.gather(mesh.donations.RecordDonation(one), mesh.donations.RecordDonation(two))
        calls = [
            mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, request.payment_ref, 10, refund_ref=reference))
            for request in (one, two)
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert [from_rpc_error(error, dependency="").reason_name for error in refused] == ["IDEMPOTENCY_KEY_REUSED"]


async def test_a_repeat_that_meets_the_first_in_flight_is_told_when_to_come_back(mesh: Mesh, cause: Cause) -> None:
    request = gift(cause.campaign_id)
    await mesh.donations.RecordDonation(request)
    back = reversal(cause.charity_id, request.payment_ref, 10)
    async with reading(mesh.schemas, "donation") as connection, connection.transaction():
        await connection.execute("SELECT id FROM donation WHERE payment_ref = $1 FOR UPDATE", request.payment_ref)
        refusal = await refusal_of(mesh.donations.ReverseRecordedDonation(back))

    assert refusal.reason_name == "REQUEST_IN_FLIGHT"
    assert refusal.retry_after_s == 1
    assert (await mesh.donations.ReverseRecordedDonation(back)).reversal.amount.minor_units == 10


@pytest.mark.requirement("IDM-1", "IDM-2", "CAM-0")
async def test_charities_and_campaigns_are_created_once_per_request_id(mesh: Mesh) -> None:
    request = charity_request()
    charity = (await mesh.charities.CreateCharity(request)).charity
    assert (await mesh.charities.CreateCharity(request)).charity == charity
    other = charity_request(request_id=request.request_id, display_name="Other")
    assert (await refusal_of(mesh.charities.CreateCharity(other))).reason_name == "IDEMPOTENCY_KEY_REUSED"

    draft = campaign_request(charity.charity_id)
    campaign = (await mesh.campaigns.CreateCampaign(draft)).campaign
    assert (await mesh.campaigns.CreateCampaign(draft)).campaign == campaign
    assert await is_replay(mesh.campaigns.CreateCampaign(draft))

    move = ActivateCampaignRequest(request_id=fresh_key(), campaign_id=campaign.campaign_id)
    opened = (await mesh.campaigns.ActivateCampaign(move)).campaign
    assert await is_replay(mesh.campaigns.ActivateCampaign(move))
    assert (await mesh.campaigns.ActivateCampaign(move)).campaign.version == opened.version
