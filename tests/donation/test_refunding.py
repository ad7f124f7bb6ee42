"""RefundDonation: asked for here, decided by the payment service, made once whatever is repeated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.money_pb2 import Money
from giving.common.v1.policy_pb2 import ROLE_CHARITY, ROLE_INTERNAL
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.donation_pb2 import Donation
from giving.payment.v1.payment_service_pb2 import RefundPaymentRequest

from tests.donation.conftest import Desk, donor, guest, promise, speaking_as
from tests.donation.test_promising import UNKNOWN, events_of
from tests.support.books import counted, reading
from tests.support.giving import Cause, gift
from tests.support.mesh import fresh_key
from tests.support.refusals import fields_of, is_replay, refusal_of


def refund(donation_id: str, minor_units: int | None = None, **more: Any) -> messages.RefundDonationRequest:
    fields: dict[str, Any] = {"request_id": fresh_key(), "donation_id": donation_id}
    if minor_units is not None:
        fields["amount"] = Money(minor_units=minor_units, currency="USD")
    return messages.RefundDonationRequest(**fields | more)


@pytest.fixture
async def paid(desk: Desk, appeal: Cause) -> str:
    """A donation of 100 that arrived."""
    donation_id = (await desk.give(promise(appeal.campaign_id, 100))).donation.donation_id
    await desk.tell(desk.payments.succeed(donation_id))
    await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)
    return donation_id


def asked(desk: Desk, donation_id: str) -> list[RefundPaymentRequest]:
    """What the payment service was asked to give back of a donation."""
    payment_id = desk.payments.payments[donation_id].payment_id
    calls = [call for call in desk.payments.calls if isinstance(call, RefundPaymentRequest)]
    return [call for call in calls if call.payment_id == payment_id]


@pytest.mark.requirement("PAY-5")
async def test_a_part_goes_back_and_then_all_that_is_left(desk: Desk, paid: str) -> None:
    part = (await desk.donations.RefundDonation(refund(paid, 30, reason="asked by mail"))).donation
    assert (part.state, part.refunded.minor_units) == (Donation.STATE_PARTIALLY_REFUNDED, 30)

    rest = (await desk.donations.RefundDonation(refund(paid))).donation
    assert (rest.state, rest.refunded.minor_units, rest.gross.minor_units) == (Donation.STATE_REFUNDED, 100, 100)
    assert rest == await desk.get(paid)
    assert (await events_of(desk, paid))[2:] == ["DonationSucceeded", "DonationRefunded", "DonationRefunded"]
    assert [(call.amount.minor_units, call.reason) for call in asked(desk, paid)] == [(30, "asked by mail"), (0, "")]


@pytest.mark.requirement("PAY-5", "IDM-1", "IDM-4")
@pytest.mark.parametrize("minor_units", [30, None])
async def test_a_repeat_makes_no_second_refund_and_says_so(desk: Desk, paid: str, minor_units: int | None) -> None:
    request = refund(paid, minor_units)
    first = await desk.donations.RefundDonation(request)
    events = await events_of(desk, paid)

    assert await desk.donations.RefundDonation(request) == first
    assert await is_replay(desk.donations.RefundDonation(request))
    assert len({call.request_id for call in asked(desk, paid)}) == 1
    assert (await desk.get(paid)).refunded.minor_units == first.donation.refunded.minor_units
    assert await events_of(desk, paid) == events


@pytest.mark.requirement("PAY-5", "IDM-3")
async def test_ten_equal_refunds_at_once_are_one(desk: Desk, paid: str) -> None:
    request = refund(paid, 10)
    await asyncio.gather(*(desk.donations.RefundDonation(request) for _ in range(10)))
    assert (await desk.get(paid)).refunded.minor_units == 10


@pytest.mark.requirement("PAY-5", "IDM-2")
@pytest.mark.parametrize("other", [{"amount": Money(minor_units=31, currency="USD")}, {"reason": "another"}])
async def test_another_content_under_a_used_key_is_refused(desk: Desk, paid: str, other: dict[str, Any]) -> None:
    request = refund(paid, 30, reason="first")
    await desk.donations.RefundDonation(request)
    changed = messages.RefundDonationRequest()
    changed.CopyFrom(request)
    changed.MergeFrom(messages.RefundDonationRequest(**other))

    assert (await refusal_of(desk.donations.RefundDonation(changed))).reason_name == "IDEMPOTENCY_KEY_REUSED"
    assert len(asked(desk, paid)) == 1


@pytest.mark.requirement("PAY-5")
async def test_of_two_refunds_of_sixty_of_a_hundred_at_once_one_is_made(desk: Desk, paid: str) -> None:
    outcomes = await asyncio.gather(
        *(desk.donations.RefundDonation(refund(paid, 60)) for _ in range(2)), return_exceptions=True
    )

    assert sum(isinstance(outcome, messages.RefundDonationResponse) for outcome in outcomes) == 1
    assert (await desk.get(paid)).refunded.minor_units == 60


@pytest.mark.requirement("PAY-5")
async def test_more_than_is_left_is_refused_with_what_is(desk: Desk, paid: str) -> None:
    await desk.tell(desk.payments.dispute(paid, 30))
    await desk.until_state(paid, Donation.STATE_DISPUTED)

    for request in (refund(paid, 71), refund(paid, 99_999_999)):
        refusal = await refusal_of(desk.donations.RefundDonation(request))
        assert refusal.reason_name == "REVERSAL_EXCEEDS_REMAINING"
        assert refusal.metadata == {"donation_id": paid, "remaining_minor_units": "70"}
    rest = (await desk.donations.RefundDonation(refund(paid))).donation
    assert (rest.state, rest.refunded.minor_units, rest.disputed.minor_units) == (Donation.STATE_DISPUTED, 70, 30)


@pytest.mark.requirement("PAY-5")
async def test_what_did_not_arrive_cannot_go_back(desk: Desk, appeal: Cause) -> None:
    awaiting = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    desk.payments.away = True
    pending = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    desk.payments.away = False

    for donation_id, state in ((awaiting, "AWAITING_PAYMENT"), (pending, "PENDING")):
        refusal = await refusal_of(desk.donations.RefundDonation(refund(donation_id)))
        assert refusal.reason_name == "DONATION_STATE_CONFLICT"
        assert refusal.metadata == {"donation_id": donation_id, "state": state}


@pytest.mark.requirement("PAY-5", "INT-3")
async def test_what_a_checkout_has_charged_is_the_checkouts_to_take_back(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.donations.RecordDonation(gift(appeal.campaign_id))).donation.donation_id
    commands = await counted(desk.schemas, "command")

    refusal = await refusal_of(desk.donations.RefundDonation(refund(donation_id, 1)))

    assert (refusal.reason_name, refusal.metadata["state"]) == ("DONATION_STATE_CONFLICT", "SUCCEEDED")
    assert "ReverseRecordedDonation" in refusal.detail
    assert await counted(desk.schemas, "command") == commands


@pytest.mark.requirement("PAY-5")
async def test_what_the_provider_refuses_is_passed_on_as_it_is(desk: Desk, paid: str) -> None:
    desk.payments.refund_refused = "charge_already_refunded"
    try:
        refusal = await refusal_of(desk.donations.RefundDonation(refund(paid, 10)))
    finally:
        desk.payments.refund_refused = ""

    assert refusal.reason_name == "PROVIDER_REFUSED"
    assert refusal.metadata["provider_code"] == "charge_already_refunded"
    assert (await desk.get(paid)).refunded.minor_units == 0


@pytest.mark.requirement("PAY-5", "INT-1")
@pytest.mark.parametrize(
    ("amount", "field"),
    [
        (Money(minor_units=0, currency="USD"), "amount.minor_units"),
        (Money(minor_units=-5, currency="USD"), "amount.minor_units"),
        (Money(minor_units=5, currency="EUR"), "amount.currency"),
        (Money(minor_units=5, currency="XTS"), "amount.currency"),
    ],
)
async def test_an_amount_that_is_none_is_refused_by_its_field(desk: Desk, paid: str, amount: Money, field: str) -> None:
    refusal = await refusal_of(desk.donations.RefundDonation(refund(paid, amount=amount)))

    assert (refusal.reason_name, fields_of(refusal)) == ("INVALID_ARGUMENT", {field})
    assert asked(desk, paid) == []


@pytest.mark.requirement("PAY-5", "SEC-4")
async def test_a_charity_gives_back_its_own_gifts_and_learns_nothing_of_others(desk: Desk, appeal: Cause, paid: str) -> None:
    own, other = (
        speaking_as(Identity(roles=[ROLE_CHARITY], subject=f"key-{charity_id}", charity_id=charity_id))
        for charity_id in (appeal.charity_id, UNKNOWN)
    )
    assert (await desk.donations.RefundDonation(refund(paid, 10), **own)).donation.refunded.minor_units == 10
    for call in (
        desk.donations.RefundDonation(refund(paid, 10), **other),
        desk.donations.RefundDonation(refund(UNKNOWN, 10)),
    ):
        assert (await refusal_of(call)).reason_name == "DONATION_NOT_FOUND"
    for stranger, reason in ((guest(), "UNAUTHENTICATED"), (donor(UNKNOWN), "PERMISSION_DENIED")):
        call = desk.donations.RefundDonation(refund(paid, 10), **speaking_as(stranger))
        assert (await refusal_of(call)).reason_name == reason
    assert (await desk.get(paid)).refunded.minor_units == 10


@pytest.mark.requirement("PAY-5")
async def test_equal_keys_of_two_callers_are_two_refunds(desk: Desk, paid: str) -> None:
    request = refund(paid, 10)
    for name in ("till", "shop"):
        caller = Identity(roles=[ROLE_INTERNAL], subject=name)
        await desk.donations.RefundDonation(request, **speaking_as(caller))
    assert (await desk.get(paid)).refunded.minor_units == 20


@pytest.mark.requirement("PAY-5", "IDM-1")
async def test_a_refund_whose_answer_was_lost_is_made_once(desk: Desk, paid: str) -> None:
    request = refund(paid, 40)
    desk.payments.answer_lost = True
    refusal = await refusal_of(desk.donations.RefundDonation(request))
    desk.payments.answer_lost = False
    assert refusal.reason_name == "DEPENDENCY_UNAVAILABLE"

    assert (await desk.donations.RefundDonation(request)).donation.refunded.minor_units == 40
    assert desk.payments.payments[paid].refunded.minor_units == 40


@pytest.mark.requirement("PAY-5", "IDM-1")
async def test_a_refund_that_never_arrived_is_no_repeat_when_it_does(desk: Desk, paid: str) -> None:
    request = refund(paid, 40)
    desk.payments.away = True
    await refusal_of(desk.donations.RefundDonation(request))
    desk.payments.away = False

    assert not await is_replay(desk.donations.RefundDonation(request))
    assert await is_replay(desk.donations.RefundDonation(request))
    assert (await desk.get(paid)).refunded.minor_units == 40


@pytest.mark.requirement("PAY-5")
async def test_a_refund_that_the_provider_has_not_shown_yet_counts_when_it_does(desk: Desk, paid: str) -> None:
    desk.payments.provider_slow = True
    answer = await desk.donations.RefundDonation(refund(paid, 40))
    desk.payments.provider_slow = False
    assert (answer.donation.state, answer.donation.refunded.minor_units) == (Donation.STATE_SUCCEEDED, 0)
    assert (await refusal_of(desk.donations.RefundDonation(refund(paid, 61)))).metadata["remaining_minor_units"] == "60"

    desk.payments.payments[paid].ClearField("refunding")
    await desk.tell(desk.payments.refund(paid, 40))
    assert (await desk.until_state(paid, Donation.STATE_PARTIALLY_REFUNDED)).refunded.minor_units == 40


@pytest.mark.requirement("PAY-5", "OPS-5")
async def test_who_gave_back_and_why_is_on_record(desk: Desk, paid: str) -> None:
    await desk.donations.RefundDonation(refund(paid, 10, reason="given twice"))

    async with reading(desk.schemas, "donation") as connection:
        row = await connection.fetchrow("SELECT method, reason, actor FROM command WHERE subject_id = $1", paid)
    assert tuple(row) == ("RefundDonation", "given twice", "development")


@pytest.mark.requirement("PAY-5", "PAY-6")
async def test_refunds_and_disputes_that_begin_at_the_provider_are_followed_in_any_order(desk: Desk, paid: str) -> None:
    payments = desk.payments
    words = [payments.refund(paid, 30), payments.dispute(paid, 70), payments.dispute(paid, -70), payments.refund(paid, -30)]
    await desk.tell(words[2], words[0], words[2])
    await desk.until_state(paid, Donation.STATE_PARTIALLY_REFUNDED)
    await desk.tell(*reversed(words))
    donation = await desk.until_state(paid, Donation.STATE_SUCCEEDED)

    assert (donation.gross.minor_units, donation.refunded.minor_units, donation.disputed.minor_units) == (100, 0, 0)
    assert (await events_of(desk, paid))[3:] == ["DonationRefunded", "DonationRefunded"]


@pytest.mark.requirement("PAY-6")
async def test_a_lost_dispute_is_told_though_no_figure_moves(desk: Desk, paid: str) -> None:
    await desk.tell(desk.payments.dispute(paid, 100))
    await desk.until_state(paid, Donation.STATE_DISPUTED)
    await desk.tell(desk.payments.lose(paid))
    lost = await desk.until_state(paid, Donation.STATE_DISPUTE_LOST)

    assert lost.disputed.minor_units == 100
    assert (await events_of(desk, paid))[3:] == ["DonationDisputeChanged", "DonationDisputeChanged"]
