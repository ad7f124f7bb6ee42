"""CreateDonation: recorded first, then made ready, and one donation whatever happens in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from giving.common.v1.event_pb2 import Event
from giving.common.v1.money_pb2 import Money
from giving.common.v1.policy_pb2 import ROLE_INTERNAL
from giving.donation.v1 import charity_pb2
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.campaign_service_pb2 import PauseCampaignRequest
from giving.donation.v1.charity_service_pb2 import SuspendCharityRequest
from giving.donation.v1.donation_pb2 import Donation

from mesh.clock import SystemClock
from tests.donation.conftest import Desk, donor, promise, speaking_as
from tests.support.books import counted, reading
from tests.support.giving import Cause, campaign_request, open_cause, rule
from tests.support.mesh import fresh_key
from tests.support.payments import event_of, id_of
from tests.support.refusals import fields_of, is_replay, refusal_of
from tests.support.waiting import until

UNKNOWN = "0190b4a2-0000-7000-8000-000000000000"


async def events_of(desk: Desk, donation_id: str) -> list[str]:
    """Types of the events about a donation, in the order of its versions."""
    async with reading(desk.schemas, "donation") as connection:
        rows = await connection.fetch("SELECT payload FROM event")
    events = [event for row in rows if (event := Event.FromString(row["payload"])).subject == donation_id]
    return [event.type.rpartition(".")[2] for event in sorted(events, key=lambda event: event.version)]


@pytest.mark.requirement("INT-2")
async def test_a_promise_is_recorded_made_ready_and_counts_when_the_money_came(desk: Desk, appeal: Cause) -> None:
    answer = await desk.give(promise(appeal.campaign_id))
    donation_id = answer.donation.donation_id

    assert answer.donation.state == Donation.STATE_AWAITING_PAYMENT
    assert answer.donation.gross.minor_units == 0
    assert not answer.donation.HasField("settle_time")
    assert answer.client_secret.endswith("_secret")

    await desk.tell(desk.payments.succeed(donation_id))
    settled = await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)
    assert (settled.gross.minor_units, settled.payment_id) == (500, answer.donation.payment_id)
    assert settled.HasField("settle_time")
    assert await events_of(desk, donation_id) == ["DonationCreated", "DonationAwaitingPayment", "DonationSucceeded"]


@pytest.mark.requirement("INT-2")
async def test_the_donation_stands_in_the_database_before_the_payment_is_asked_for(desk: Desk, appeal: Cause) -> None:
    desk.payments.gate.clear()
    before = await counted(desk.schemas, "donation")
    calls = len(desk.payments.calls)
    giving = asyncio.create_task(desk.give(promise(appeal.campaign_id)))

    async def arrived() -> bool:
        return len(desk.payments.calls) > calls

    await until(arrived)
    assert await counted(desk.schemas, "donation") == before + 1
    desk.payments.gate.set()
    assert (await giving).client_secret


@pytest.mark.requirement("INT-2")
async def test_the_payment_service_is_called_as_ourselves_in_the_callers_trace(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id

    index = next(n for n, call in enumerate(desk.payments.calls) if id_of(call) == donation_id)
    request, identity = desk.payments.calls[index], desk.payments.identities[index]
    assert (list(identity.roles), identity.subject) == ([ROLE_INTERNAL], "donation")
    assert (request.campaign_id, request.charity_id) == (appeal.campaign_id, appeal.charity_id)


@pytest.mark.requirement("OPS-4")
async def test_what_a_payment_causes_carries_the_correlation_id_that_it_came_with(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    await desk.tell(desk.payments.succeed(donation_id))
    await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)

    async with reading(desk.schemas, "donation") as connection:
        rows = await connection.fetch("SELECT payload FROM event")
        assert (
            await connection.fetchval("SELECT correlation_id FROM donation WHERE id = $1", donation_id) == "from-the-webhook"
        )
    events = [event for row in rows if (event := Event.FromString(row["payload"])).subject == donation_id]
    assert {event.correlation_id for event in events if event.type.endswith("Succeeded")} == {"from-the-webhook"}


@pytest.mark.requirement("IDM-1", "IDM-3")
async def test_a_repeat_returns_the_same_donation_and_secret_and_says_so(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id)
    first = await desk.give(request)

    assert await desk.give(request) == first
    assert await is_replay(desk.donations.CreateDonation(request))
    assert not await is_replay(desk.donations.CreateDonation(promise(appeal.campaign_id)))
    assert desk.payments.provider_intents[first.donation.donation_id] == 1


@pytest.mark.requirement("IDM-3", "IDM-2")
async def test_fifty_equal_calls_at_once_make_one_donation_and_one_intent(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id)
    before = await counted(desk.schemas, "donation")

    answers = await asyncio.gather(*(desk.give(request) for _ in range(50)))

    [donation_id] = {answer.donation.donation_id for answer in answers}
    assert len({answer.client_secret for answer in answers}) == 1
    assert await counted(desk.schemas, "donation") == before + 1
    assert desk.payments.provider_intents[donation_id] == 1
    assert await events_of(desk, donation_id) == ["DonationCreated", "DonationAwaitingPayment"]


@pytest.mark.requirement("IDM-2")
@pytest.mark.parametrize(
    "other",
    [
        {"amount": Money(minor_units=501, currency="USD")},
        {"cover_fee": True},
        {"donor_name": "Grace Hopper"},
        {"donor_email": "grace@example.org"},
        {"message": "for her"},
    ],
)
async def test_another_content_under_a_used_key_is_refused(desk: Desk, appeal: Cause, other: Any) -> None:
    request = promise(appeal.campaign_id, donor_name="Ada Lovelace")
    await desk.give(request)

    changed = messages.CreateDonationRequest()
    changed.CopyFrom(request)
    changed.MergeFrom(messages.CreateDonationRequest(**other))

    assert (await refusal_of(desk.give(changed))).reason_name == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.requirement("IDM-1")
async def test_a_repeat_is_answered_though_nothing_new_is_taken(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id)
    first = await desk.give(request)
    await desk.campaigns.PauseCampaign(PauseCampaignRequest(request_id=fresh_key(), campaign_id=appeal.campaign_id))

    assert (await desk.give(request)).client_secret == first.client_secret
    refusal = await refusal_of(desk.give(promise(appeal.campaign_id)))
    assert (refusal.reason_name, refusal.metadata["state"]) == ("CAMPAIGN_NOT_OPEN", "PAUSED")


@pytest.mark.requirement("CAM-0")
async def test_what_takes_nothing_now_is_refused_by_its_reason(desk: Desk, appeal: Cause) -> None:
    draft = (await desk.campaigns.CreateCampaign(campaign_request(appeal.charity_id))).campaign
    assert (await refusal_of(desk.give(promise(UNKNOWN)))).reason_name == "CAMPAIGN_NOT_FOUND"
    assert (await refusal_of(desk.give(promise(draft.campaign_id)))).metadata["state"] == "DRAFT"

    suspend = SuspendCharityRequest(request_id=fresh_key(), charity_id=appeal.charity_id, reason="audit")
    await desk.charities.SuspendCharity(suspend)
    assert (await refusal_of(desk.give(promise(appeal.campaign_id)))).reason_name == "CHARITY_SUSPENDED"


@pytest.mark.requirement("INT-1")
@pytest.mark.parametrize(
    ("amount", "field"),
    [
        (Money(minor_units=0, currency="USD"), "amount.minor_units"),
        (Money(minor_units=-1, currency="USD"), "amount.minor_units"),
        (Money(minor_units=99, currency="USD"), "amount.minor_units"),
        (Money(minor_units=1_000_001, currency="USD"), "amount.minor_units"),
        (Money(minor_units=2**63 - 1, currency="USD"), "amount.minor_units"),
        (Money(minor_units=500, currency="GBP"), "amount.currency"),
        (Money(minor_units=500, currency="XTS"), "amount.currency"),
        (None, "amount"),
    ],
)
async def test_an_amount_out_of_bounds_is_refused_by_its_field_and_leaves_no_trace(
    desk: Desk, appeal: Cause, amount: Money | None, field: str
) -> None:
    before = await counted(desk.schemas, "donation"), await counted(desk.schemas, "event"), len(desk.payments.calls)

    refusal = await refusal_of(desk.give(promise(appeal.campaign_id, amount=amount, cover_fee=True)))

    assert (refusal.reason_name, fields_of(refusal)) == ("INVALID_ARGUMENT", {field})
    after = await counted(desk.schemas, "donation"), await counted(desk.schemas, "event"), len(desk.payments.calls)
    assert after == before


@pytest.mark.requirement("INT-1", "INT-6")
async def test_the_largest_gift_leaves_no_room_for_the_fee(desk: Desk) -> None:
    cause = await open_cause(desk, rule("USD", 100, 99_999_999))

    refusal = await refusal_of(desk.give(promise(cause.campaign_id, 99_999_999, cover_fee=True)))

    assert fields_of(refusal) == {"amount.minor_units"}
    assert (await desk.give(promise(cause.campaign_id, 99_999_999))).donation.amount.minor_units == 99_999_999


@pytest.mark.requirement("INT-6", "PAY-10")
@pytest.mark.parametrize(("currency", "gift", "cover"), [("USD", 1000, 61), ("JPY", 500, 19), ("KWD", 1000, 50)])
async def test_the_fees_cover_is_part_of_what_is_charged(desk: Desk, currency: str, gift: int, cover: int) -> None:
    cause = await open_cause(desk, rule(currency, 10, 100_000, (100,)))

    answer = await desk.give(promise(cause.campaign_id, gift, currency, cover_fee=True))
    donation_id = answer.donation.donation_id
    assert (answer.donation.amount.minor_units, answer.donation.fee_cover.minor_units) == (gift + cover, cover)
    assert desk.payments.payments[donation_id].amount == Money(minor_units=gift + cover, currency=currency)

    await desk.tell(desk.payments.succeed(donation_id))
    assert (await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)).gross.minor_units == gift + cover


@pytest.mark.requirement("INT-6", "INT-9")
async def test_an_offer_says_how_the_fees_cover_is_reckoned(desk: Desk, appeal: Cause) -> None:
    offer = await desk.donations.GetDonationOffer(messages.GetDonationOfferRequest(campaign_id=appeal.campaign_id))

    rules = {rule.currency: (rule.basis_points, rule.fixed_minor_units) for rule in offer.fee_rules}
    assert rules == {"EUR": (150, 25), "USD": (290, 30)}


@pytest.mark.requirement("INT-2", "IDM-1")
@pytest.mark.parametrize("fault", ["away", "provider_slow", "answer_lost"])
async def test_without_a_payment_the_promise_stands_and_a_repeat_brings_the_secret(
    desk: Desk, appeal: Cause, fault: str
) -> None:
    setattr(desk.payments, fault, True)
    request = promise(appeal.campaign_id)
    first = await desk.give(request)

    assert (first.donation.state, first.client_secret) == (Donation.STATE_PENDING, "")
    assert first.access_token
    setattr(desk.payments, fault, False)
    again = await desk.give(request)
    assert again.donation.donation_id == first.donation.donation_id
    assert (again.donation.state, bool(again.client_secret)) == (Donation.STATE_AWAITING_PAYMENT, True)
    assert desk.payments.provider_intents[first.donation.donation_id] == 1


@pytest.mark.requirement("INT-2")
async def test_a_payment_service_that_hangs_costs_the_caller_his_deadline_and_no_more(desk: Desk, appeal: Cause) -> None:
    desk.payments.gate.clear()
    answer = await desk.give(promise(appeal.campaign_id), timeout=1)

    assert (answer.donation.state, answer.client_secret) == (Donation.STATE_PENDING, "")
    desk.payments.gate.set()


@pytest.mark.requirement("INT-2")
async def test_a_declined_charge_may_be_tried_again_and_succeed(desk: Desk, appeal: Cause) -> None:
    request = promise(appeal.campaign_id)
    first = await desk.give(request)
    donation_id = first.donation.donation_id

    await desk.tell(desk.payments.decline(donation_id, "insufficient_funds"))
    declined = await desk.until_state(donation_id, Donation.STATE_FAILED)
    assert (declined.retryable, declined.failure_code, declined.gross.minor_units) == (True, "insufficient_funds", 0)
    again = await desk.give(request)
    assert (again.client_secret, again.donation.state) == (first.client_secret, Donation.STATE_FAILED)

    await desk.tell(desk.payments.succeed(donation_id))
    settled = await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)
    assert (settled.retryable, settled.failure_code) == (False, "")
    assert (await events_of(desk, donation_id))[2:] == ["DonationFailed", "DonationSucceeded"]
    assert (await desk.give(request)).client_secret == ""


@pytest.mark.requirement("INT-2", "HKI-3")
async def test_events_in_the_wrong_order_and_again_move_each_figure_once(desk: Desk, appeal: Cause) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    declined, paid = desk.payments.decline(donation_id), desk.payments.succeed(donation_id)
    refunded = desk.payments.refund(donation_id, 200)

    await desk.tell(refunded, paid)
    await desk.tell(declined)
    await desk.tell(paid, declined, refunded)
    late = desk.payments.refund(donation_id, 300)
    await desk.tell(late)

    donation = await desk.until_state(donation_id, Donation.STATE_REFUNDED)
    assert (donation.gross.minor_units, donation.refunded.minor_units) == (500, 500)
    assert (await events_of(desk, donation_id))[2:] == ["DonationSucceeded", "DonationRefunded", "DonationRefunded"]


@pytest.mark.requirement("EVT-7", "INT-2")
async def test_an_event_that_contradicts_its_donation_is_kept_for_an_operator_and_books_nothing(
    desk: Desk, appeal: Cause
) -> None:
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    paid = desk.payments.succeed(donation_id)
    wrong = event_of(desk.payments.payments[donation_id], currency="EUR")
    strange = event_of(desk.payments.payments[donation_id], donation_id=UNKNOWN)

    await desk.tell(wrong, strange, paid)
    await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)

    async def reasons() -> dict[bytes, str]:
        async with reading(desk.schemas, "donation") as connection:
            rows = await connection.fetch("SELECT event_id, reason FROM dead_letter")
        return {row["event_id"].bytes: row["reason"] for row in rows}

    kept = await until(reasons, holds=lambda found: {wrong.id, strange.id} <= found.keys())
    assert (kept[wrong.id], kept[strange.id]) == ("is about another donation or currency", "no such donation")


@pytest.mark.requirement("IDM-5")
async def test_equal_gifts_of_a_known_donor_both_stand_and_the_second_carries_a_hint(desk: Desk, appeal: Cause) -> None:
    # What is recent is told by ids, which carry the machine's time.
    desk.clock.advance(SystemClock().now() - desk.clock.now())
    ada = speaking_as(donor("0190b4a2-0000-7000-8000-0000000000d7"))
    first = (await desk.give(promise(appeal.campaign_id), **ada)).donation
    second = (await desk.give(promise(appeal.campaign_id), **ada)).donation

    assert (first.possible_duplicate_of, second.possible_duplicate_of) == ("", first.donation_id)
    assert second.donor_id == "0190b4a2-0000-7000-8000-0000000000d7"


@pytest.mark.requirement("CAM-0")
async def test_a_live_charity_takes_no_test_payments(desk: Desk) -> None:
    live = await open_cause(desk, mode=charity_pb2.Charity.MODE_LIVE)
    refusal = await refusal_of(desk.give(promise(live.campaign_id)))
    assert (refusal.reason_name, refusal.metadata["charity_id"]) == ("MODE_MISMATCH", live.charity_id)
