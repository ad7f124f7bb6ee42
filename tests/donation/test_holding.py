"""Money that is held on the card first and captured by hand later, all of it or a part, or never."""

from __future__ import annotations

import datetime
from uuid import UUID

import pytest
from giving.common.v1.event_pb2 import Event
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_CHARITY
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.event_pb2 import DonationAwaitingPayment
from giving.payment.v1.payment_pb2 import Payment
from giving.payment.v1.payment_service_pb2 import CreatePaymentRequest

from tests.donation.conftest import Desk, donor, guest, promise, speaking_as
from tests.donation.test_promising import UNKNOWN, events_of
from tests.donation.test_sweeping import HOUR, MINUTE, item_of
from tests.support.books import counted, reading
from tests.support.giving import Cause
from tests.support.refusals import fields_of, refusal_of
from tests.support.waiting import until

DAY = datetime.timedelta(days=1)


async def held(desk: Desk, appeal: Cause) -> str:
    """A donation of 500 that the donor has confirmed and nobody has captured."""
    donation_id = (await desk.give(promise(appeal.campaign_id, manual_capture=True))).donation.donation_id
    await desk.tell(desk.payments.authorize(donation_id))
    await until(lambda: desk.get(donation_id), holds=lambda found: found.HasField("hold_end_time"))
    return donation_id


@pytest.mark.requirement("PAY-7", "INT-7")
async def test_what_is_held_is_listed_with_its_reason_for_a_week_and_let_go_of_then(desk: Desk, appeal: Cause) -> None:
    donation_id = await held(desk, appeal)
    donation = await desk.get(donation_id)
    assert (donation.state, donation.manual_capture) == (Donation.STATE_AWAITING_PAYMENT, True)
    end = donation.hold_end_time.ToDatetime(datetime.UTC)
    assert end == desk.clock.now() + 7 * DAY

    desk.clock.advance(2 * DAY)
    # Whatever was due by now has been looked at when this one is.
    other = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    desk.clock.advance(DAY + MINUTE)
    await desk.until_state(other, Donation.STATE_EXPIRED)
    item = await item_of(desk, donation_id)
    assert item
    assert (item.reason, item.next_attempt_time) == ("held on the card until it is captured", donation.hold_end_time)
    assert "AbandonPaymentRequest" not in desk.payments.calls_about(donation_id)

    desk.clock.advance(4 * DAY)
    await desk.until_state(donation_id, Donation.STATE_EXPIRED)
    assert desk.payments.payments[donation_id].state == Payment.STATE_CANCELED
    assert await item_of(desk, donation_id) is None


@pytest.mark.requirement("PAY-7", "INT-7")
async def test_what_is_looked_at_too_early_waits_on_with_its_reason(desk: Desk, appeal: Cause) -> None:
    donation_id = await held(desk, appeal)
    async with reading(desk.schemas, "donation") as connection:
        await connection.execute(
            "UPDATE donation SET next_attempt_time = $2 WHERE id = $1", donation_id, desk.clock.now() - HOUR
        )

    async def waits() -> tuple[str, bool]:
        item = await item_of(desk, donation_id)
        assert item
        return item.reason, item.next_attempt_time == item.donation.hold_end_time

    await until(waits, holds=lambda found: found == ("held on the card until it is captured", True))


@pytest.mark.requirement("PAY-7")
async def test_what_nobody_confirms_is_called_off_after_a_day_also_where_it_would_only_be_held(
    desk: Desk, appeal: Cause
) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id, manual_capture=True))).donation.donation_id
    desk.clock.advance(24 * HOUR + MINUTE)
    await desk.until_state(donation_id, Donation.STATE_EXPIRED)


