"""Payments through the official SDK and a Stripe that keeps books of its own: the books of both must agree."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import grpc
import pytest
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_CHARITY, ROLE_PUBLIC
from giving.payment.v1 import ledger_service_pb2, payment_pb2, payment_service_pb2
from nats.js.errors import NotFoundError

from cli.servers.nats import nats
from cli.servers.postgres import Postgres
from mesh.clock import ManualClock
from mesh.errors import from_rpc_error
from mesh.events.stream import connect
from mesh.rpc.call import IDENTITY_KEY
from tests.support.folders import reachable_folder
from tests.support.sandbox import Sandbox
from tests.support.schemas import make_database
from tests.support.till import Till, abandoning, confirm, order, running_till
from tests.support.waiting import until

P = payment_pb2.Payment
A = payment_pb2.Attempt
CREATE = "payment_intents.create"
CREATED_AT = "/v1/payment_intents"


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value, dependency="payment").reason_name


async def ready(till: Till, **more: Any) -> payment_service_pb2.CreatePaymentResponse:
    created = await till.create(order(**more))
    assert created.client_secret
    return created


async def charged(till: Till, payment: payment_pb2.Payment) -> list[int]:
    """What the sandbox charged for the payment's donation, over all intents that name it."""
    entries = (await till.sandbox.book()).values()
    ours = [entry for entry in entries if entry["metadata"].get("donation_id") == payment.donation_id]
    return [entry["captured"] for entry in ours]


@pytest.mark.requirement("INT-2", "PAY-1")
async def test_a_payment_is_made_ready_and_waits_for_its_donor(till: Till) -> None:
    created = await till.create(request := order())
    assert created.payment.state == P.STATE_REQUIRES_ACTION
    assert created.client_secret.startswith(created.payment.provider_id)
    assert [(a.kind, a.outcome) for a in created.payment.attempts] == [(A.KIND_CREATE_INTENT, A.OUTCOME_SUCCEEDED)]
    entry = (await till.sandbox.book())[created.payment.provider_id]
    assert (entry["amount"], entry["currency"], entry["captured"]) == (2500, "usd", 0)
    assert entry["metadata"]["donation_id"] == request.donation_id


@pytest.mark.requirement("IDM-4", "PAY-4")
async def test_a_repeat_returns_the_same_payment_and_asks_stripe_nothing(till: Till) -> None:
    first = await till.create(request := order())
    before = await till.calls_about(first.payment)
    again = await till.create(request)
    assert (again.payment, again.client_secret) == (first.payment, first.client_secret)
    assert await till.calls_about(first.payment) == before > 0


@pytest.mark.requirement("IDM-3")
async def test_fifty_identical_calls_at_once_make_one_attempt_at_stripe(till: Till) -> None:
    request = order()
    created = await asyncio.gather(*(till.create(request) for _ in range(50)))
    assert {answer.client_secret for answer in created} == {created[0].client_secret} != {""}
    keys = {asked["key"] for asked in await till.requests(CREATED_AT) if request.donation_id in str(asked["params"])}
    assert len(keys) == 1
    assert await charged(till, created[0].payment) == [0]


async def test_another_content_for_a_known_donation_is_refused(till: Till) -> None:
    request = order()
    await till.create(request)
    request.amount.minor_units += 1
    assert await refused(till.create(request)) == "IDEMPOTENCY_KEY_REUSED"


