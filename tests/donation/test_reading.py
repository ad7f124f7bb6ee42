"""Lists, pages and offers."""

from __future__ import annotations

import pytest
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import campaign_service_pb2, charity_service_pb2
from giving.donation.v1 import donation_service_pb2 as messages

from tests.support.giving import Cause, campaign_request, charity_request, gift, open_cause, rule
from tests.support.mesh import Mesh, fresh_key
from tests.support.refusals import fields_of, refusal_of

UNKNOWN = "0190b4a2-0000-7000-8000-000000000000"


async def test_pages_of_a_donor_hold_every_donation_once_newest_first(mesh: Mesh, cause: Cause) -> None:
    donor = "0190b4a2-0000-7000-8000-0000000000e1"
    made = [
        (await mesh.donations.RecordDonation(gift(cause.campaign_id, 100 + n, donor_id=donor))).donation.donation_id
        for n in range(7)
    ]
    seen, token = [], ""
    while True:
        page = await mesh.donations.ListDonations(
            messages.ListDonationsRequest(donor_id=donor, page_size=3, page_token=token)
        )
        seen += [donation.donation_id for donation in page.donations]
        token = page.next_page_token
        if not token:
            break

    assert seen == made[::-1]


async def test_a_page_token_of_another_list_or_a_changed_one_is_refused(mesh: Mesh, cause: Cause) -> None:
    for _ in range(2):
        await mesh.donations.RecordDonation(gift(cause.campaign_id))
    request = messages.ListDonationsRequest(campaign_id=cause.campaign_id, page_size=1)
    token = (await mesh.donations.ListDonations(request)).next_page_token
    other = await open_cause(mesh)

    for foreign in (
        messages.ListDonationsRequest(campaign_id=other.campaign_id, page_token=token),
        messages.ListDonationsRequest(campaign_id=cause.campaign_id, page_token=token[:-2] + "xy"),
        messages.ListDonationsRequest(campaign_id=cause.campaign_id, page_token="%%%"),
        messages.ListDonationsRequest(campaign_id=cause.campaign_id, page_token="é"),
    ):
        assert (await refusal_of(mesh.donations.ListDonations(foreign))).reason_name == "PAGE_TOKEN_INVALID"


async def test_a_list_needs_exactly_one_filter(mesh: Mesh, cause: Cause) -> None:
    for request in (
        messages.ListDonationsRequest(),
        messages.ListDonationsRequest(donor_id=UNKNOWN, campaign_id=cause.campaign_id),
    ):
        assert (await refusal_of(mesh.donations.ListDonations(request))).reason_name == "INVALID_ARGUMENT"


async def test_what_does_not_exist_is_not_found_by_its_own_reason(mesh: Mesh) -> None:
    calls = {
        "DONATION_NOT_FOUND": mesh.donations.GetDonation(messages.GetDonationRequest(donation_id=UNKNOWN)),
        "CHARITY_NOT_FOUND": mesh.charities.GetCharity(charity_service_pb2.GetCharityRequest(charity_id=UNKNOWN)),
        "CAMPAIGN_NOT_FOUND": mesh.campaigns.GetCampaign(campaign_service_pb2.GetCampaignRequest(campaign_id=UNKNOWN)),
    }
    for reason, call in calls.items():
        assert (await refusal_of(call)).reason_name == reason


async def test_a_charity_lists_its_campaigns_newest_first_in_pages(mesh: Mesh) -> None:
    charity = (await mesh.charities.CreateCharity(charity_request())).charity
    made = [
        (await mesh.campaigns.CreateCampaign(campaign_request(charity.charity_id))).campaign.campaign_id for _ in range(3)
    ]
    request = campaign_service_pb2.ListCampaignsRequest(charity_id=charity.charity_id, page_size=2)
    first = await mesh.campaigns.ListCampaigns(request)
    request.page_token = first.next_page_token
    second = await mesh.campaigns.ListCampaigns(request)

    assert [campaign.campaign_id for campaign in (*first.campaigns, *second.campaigns)] == made[::-1]
    assert second.next_page_token == ""


@pytest.mark.requirement("INT-9")
async def test_an_offer_holds_presets_and_what_rounds_the_order_up(mesh: Mesh, cause: Cause) -> None:
    async def offer(minor_units: int, currency: str) -> messages.GetDonationOfferResponse:
        total = Money(minor_units=minor_units, currency=currency)
        return await mesh.donations.GetDonationOffer(
            messages.GetDonationOfferRequest(campaign_id=cause.campaign_id, order_total=total)
        )

    answer = await offer(1763, "USD")
    assert [preset.minor_units for preset in answer.presets] == [100, 200]
    assert answer.round_up == Money(minor_units=37, currency="USD")
    assert not (await offer(1700, "USD")).HasField("round_up")

    yen = await open_cause(mesh, rule("JPY", 1, 100_000, (100,)))
    total = Money(minor_units=1763, currency="JPY")
    request = messages.GetDonationOfferRequest(campaign_id=yen.campaign_id, order_total=total)
    assert not (await mesh.donations.GetDonationOffer(request)).HasField("round_up")


async def test_an_offer_in_a_currency_that_the_campaign_does_not_take_is_refused(mesh: Mesh, cause: Cause) -> None:
    total = Money(minor_units=1763, currency="GBP")
    request = messages.GetDonationOfferRequest(campaign_id=cause.campaign_id, order_total=total)

    refusal = await refusal_of(mesh.donations.GetDonationOffer(request))

    assert fields_of(refusal) == {"order_total.currency"}


@pytest.mark.requirement("CAM-0")
async def test_charities_and_campaigns_with_impossible_values_are_refused_by_field(mesh: Mesh, cause: Cause) -> None:
    for request, field in (
        (charity_request(default_currency="XXX"), "default_currency"),
        (charity_request(time_zone="Mars/Olympus"), "time_zone"),
        (charity_request(mode=0), "mode"),
        (charity_request(display_name=""), "display_name"),
        (charity_request(request_id="short"), "request_id"),
        (charity_request(display_name="a\x00b"), "display_name"),
        (charity_request(display_name="a\u202eb"), "display_name"),
    ):
        assert fields_of(await refusal_of(mesh.charities.CreateCharity(request))) == {field}
    for broken, field in (
        (rule("XXX"), "currency_rules[0].currency"),
        (rule("KWD", 5, 1000, ()), "currency_rules[0].minor_units_min"),
        (rule("USD", 100, 200, (300,)), "currency_rules[0]"),
    ):
        request = campaign_request(cause.charity_id, broken)
        assert fields_of(await refusal_of(mesh.campaigns.CreateCampaign(request))) == {field}


async def test_an_illegal_move_of_a_campaign_names_both_states(mesh: Mesh) -> None:
    charity = (await mesh.charities.CreateCharity(charity_request())).charity
    draft = (await mesh.campaigns.CreateCampaign(campaign_request(charity.charity_id))).campaign

    refusal = await refusal_of(
        mesh.campaigns.PauseCampaign(
            campaign_service_pb2.PauseCampaignRequest(request_id=fresh_key(), campaign_id=draft.campaign_id)
        )
    )

    assert refusal.reason_name == "CAMPAIGN_STATE_CONFLICT"
    assert (refusal.metadata["state"], refusal.metadata["target"]) == ("DRAFT", "PAUSED")
