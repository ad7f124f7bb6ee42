"""TracePayment: a whole life by any id of it, what was done by hand, and what belongs to no payment."""

from __future__ import annotations

import datetime
import secrets
from typing import Any
from uuid import UUID

import pytest
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_CHARITY
from giving.payment.v1 import payment_pb2
from giving.payment.v1.payment_operations_service_pb2 import (
    AskProviderRequest,
    Breaker,
    SetBreakerRequest,
    SkipProviderEventRequest,
    TracePaymentRequest,
    TracePaymentResponse,
)

from mesh.postgres import Database, load_queries, open_database
from mesh.rpc.call import CORRELATION_KEY, IDENTITY_KEY
from payment_svc.consumer import RecordedDonations
from payment_svc.domain.trace import LISTED_MAX, timeline
from payment_svc.store.history import HistoryStore
from payment_svc.store.payments import PaymentStore
from tests.payment.test_returns import refunding
from tests.support.books import reading
from tests.support.donation_events import Giver
from tests.support.mesh import fresh_key
from tests.support.plans import read_through
from tests.support.refused import refused
from tests.support.settling import Settling
from tests.support.till import Till, confirm, order
from tests.support.waiting import until
from tests.support.webhooks import event_about, intent_shown, post, signed

pytestmark = pytest.mark.requirement("OPS-3")
P = payment_pb2.Payment
DECLINED = "insufficient_funds (the account does not hold the amount)"


def in_call(name: str) -> dict[str, Any]:
    return {"metadata": ((CORRELATION_KEY, name),)}


async def trace(till: Till, reference: str) -> TracePaymentResponse:
    return await till.operations.TracePayment(TracePaymentRequest(reference=reference))


def told(answer: TracePaymentResponse, words: str) -> list[dict[str, str]]:
    """The details of the steps that say so."""
    return [dict(step.details) for step in answer.steps if words in step.what]


def in_order(answer: TracePaymentResponse, *words: str) -> None:
    """One after the other, whatever stands in between."""
    found = iter(step.what for step in answer.steps)
    missing = [each for each in words if not any(each in what for what in found)]
    assert missing == [], "\n".join(step.what for step in answer.steps)


async def passes(till: Till) -> None:
    """Time passes, so that what comes now is later than what was."""
    till.clock.advance(datetime.timedelta(seconds=1))


async def later(till: Till, payment_id: str) -> Any:
    """What is told after some time: what is parked or does not add up yet is looked at again by then."""
    till.clock.advance(datetime.timedelta(minutes=1))
    return await trace(till, payment_id)


async def settled(till: Till, payment_id: str, state: int, *, charges: int = 0) -> P:
    """The payment in a state, and with so many charges known: that webhooks come in any order is not told here."""

    def is_settled(found: P) -> bool:
        known = sum(attempt.kind == payment_pb2.Attempt.KIND_CHARGE for attempt in found.attempts)
        return found.state == state and known >= charges

    payment = await until(lambda: till.payment(payment_id), holds=is_settled)
    await passes(till)
    return payment


async def a_whole_life(till: Till) -> tuple[P, str]:
    """Declined, paid, given back by us, by the dashboard and with a lost answer, disputed; and the dispute."""
    created = await till.create(order(), **in_call("the-call-that-made-it"))
    payment_id = created.payment.payment_id
    await passes(till)
    await confirm(till.sandbox, created.client_secret, "pm_card_chargeDeclinedInsufficientFunds")
    await settled(till, payment_id, P.STATE_FAILED, charges=1)
    await confirm(till.sandbox, created.client_secret)
    paid = await settled(till, payment_id, P.STATE_SUCCEEDED, charges=2)
    await till.payments.RefundPayment(refunding(paid, 1000), **in_call("the-call-that-gives-back"))
    await passes(till)
    await till.sandbox.ask("POST", "refunds", payment_intent=paid.provider_id, amount=200)
    await until(lambda: till.payment(payment_id), holds=lambda found: found.refunded.minor_units == 1200)
    await passes(till)
    await till.sandbox.webhook_fault("withhold", types=["refund.created", "charge.refunded"], times=20)
    await till.sandbox.fault("answer_lost", call="refunds.create", times=3)
    await till.payments.RefundPayment(refunding(paid, 300))
    till.clock.advance(datetime.timedelta(minutes=1))
    await until(lambda: till.payment(payment_id), holds=lambda found: found.refunded.minor_units == 1500)
    await passes(till)
    dispute = await till.sandbox.dispute(payment_intent=paid.provider_id, amount=1000)
    await settled(till, payment_id, P.STATE_DISPUTED)
    await till.sandbox.ask("POST", f"disputes/{dispute['id']}/lose")
    return await settled(till, payment_id, P.STATE_DISPUTE_LOST), dispute["id"]