@pytest.mark.requirement("PAY-7")
@pytest.mark.parametrize("captured", [1, 300, 500])
async def test_what_is_captured_is_what_arrived(desk: Desk, appeal: Cause, captured: int) -> None:
    donation_id = await held(desk, appeal)

    await desk.tell(desk.payments.succeed(donation_id, captured))

    donation = await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)
    assert (donation.gross.minor_units, donation.amount.minor_units) == (captured, 500)
    assert not donation.HasField("hold_end_time")
    events = ["DonationCreated", "DonationAwaitingPayment", "DonationAwaitingPayment", "DonationSucceeded"]
    assert await events_of(desk, donation_id) == events


@pytest.mark.requirement("PAY-7")
async def test_only_what_is_held_says_until_when(desk: Desk, appeal: Cause) -> None:
    donation_id = await held(desk, appeal)
    async with reading(desk.schemas, "donation") as connection:
        rows = await connection.fetch("SELECT payload FROM event")
    events = [event for row in rows if (event := Event.FromString(row["payload"])).subject == donation_id]
    said = [DonationAwaitingPayment.FromString(event.data) for event in events if event.type.endswith("AwaitingPayment")]

    assert sorted(message.HasField("hold_end_time") for message in said) == [False, True]


@pytest.mark.requirement("PAY-7")
async def test_the_payment_service_is_told_to_hold_whenever_it_is_asked(desk: Desk, appeal: Cause) -> None:
    desk.payments.away = True
    request = promise(appeal.campaign_id, manual_capture=True)
    donation_id = (await desk.give(request)).donation.donation_id
    desk.payments.away = False
    # By the sweeper, then by the caller's repeat.
    desk.clock.advance(MINUTE)
    await desk.until_state(donation_id, Donation.STATE_AWAITING_PAYMENT)
    await desk.give(request)

    calls = [call for call in desk.payments.calls if isinstance(call, CreatePaymentRequest)]
    asked = [call.manual_capture for call in calls if call.donation_id == donation_id]
    assert (len(asked) >= 3, set(asked)) == (True, {True})
    assert not (await desk.give(promise(appeal.campaign_id))).donation.manual_capture


@pytest.mark.requirement("PAY-7")
async def test_what_is_held_has_nothing_to_confirm(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id, manual_capture=True)
    answer = await desk.give(request)
    donation_id = answer.donation.donation_id
    assert answer.client_secret
    await desk.tell(desk.payments.authorize(donation_id))
    await until(lambda: desk.get(donation_id), holds=lambda found: found.HasField("hold_end_time"))

    asked = messages.GetDonationRequest(donation_id=donation_id, include_client_secret=True)
    assert (await desk.donations.GetDonation(asked)).client_secret == ""
    assert (await desk.give(request)).client_secret == ""


@pytest.mark.requirement("PAY-7", "IDM-2")
async def test_whether_it_is_only_held_is_part_of_what_was_asked_for(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id)
    await desk.give(request)
    request.manual_capture = True
    assert (await refusal_of(desk.give(request))).reason_name == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.requirement("PAY-7")
async def test_the_public_cannot_have_money_held(desk: Desk, appeal: Cause) -> None:
    before = await counted(desk.schemas, "donation")
    charity = Identity(roles=[ROLE_CHARITY], subject="a key", charity_id=appeal.charity_id)

    for identity in (guest(), donor(UNKNOWN), charity):
        call = desk.give(promise(appeal.campaign_id, manual_capture=True), **speaking_as(identity))
        refusal = await refusal_of(call)
        assert (refusal.reason_name, fields_of(refusal)) == ("INVALID_ARGUMENT", {"manual_capture"})
    assert await counted(desk.schemas, "donation") == before


@pytest.mark.requirement("PAY-7")
async def test_a_part_that_nobody_captured_by_hand_is_never_booked(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    partly = desk.payments.succeed(donation_id, 300)
    await desk.tell(partly)

    reason = "SELECT reason FROM dead_letter WHERE event_id = $1"

    async def kept() -> str | None:
        async with reading(desk.schemas, "donation") as connection:
            return await connection.fetchval(reason, UUID(bytes=partly.id))

    assert await until(kept) == "another amount was taken than was promised"
    assert (await desk.get(donation_id)).gross.minor_units == 0