@pytest.mark.requirement("INT-2", "LED-2", "HKI-2")
async def test_a_donor_who_pays_is_booked_in_payment_ledger_and_log(till: Till) -> None:
    created = await ready(till)
    assert (await confirm(till.sandbox, created.client_secret))["status"] == "succeeded"
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    assert (paid.captured.minor_units, paid.failure_code) == (2500, "")
    for reference in (paid.payment_id, paid.donation_id):
        entries = (await till.ledger.ListEntries(ledger_service_pb2.ListEntriesRequest(reference_id=reference))).entries
        posted = {entry.account: entry.amount.minor_units for entry in entries}
        assert posted == {"provider_clearing": 2500, "campaign_payable": -2500}
    assert not (await till.ledger.VerifyLedger(ledger_service_pb2.VerifyLedgerRequest())).violations
    assert await charged(till, paid) == [2500]


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize(("minor_units", "currency"), [(500, "JPY"), (12340, "KWD"), (5000, "ISK")])
async def test_currencies_with_other_decimals_are_taken_as_they_are(till: Till, minor_units: int, currency: str) -> None:
    created = await ready(till, minor_units=minor_units, currency=currency)
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    assert (paid.captured.minor_units, paid.captured.currency) == (minor_units, currency)
    assert await charged(till, paid) == [minor_units]


@pytest.mark.requirement("PAY-1")
async def test_a_declined_donor_pays_with_another_card_on_the_same_intent(till: Till) -> None:
    created = await till.create(request := order())
    answer = await confirm(till.sandbox, created.client_secret, "pm_card_chargeDeclinedInsufficientFunds")
    assert answer["error"]["code"] == "card_declined"
    declined = await till.reaches(created.payment.payment_id, P.STATE_FAILED)
    assert declined.failure_code == "insufficient_funds"
    assert (await till.create(request)).client_secret == created.client_secret
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    charges = await until(lambda: _charges(till, paid.payment_id), holds=lambda found: len(found) == 2)
    assert charges == [A.OUTCOME_REFUSED, A.OUTCOME_SUCCEEDED]
    assert await charged(till, paid) == [2500]


async def _charges(till: Till, payment_id: str) -> list[int]:
    return [a.outcome for a in (await till.payment(payment_id)).attempts if a.kind == A.KIND_CHARGE]


@pytest.mark.requirement("ABU-2")
async def test_after_three_declines_the_intent_is_called_off(till: Till) -> None:
    created = await ready(till)
    for _ in range(3):
        await confirm(till.sandbox, created.client_secret, "pm_card_chargeDeclined")
    ended = await till.reaches(created.payment.payment_id, P.STATE_CANCELED)
    assert ended.failure_code == "generic_decline"
    assert (await till.sandbox.book())[ended.provider_id]["status"] == "canceled"
    assert "error" in await confirm(till.sandbox, created.client_secret)


@pytest.mark.requirement("PAY-2")
async def test_a_card_that_asks_for_more_waits_for_the_donor(till: Till) -> None:
    created = await ready(till)
    answer = await confirm(till.sandbox, created.client_secret, "pm_card_authenticationRequired")
    assert answer["status"] == "requires_action"
    payment = await till.payment(created.payment.payment_id)
    assert payment.state == P.STATE_REQUIRES_ACTION


# Fault of the call that makes the intent → how the payment stands once everything has been asked that can be.
FAULTS = {
    "answer_lost": P.STATE_REQUIRES_ACTION,
    "garbled": P.STATE_REQUIRES_ACTION,
    "truncated": P.STATE_REQUIRES_ACTION,
    "error_429": P.STATE_REQUIRES_ACTION,
    "slow": P.STATE_REQUIRES_ACTION,
    "hang": P.STATE_REQUIRES_ACTION,
    "refuse_connection": P.STATE_REQUIRES_ACTION,
    "error_500_after": P.STATE_REQUIRES_ACTION,
    "error_500": P.STATE_FAILED,
}