async def test_a_whole_life_is_told_in_order_by_any_id_of_it(till: Till) -> None:
    payment, dispute_id = await a_whole_life(till)
    await till.sandbox.clear()
    answer = await until(lambda: later(till, payment.payment_id), holds=lambda found: not found.HasField("next_time"))

    in_order(
        answer,
        "recorded, before the provider was asked",
        "begun: our call that makes the intent",
        "the payment became REQUIRES_ACTION",
        f"a charge that the donor's browser caused was declined: {DECLINED}",
        "the payment became FAILED",
        "a charge that the donor's browser caused succeeded",
        "the payment became SUCCEEDED",
        "posted to the ledger: captured",
        "RefundPayment was asked for",
        "begun: our refund",
        "the payment became PARTIALLY_REFUNDED",
        "posted to the ledger: refunded",
        "a refund that somebody made at the provider succeeded",
        "begun: our refund",
        "the answer to our refund was lost: what became of it is not proven",
        "our refund succeeded",
        "the donor's bank disputes it",
        "the payment became DISPUTED",
        "posted to the ledger: dispute_held",
        "the donor's bank keeps it: the dispute is lost",
        "the payment became DISPUTE_LOST",
        "posted to the ledger: dispute_lost",
    )
    times = [step.time.ToDatetime() for step in answer.steps]
    assert times == sorted(times)
    assert answer.payment == await till.payment(payment.payment_id)
    assert (
        answer.why == "The donor's bank took back and keeps 10.00 USD of 25.00 USD (fraudulent); 15.00 USD went back before."
    )
    assert (answer.next, answer.HasField("next_time")) == ("Nothing: it has ended.", False)

    (recorded,) = told(answer, "recorded")
    assert (recorded["actor"], recorded["correlation_id"]) == ("development", "the-call-that-made-it")
    assert (recorded["amount"], recorded["amount_minor_units"]) == ("25.00 USD", "2500")
    ours, again = told(answer, "begun: our refund")
    assert (ours["amount"], ours["reason"], ours["calls"], again["calls"]) == ("10.00 USD", "a wish", "1", "2")
    (command, _) = told(answer, "RefundPayment was asked for")
    assert (command["reason"], command["correlation_id"]) == ("a wish", "the-call-that-gives-back")
    charged = told(answer, "browser caused succeeded")[0]
    references = [
        payment.donation_id,
        payment.provider_id,
        charged["provider_id"],
        told(answer, "somebody made at the provider")[0]["provider_id"],
        dispute_id,
        told(answer, "came from the provider")[0]["event_id"],
        "the-call-that-gives-back",
    ]
    for reference in references:
        assert (await trace(till, reference)).payment.payment_id == payment.payment_id, reference


async def test_what_a_donor_confirms_with_and_what_the_provider_sent_stand_in_no_trace(till: Till) -> None:
    created = await till.create(order())
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)
    secret = created.client_secret.partition("_secret_")[2]
    assert secret not in str(await trace(till, paid.payment_id))


async def test_an_operators_words_and_what_was_done_by_hand_are_told(till: Till) -> None:
    # Whatever is heard of the payment decides anew whether somebody has to look.
    await till.sandbox.webhook_fault("withhold", times=None)
    created = await till.create(order())
    payment_id = created.payment.payment_id
    request = AskProviderRequest(request_id=fresh_key(), payment_id=payment_id, reason="a donor asks")
    await till.operations.AskProvider(request, **in_call("the-call-of-the-operator"))
    async with reading(till.schemas, "payment") as connection:
        await connection.execute("SET audit.reason = 'ticket 7'")
        for changed in ("manual_reason = 'odd'", "client_secret = 'x', actor = 'ann'"):
            await connection.execute(f"UPDATE payment SET {changed} WHERE id = $1", UUID(payment_id))
    answer = await trace(till, "the-call-of-the-operator")

    assert answer.payment.payment_id == payment_id
    (asked,) = told(answer, "AskProvider was asked for")
    assert (asked["actor"], asked["reason"]) == ("development", "a donor asks")
    first, by_hand = told(answer, "changed by hand: payment")
    assert first["changes"] == "manual_reason nothing → odd"
    assert by_hand["changes"] == "actor payment → ann, client_secret (not shown)"
    assert (by_hand["database_role"], by_hand["reason"], by_hand["actor"]) == ("postgres", "ticket 7", "ann")
    assert answer.why.endswith("an operator has to look: odd.")


