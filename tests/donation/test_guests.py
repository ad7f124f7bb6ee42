"""Guests: who may promise, and what a token opens."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_CHARITY, ROLE_OPERATOR, ROLE_PUBLIC
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.donation_pb2 import Donation

from tests.donation.conftest import Desk, donor, guest, promise, speaking_as
from tests.support.giving import Cause
from tests.support.mesh import fresh_key
from tests.support.refusals import fields_of, refusal_of

DONOR = "0190b4a2-0000-7000-8000-0000000000a1"


async def read(desk: Desk, donation_id: str, identity: Identity, **more: Any) -> messages.GetDonationResponse:
    request = messages.GetDonationRequest(donation_id=donation_id, **more)
    return await desk.donations.GetDonation(request, **speaking_as(identity))


@pytest.mark.requirement("INT-10")
async def test_a_guest_needs_a_random_key_and_a_browser_of_his_own(desk: Desk, appeal: Cause) -> None:
    weak = promise(appeal.campaign_id, request_id=fresh_key())
    nobody = Identity(roles=[ROLE_PUBLIC])

    assert fields_of(await refusal_of(desk.give(weak, **speaking_as(guest())))) == {"request_id"}
    without = await refusal_of(desk.give(promise(appeal.campaign_id), **speaking_as(nobody)))
    assert fields_of(without) == {"cookie giving_client"}
    assert "open the campaign's page once" in without.fields[0].description
    assert fields_of(await refusal_of(desk.give(weak, **speaking_as(nobody)))) == {"request_id", "cookie giving_client"}
    assert (await desk.give(promise(appeal.campaign_id), **speaking_as(guest()))).client_secret


@pytest.mark.requirement("INT-10")
async def test_a_strangers_guess_of_a_key_gets_a_donation_of_his_own(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id)
    mine, browser = await desk.give(request, **speaking_as(guest())), guest()
    theirs = await desk.give(request, **speaking_as(browser))

    assert theirs.donation.donation_id != mine.donation.donation_id
    assert theirs.client_secret != mine.client_secret
    assert await desk.give(request, **speaking_as(browser)) == theirs


@pytest.mark.requirement("INT-10")
async def test_a_token_opens_its_donation_and_no_other(desk: Desk, appeal: Cause) -> None:
    mine, other = [await desk.give(promise(appeal.campaign_id), **speaking_as(guest())) for _ in range(2)]
    holder = guest(access_token=mine.access_token)

    assert mine.access_token.startswith("gdt_")
    opened = await read(desk, mine.donation.donation_id, holder)
    assert (opened.donation, opened.client_secret) == (mine.donation, "")
    refusal = await refusal_of(read(desk, other.donation.donation_id, holder))
    assert refusal.reason_name == "DONATION_NOT_FOUND"


@pytest.mark.requirement("INT-10")
async def test_what_is_no_token_opens_nothing_and_looks_like_an_unknown_donation(desk: Desk, appeal: Cause) -> None:
    answer = await desk.give(promise(appeal.campaign_id))
    donation_id, token = answer.donation.donation_id, answer.access_token
    raw = base64.urlsafe_b64decode(token.removeprefix("gdt_") + "==")
    forged = "gdt_" + base64.urlsafe_b64encode(raw[:16] + bytes(16)).decode().rstrip("=")
    unknown = await refusal_of(read(desk, "0190b4a2-0000-7000-8000-000000000000", guest()))

    for wrong in ("", token[:-1], token + "A", token.upper(), token.removeprefix("gdt_"), forged, "gdt_é"):
        refusal = await refusal_of(read(desk, donation_id, guest(access_token=wrong)))
        assert (refusal.reason_name, refusal.detail) == (unknown.reason_name, unknown.detail)


@pytest.mark.requirement("INT-10")
async def test_the_client_secret_is_for_who_gives_and_for_nobody_who_only_looks(desk: Desk, appeal: Cause) -> None:
    answer = await desk.give(promise(appeal.campaign_id), **speaking_as(donor(DONOR)))
    donation_id = answer.donation.donation_id
    charity = Identity(roles=[ROLE_PUBLIC, ROLE_CHARITY], subject="key-1", charity_id=appeal.charity_id)
    operator = Identity(roles=[ROLE_PUBLIC, ROLE_OPERATOR], subject="olga")

    for identity in (donor(DONOR), guest(access_token=answer.access_token)):
        assert (await read(desk, donation_id, identity)).client_secret == ""
        assert (await read(desk, donation_id, identity, include_client_secret=True)).client_secret == answer.client_secret
    for identity in (charity, operator):
        assert (await read(desk, donation_id, identity, include_client_secret=True)).client_secret == ""
    stranger = donor("0190b4a2-0000-7000-8000-0000000000a2")
    assert (await refusal_of(read(desk, donation_id, stranger))).reason_name == "DONATION_NOT_FOUND"


async def test_there_is_no_secret_where_nothing_is_left_to_confirm(desk: Desk, appeal: Cause) -> None:
    answer = await desk.give(promise(appeal.campaign_id))
    await desk.tell(desk.payments.succeed(answer.donation.donation_id))
    await desk.until_state(answer.donation.donation_id, Donation.STATE_SUCCEEDED)
    calls = len(desk.payments.calls)

    holder = guest(access_token=answer.access_token)
    assert (await read(desk, answer.donation.donation_id, holder, include_client_secret=True)).client_secret == ""
    assert len(desk.payments.calls) == calls