@pytest.mark.requirement("PAY-3", "PAY-4", "INT-7")
@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_happens_to_our_call_there_is_one_intent_and_it_is_found(till: Till, fault: str) -> None:
    # Three seconds are more than one request may take here.
    await till.sandbox.fault(fault, call=CREATE, seconds=3)
    created = await till.create(request := order())
    assert created.payment.state not in (P.STATE_FAILED, P.STATE_CANCELED)
    # 30 s, 2 min and 10 min later, and past the minute in which the provider's search shows nothing.
    for step in (35, 125, 605, 3605):
        await till.sandbox.advance(seconds=step)
        till.clock.advance(datetime.timedelta(seconds=step))
        await settled_down(till, created.payment.payment_id)
    ended = await till.reaches(created.payment.payment_id, FAULTS[fault])
    assert len(await charged(till, ended)) == (0 if fault == "error_500" else 1)
    if ended.state == P.STATE_REQUIRES_ACTION:
        secret = (await till.create(request)).client_secret
        await confirm(till.sandbox, secret)
        paid = await till.reaches(ended.payment_id, P.STATE_SUCCEEDED)
        assert await charged(till, paid) == [2500]
    else:
        assert (ended.failure_code, (await till.create(request)).client_secret) == ("provider_error", "")


async def settled_down(till: Till, payment_id: str) -> None:
    """Waits until nothing is due for the payment by the till's clock."""

    async def due() -> bool:
        payment = await till.payment(payment_id)
        return (
            payment.HasField("next_attempt_time")
            and payment.next_attempt_time.ToDatetime(tzinfo=datetime.UTC) <= till.clock.now()
        )

    await until(due, holds=lambda found: not found)


@pytest.mark.requirement("PAY-4")
async def test_an_attempt_older_than_23_hours_is_looked_up_and_never_made_again(till: Till) -> None:
    await till.sandbox.fault("error_500_after", call=CREATE)
    created = await till.create(request := order())
    assert created.payment.state == P.STATE_UNKNOWN
    posted = await till.calls_about(created.payment, path=CREATED_AT)
    await till.sandbox.advance(seconds=25 * 3600)
    till.clock.advance(datetime.timedelta(hours=25))
    found = await till.reaches(created.payment.payment_id, P.STATE_REQUIRES_ACTION)
    assert await till.calls_about(created.payment, path=CREATED_AT) == posted > 0
    assert len(await charged(till, found)) == 1
    assert (await till.create(request)).client_secret


@pytest.mark.requirement("PAY-4", "PAY-3")
async def test_a_lost_intent_is_found_by_search_alone(till: Till) -> None:
    await till.sandbox.webhook_fault("withhold", times=20)
    await till.sandbox.fault("error_500_after", call=CREATE)
    created = await till.create(request := order())
    assert created.payment.state == P.STATE_UNKNOWN
    await till.sandbox.advance(seconds=125)
    till.clock.advance(datetime.timedelta(seconds=125))
    await till.reaches(created.payment.payment_id, P.STATE_REQUIRES_ACTION)
    assert (await till.create(request)).client_secret


@pytest.mark.requirement("PAY-4", "HKI-4")
async def test_a_lost_intent_is_found_by_its_own_webhook_alone(till: Till) -> None:
    await till.sandbox.fault("error_500_after", call=CREATE)
    await till.sandbox.fault("error_429", call="payment_intents.search", times=None)
    created = await till.create(request := order())
    # It came before our call was known to be unproven, and is looked at again.
    till.clock.advance(datetime.timedelta(seconds=5))
    await till.reaches(created.payment.payment_id, P.STATE_REQUIRES_ACTION)
    assert (await till.create(request)).client_secret


@pytest.mark.requirement("IDM-3", "PAY-4")
async def test_two_replicas_make_one_call(till: Till) -> None:
    """The one that holds the payment asks; the other waits for what it learns."""
    await till.sandbox.fault("slow", call=CREATE, seconds=1)
    request = order()
    with reachable_folder() as folder:
        async with (
            nats(folder) as broker,
            running_till(till.schemas, nats_url=broker.url, sandbox=till.sandbox, clock=till.clock) as other,
        ):
            first, second = await asyncio.gather(till.create(request), other.create(request))
    assert first.client_secret == second.client_secret != ""
    asked = [call for call in await till.requests(CREATED_AT) if request.donation_id in str(call["params"])]
    assert len(asked) == 1