@pytest.mark.requirement("HKI-6")
async def test_an_event_about_an_unknown_intent_is_told_and_who_gave_it_up(till: Till) -> None:
    intent_id, event_id = f"pi_{secrets.token_hex(8)}", f"evt_{secrets.token_hex(8)}"
    shown = intent_shown(P(provider_id=intent_id, amount={"minor_units": 2500, "currency": "USD"}))
    body = event_about(shown, event_id)
    assert await post(till, body, signed(body, till.sandbox.webhook_secrets[0])) == 200
    for reference in (event_id, intent_id):
        answer = await trace(till, reference)
        assert not answer.HasField("payment")
        assert [step.details["event_id"] for step in answer.steps] == [event_id]
        assert f"{event_id} is parked: what it is about is not known yet" in answer.why
        assert answer.HasField("next_time")

    await passes(till)
    skipped = SkipProviderEventRequest(request_id=fresh_key(), event_id=event_id, reason="of another shop")
    await till.operations.SkipProviderEvent(skipped)
    answer = await trace(till, event_id)
    assert told(answer, "was given up by an operator")[0]["operator_reason"] == "of another shop"
    assert answer.next == "Nothing: it has ended."


@pytest.mark.requirement("PAY-8")
async def test_what_waits_while_calls_are_paused_says_so(till: Till) -> None:
    created = await till.create(order())
    await confirm(till.sandbox, created.client_secret)
    paid = await till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)

    async def decide(state: Any) -> None:
        await till.operations.SetBreaker(SetBreakerRequest(request_id=fresh_key(), state=state, reason="a test"))

    await decide(Breaker.STATE_OPEN)
    try:
        await till.payments.RefundPayment(refunding(paid, 1000))
        answer = await trace(till, paid.payment_id)
    finally:
        await decide(Breaker.STATE_CLOSED)
    assert "a refund of 10.00 USD is being made; " in answer.why
    assert "calls to the provider are paused" in answer.why


async def test_an_unknown_reference_and_none_at_all_are_refused(till: Till) -> None:
    for reference in (order().donation_id, f"pi_{secrets.token_hex(8)}", "a" * 32):
        refusal = await refused(trace(till, reference), whole=True)
        assert (refusal.reason_name, refusal.metadata) == ("PAYMENT_NOT_FOUND", {"payment_id": reference})
    assert await refused(trace(till, "")) == "INVALID_ARGUMENT"
    assert await refused(trace(till, "x" * 256)) == "INVALID_ARGUMENT"
    charity = Identity(roles=[ROLE_CHARITY], subject="c", charity_id=order().charity_id)
    metadata = ((IDENTITY_KEY, charity.SerializeToString()),)
    call = till.operations.TracePayment(TracePaymentRequest(reference="pi_of_nobody"), metadata=metadata)
    assert await refused(call) == "PERMISSION_DENIED"


@pytest.mark.requirement("REC-3")
async def test_what_moved_on_the_providers_balance_is_told_and_what_does_not_agree_is_a_part_of_why(
    settling: Settling,
) -> None:
    payment = await settling.paid(10_000)
    await settling.walk()
    answer = await trace(settling.till, payment.payment_id)
    (moved,) = told(answer, "the provider's balance shows it: charge")
    assert (moved["amount"], moved["fee"], moved["item_class"]) == ("100.00 USD", "3.20 USD", "matched")
    assert told(answer, "posted to the ledger: settled")[0]["amount"] == "100.00 USD"
    movement_id = moved["balance_transaction_id"]
    assert (await trace(settling.till, movement_id)).payment.payment_id == payment.payment_id

    async with reading(settling.till.schemas, "payment") as connection:
        mark = "UPDATE balance_transaction SET class = $2 WHERE id = $1"
        await connection.execute(mark, movement_id, "amount_mismatch")
        answer = await trace(settling.till, payment.payment_id)
        await connection.execute(mark, movement_id, "matched")
    assert f"the provider's balance shows otherwise: {movement_id} is amount_mismatch (100.00 USD)" in answer.why


