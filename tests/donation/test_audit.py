"""The audit trail of donations, campaigns and charities, read back as the database wrote it down."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from giving.common.v1.audit_pb2 import AuditEntry
from giving.donation.v1 import donation_operations_service_pb2 as messages
from giving.donation.v1.campaign_service_pb2 import PauseCampaignRequest
from giving.donation.v1.charity_service_pb2 import SuspendCharityRequest
from giving.donation.v1.donation_pb2 import Donation

from mesh.rpc.call import CORRELATION_KEY
from tests.donation.conftest import Desk, donor, promise, speaking_as
from tests.support.books import reading
from tests.support.giving import Cause, gift, open_cause, reversal
from tests.support.mesh import fresh_key
from tests.support.refusals import refusal_of

CALL = "the-call-of-the-caller"
IN_CALL: dict[str, Any] = {"metadata": ((CORRELATION_KEY, CALL),)}


async def page(desk: Desk, reference_id: str, **more: Any) -> messages.GetAuditTrailResponse:
    return await desk.operations.GetAuditTrail(messages.GetAuditTrailRequest(donation_id=reference_id, **more))


async def trail(desk: Desk, reference_id: str) -> list[AuditEntry]:
    return list((await page(desk, reference_id)).entries)


async def by_hand(desk: Desk, statement: str, *arguments: Any) -> None:
    async with reading(desk.schemas, "donation") as connection:
        await connection.execute(statement, *arguments)


def went(entry: AuditEntry) -> dict[str, tuple[str, str]]:
    """What changed, but for when."""
    return {change.field: (change.before, change.after) for change in entry.changes if change.field != "update_time"}


@pytest.mark.requirement("LED-5")
async def test_the_life_of_a_promise_is_read_back(desk: Desk, appeal: Cause) -> None:
    promised = (await desk.give(promise(appeal.campaign_id))).donation
    paid = desk.payments.succeed(promised.donation_id)
    await desk.tell(paid)
    settled = await desk.until_state(promised.donation_id, Donation.STATE_SUCCEEDED)
    ready, succeeded = await trail(desk, promised.donation_id)

    assert went(ready)["state"] == ("1", "2")
    assert went(ready)["payment_id"] == ("", promised.payment_id)
    assert went(succeeded)["state"] == ("2", "3")
    assert went(succeeded)["gross"] == ("0", "500")
    assert (succeeded.actor, succeeded.correlation_id) == ("payment", paid.correlation_id)
    assert {entry.database_role for entry in (ready, succeeded)} == {"donation_service"}
    assert [went(entry)["version"] for entry in (ready, succeeded)] == [("1", "2"), ("2", str(settled.version))]


@pytest.mark.requirement("LED-5")
async def test_taking_back_stands_in_the_trail_with_who_did_it_in_which_call(desk: Desk, appeal: Cause) -> None:
    request = gift(appeal.campaign_id, 100)
    donation = (await desk.donations.RecordDonation(request)).donation
    assert await trail(desk, donation.donation_id) == []
    await desk.donations.ReverseRecordedDonation(reversal(appeal.charity_id, request.payment_ref, 30), **IN_CALL)
    (entry,) = await trail(desk, donation.donation_id)
    assert went(entry)["refunded"] == ("0", "30")
    assert (entry.object, entry.object_id) == ("donation", donation.donation_id)
    assert (entry.actor, entry.correlation_id, entry.reason) == ("development", CALL, "")


@pytest.mark.requirement("LED-5", "OPS-5")
async def test_what_an_operator_ends_says_why(desk: Desk) -> None:
    cause = await open_cause(desk)
    pause = PauseCampaignRequest(request_id=fresh_key(), campaign_id=cause.campaign_id)
    await desk.campaigns.PauseCampaign(pause, **IN_CALL)
    suspend = SuspendCharityRequest(request_id=fresh_key(), charity_id=cause.charity_id, reason="asked to")
    await desk.charities.SuspendCharity(suspend, **IN_CALL)

    opened, paused = await trail(desk, cause.campaign_id)
    (suspended,) = await trail(desk, cause.charity_id)
    assert [entry.object for entry in (opened, paused, suspended)] == ["campaign", "campaign", "charity"]
    assert [entry.reason for entry in (opened, paused, suspended)] == ["", "", "asked to"]
    assert {(entry.actor, entry.correlation_id) for entry in (paused, suspended)} == {("development", CALL)}


@pytest.mark.requirement("LED-5")
async def test_a_change_by_hand_of_anything_that_belongs_to_a_donation_is_read_back(desk: Desk, appeal: Cause) -> None:
    request = gift(appeal.campaign_id, 100)
    donation_id = UUID((await desk.donations.RecordDonation(request)).donation.donation_id)
    await desk.donations.ReverseRecordedDonation(reversal(appeal.charity_id, request.payment_ref, 30))
    known = len(await trail(desk, str(donation_id)))
    await by_hand(desk, "UPDATE donation SET refunded = 31 WHERE id = $1", donation_id)
    await by_hand(desk, "UPDATE reversal SET amount = 31 WHERE donation_id = $1", donation_id)
    await by_hand(desk, "UPDATE campaign_currency SET goal = 7 WHERE campaign_id = $1", UUID(appeal.campaign_id))

    changed = (await trail(desk, str(donation_id)))[known:]
    assert [(entry.object, went(entry)) for entry in changed] == [
        ("donation", {"refunded": ("30", "31")}),
        ("reversal", {"amount": ("30", "31")}),
    ]
    assert {(entry.actor, entry.correlation_id, entry.database_role) for entry in changed} == {("", "", "postgres")}
    goals = [entry for entry in await trail(desk, appeal.campaign_id) if entry.object == "campaign_currency"]
    assert sorted(entry.object_id for entry in goals) == [f"{appeal.campaign_id}/EUR", f"{appeal.campaign_id}/USD"]


@pytest.mark.requirement("LED-5", "INT-6")
async def test_nothing_personal_ever_stands_in_the_trail(desk: Desk, appeal: Cause) -> None:
    donor_id = str(UUID(int=7))
    request = promise(appeal.campaign_id, donor_name="Ann Example", donor_email="ann@example.org")
    request.metadata["note"] = "for Ann"
    donation_id = (await desk.give(request, **speaking_as(donor(donor_id)))).donation.donation_id
    await by_hand(desk, "UPDATE donor_key SET sealed_key = 'another' WHERE owner_id = $1", UUID(donor_id))
    await by_hand(desk, "DELETE FROM personal WHERE donation_id = $1", UUID(donation_id))
    await by_hand(desk, "DELETE FROM donation WHERE id = $1", UUID(donation_id))

    (key,) = await trail(desk, donor_id)
    *_, personal, donation = await trail(desk, donation_id)
    assert (key.object, went(key)) == ("donor_key", {"sealed_key": ("", "")})
    assert (personal.object, went(personal)["sealed"], went(personal)["owner_id"]) == ("personal", ("", ""), (donor_id, ""))
    assert (donation.object, went(donation)["metadata"]) == ("donation", ("", ""))


@pytest.mark.requirement("LED-5", "SEC-6")
async def test_a_trail_is_read_in_pages(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.donations.RecordDonation(gift(appeal.campaign_id, 100))).donation.donation_id
    for refunded in range(1, 4):
        await by_hand(desk, "UPDATE donation SET refunded = $2 WHERE id = $1", UUID(donation_id), refunded)
    first = await page(desk, donation_id, page_size=2)
    rest = await page(desk, donation_id, page_size=2, page_token=first.next_page_token)
    assert [went(entry)["refunded"][1] for entry in (*first.entries, *rest.entries)] == ["1", "2", "3"]
    assert not rest.next_page_token
    foreign = page(desk, appeal.campaign_id, page_token=first.next_page_token)
    assert (await refusal_of(foreign)).reason_name == "PAGE_TOKEN_INVALID"