@pytest.mark.requirement("HKI-3", "HKI-4")
@pytest.mark.parametrize("fault", ["duplicate", "reorder", "delay", "withhold", "before_answer", "two_events"])
async def test_whatever_happens_to_webhooks_the_payment_is_booked_once(till: Till, fault: str) -> None:
    await till.sandbox.webhook_fault(fault, times=20, seconds=0.3, copies=3)
    created = await ready(till)
    await confirm(till.sandbox, created.client_secret)
    await till.sandbox.release()
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    await till.sandbox.clear()
    await delivered(till, paid.provider_id, times=2 if fault in ("duplicate", "two_events") else 1)
    request = ledger_service_pb2.ListEntriesRequest(reference_id=paid.payment_id)
    assert len((await till.ledger.ListEntries(request)).entries) == 2
    assert (await till.payment(paid.payment_id)).captured.minor_units == 2500


async def delivered(till: Till, intent_id: str, *, times: int) -> None:
    """Waits until each event of a success has arrived so often and was answered with 2xx."""
    kinds = ("charge.succeeded", "payment_intent.succeeded")

    async def least() -> int:
        return min(len(till.sandbox.hooks.taken(about=intent_id, kind=kind)) for kind in kinds)

    await until(least, holds=lambda found: found >= times)


@pytest.mark.requirement("HKI-5", "PAY-3")
async def test_a_charge_whose_webhook_never_comes_is_found(till: Till) -> None:
    await till.sandbox.webhook_fault("withhold", times=20)
    created = await ready(till)
    await confirm(till.sandbox, created.client_secret)
    till.clock.advance(datetime.timedelta(seconds=61))
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    assert [a.outcome for a in paid.attempts if a.kind == A.KIND_CHARGE] == [A.OUTCOME_SUCCEEDED]


@pytest.mark.requirement("INT-7")
async def test_a_payment_that_nobody_waits_for_is_called_off_at_stripe(till: Till) -> None:
    created = await till.create(request := order())
    abandoned = await till.payments.AbandonPayment(abandoning(request))
    assert abandoned.payment.state == P.STATE_CANCELED
    assert (await till.sandbox.book())[created.payment.provider_id]["status"] == "canceled"
    assert (await till.payments.AbandonPayment(abandoning(request))).payment.state == P.STATE_CANCELED
    assert (await till.create(request)).client_secret == ""


@pytest.mark.requirement("INT-7", "IDM-6")
async def test_a_payment_that_never_began_leaves_a_tombstone(till: Till) -> None:
    request = order()
    assert (await till.payments.AbandonPayment(abandoning(request))).payment.state == P.STATE_CANCELED
    assert await refused(till.create(request)) == "PAYMENT_ABANDONED"
    assert await refused(till.create(request)) == "PAYMENT_ABANDONED"


@pytest.mark.requirement("INT-7", "PAY-2")
async def test_money_that_has_come_is_not_abandoned(till: Till) -> None:
    created = await till.create(request := order())
    await confirm(till.sandbox, created.client_secret)
    await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    assert await refused(till.payments.AbandonPayment(abandoning(request))) == "PAYMENT_STATE_CONFLICT"


@pytest.mark.requirement("INT-7")
async def test_a_success_whose_webhook_is_late_wins_over_the_abandoning(till: Till) -> None:
    await till.sandbox.webhook_fault("withhold", times=20)
    created = await till.create(request := order())
    await confirm(till.sandbox, created.client_secret)
    assert await refused(till.payments.AbandonPayment(abandoning(request))) == "PAYMENT_STATE_CONFLICT"
    await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    assert await charged(till, created.payment) == [2500]


@pytest.mark.requirement("INT-7")
async def test_an_abandoning_that_stripe_did_not_confirm_is_finished_later(till: Till) -> None:
    created = await till.create(request := order())
    await till.sandbox.fault("error_500", call="payment_intents.cancel", times=1)
    assert await refused(till.payments.AbandonPayment(abandoning(request))) == "DEPENDENCY_UNAVAILABLE"
    till.clock.advance(datetime.timedelta(seconds=35))
    await till.reaches(created.payment.payment_id, P.STATE_CANCELED)