class Counted(dict[str, str]):
    """Statements, of which each use is counted."""

    uses = 0

    def __getitem__(self, name: str) -> str:
        self.uses += 1
        return super().__getitem__(name)


def histories(database: Database) -> tuple[HistoryStore, Counted]:
    queries = Counted(load_queries("payment_svc"))
    return HistoryStore(database, PaymentStore(database, queries), queries), queries


async def test_the_postings_of_what_a_checkout_charged_are_told_without_a_payment(
    database: Database, handler: RecordedDonations
) -> None:
    given = Giver()
    gift = given.succeeded(1000)
    await handler.apply([gift, given.succeeded(500)])
    await handler.apply([given.refunded(300, of=1000, donation_id=gift.subject)])
    store, _ = histories(database)
    history = await store.read(gift.subject)
    assert history is not None
    assert history.payment is None
    steps = timeline(history, now=datetime.datetime.now(datetime.UTC))
    assert [(step.what, step.details["amount"]) for step in steps] == [
        ("posted to the ledger: recorded", "10.00 USD"),
        ("posted to the ledger: recorded_reversal", "-3.00 USD"),
    ]


MANY = """
INSERT INTO provider_event (event_id, type, intent_id, state, body, signature, provider_time, create_time, update_time)
SELECT $1 || '_' || n, 'charge.updated', $1, 1, '', 'x', t, t, t
FROM generate_series(1, $2) AS n, LATERAL (SELECT $3::timestamptz + n * interval '1 second' AS t) AS moment
"""
CALLS = """
INSERT INTO command (charity_id, request_key, request_digest, method, subject, reason, actor, correlation_id, create_time)
SELECT '00000000-0000-0000-0000-000000000000', gen_random_uuid(), 1, 'AskProvider', $1, 'a look', 'ann', 'c', now()
FROM generate_series(1, $2)
"""


async def statements_for(till: Till, reference: str) -> int:
    async with open_database(till.schemas.dsn("payment"), schema="payment", pool_max=1, application="test") as database:
        store, queries = histories(database)
        assert await store.read(reference)
    return queries.uses


@pytest.mark.requirement("SEC-6")
async def test_however_long_a_life_is_it_takes_as_many_statements_and_the_answer_says_what_is_missing(till: Till) -> None:
    payment = (await till.create(order())).payment
    statements = await statements_for(till, payment.payment_id)
    async with reading(till.schemas, "payment") as connection:
        later = till.clock.now() + datetime.timedelta(days=1)
        await connection.execute(MANY, payment.provider_id, LISTED_MAX + 1, later)
        await connection.execute(CALLS, payment.payment_id, LISTED_MAX + 1)
    assert await statements_for(till, payment.payment_id) == statements
    answer = await trace(till, payment.payment_id)
    assert len(told(answer, "the event charge.updated")) == LISTED_MAX
    assert f"{payment.provider_id}_1" not in {details["event_id"] for details in told(answer, "charge.updated")}
    missing = [step.what for step in answer.steps[-2:]]
    assert missing == [f"only the newest {LISTED_MAX} {name} are shown" for name in ("provider's events", "commands")]


LOOKUPS = {
    "traced_payment": ("pi_1", UUID(int=1)),
    "traced_origin": (UUID(int=1),),
    "traced_events": ("pi_1", "evt_1", 10),
    "traced_stray": ("evt_1",),
    "traced_commands": (["pi_1"], 10),
    "traced_changes": (UUID(int=1), 10),
    "traced_postings": (UUID(int=1), 10),
    "traced_movements": (UUID(int=1), 10),
    "traced_recorded": (UUID(int=1), 10),
}


@pytest.mark.parametrize("name", LOOKUPS)
async def test_no_table_is_read_through_to_find_what_belongs_to_a_payment(schemas: Any, name: str) -> None:
    async with reading(schemas, "payment", role="service") as connection:
        assert await read_through(connection, load_queries("payment_svc")[name], *LOOKUPS[name]) == []