async def test_an_unknown_payment_is_not_found(till: Till) -> None:
    unknown = order().donation_id
    assert await refused(till.payment(unknown)) == "PAYMENT_NOT_FOUND"


@pytest.mark.requirement("PAY-1")
async def test_a_charity_sees_its_own_payments_and_nobody_elses(till: Till) -> None:
    created = await till.create(request := order())
    asked = payment_service_pb2.GetPaymentRequest(payment_id=created.payment.payment_id)
    listed = payment_service_pb2.ListPaymentsRequest(charity_id=request.charity_id)
    own, other = acting_for(request.charity_id), acting_for(order().charity_id)
    assert (await till.payments.GetPayment(asked, metadata=own)).payment.payment_id == asked.payment_id
    assert len((await till.payments.ListPayments(listed, metadata=own)).payments) == 1
    assert await refused(till.payments.GetPayment(asked, metadata=other)) == "PAYMENT_NOT_FOUND"
    assert not (await till.payments.ListPayments(listed, metadata=other)).payments


def acting_for(charity_id: str) -> tuple[tuple[str, bytes], ...]:
    """A charity's server, as the gateway would introduce it."""
    identity = Identity(roles=[ROLE_PUBLIC, ROLE_CHARITY], subject="key", charity_id=charity_id)
    return ((IDENTITY_KEY, identity.SerializeToString()),)


@pytest.mark.requirement("PAY-1")
async def test_a_charitys_payments_are_listed_newest_first_in_pages(till: Till) -> None:
    first = order()
    made = [await till.create(first)]
    for _ in range(2):
        request = order()
        request.charity_id = first.charity_id
        made.append(await till.create(request))
    listed: list[str] = []
    token = ""
    while True:
        page = await till.payments.ListPayments(
            payment_service_pb2.ListPaymentsRequest(charity_id=first.charity_id, page_size=2, page_token=token)
        )
        listed += [payment.payment_id for payment in page.payments]
        token = page.next_page_token
        if not token:
            break
    assert listed == [answer.payment.payment_id for answer in reversed(made)]


@pytest.mark.requirement("PAY-10")
async def test_amounts_that_stripe_does_not_take_are_refused_before_it_is_asked(till: Till) -> None:
    for minor_units, currency in ((0, "USD"), (100_000_000, "USD"), (1001, "KWD"), (150, "ISK"), (100, "XXX")):
        assert await refused(till.create(request := order(minor_units, currency))) == "INVALID_ARGUMENT"
        assert request.donation_id not in str(await till.sandbox.requests())


@pytest.mark.requirement("PAY-3")
async def test_what_stripe_itself_refuses_ends_the_payment_with_its_reason(till: Till) -> None:
    created = await till.create(request := order(10))
    assert (created.payment.state, created.payment.failure_code) == (P.STATE_FAILED, "amount_too_small")
    assert (created.client_secret, await charged(till, created.payment)) == ("", [])
    assert (await till.create(request)).payment == created.payment


@pytest.mark.requirement("HKI-2", "INT-2")
async def test_money_is_booked_while_the_broker_is_down_and_announced_when_it_is_back(
    postgres_server: Postgres, sandbox: Sandbox, till_clock: ManualClock
) -> None:
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    with reachable_folder() as folder:
        async with (
            nats(folder) as broker,
            running_till(schemas, nats_url=broker.url, sandbox=sandbox, clock=till_clock) as till,
        ):
            await broker.kill()
            created = await ready(till)
            await confirm(sandbox, created.client_secret)
            paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
            await broker.start()
            async with connect(broker.url, name="test") as client:
                stream = client.jetstream()

                async def announced() -> bool:
                    try:
                        return (await stream.stream_info("GIVING_PAYMENT")).state.messages > 0
                    except NotFoundError:
                        return False

                await until(announced)
            assert paid.captured.minor_units == 2500
