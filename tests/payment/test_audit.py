"""The audit trail of payments: a whole life, read back as the database wrote it down."""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc
import pytest
from giving.common.v1.audit_pb2 import AuditEntry
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub
from giving.payment.v1.payment_pb2 import Attempt, Payment
from giving.payment.v1.payment_service_pb2 import CreatePaymentResponse, RefundPaymentRequest

from mesh.postgres import load_queries
from mesh.rpc.call import CORRELATION_KEY
from tests.support.books import reading
from tests.support.mesh import fresh_key
from tests.support.refusals import refusal_of
from tests.support.till import Till, abandoning, confirm, order

CALL = "the-call-of-the-donor"
# Of a secret only that it changed is written down, and nothing where only these others did.
UNSAID = {"client_secret", "next_attempt_time", "leased_until", "update_time", "version"}
ROWS = """
SELECT id::text, to_jsonb(p) AS columns FROM payment p WHERE id = $1
UNION ALL SELECT id::text, to_jsonb(a) FROM attempt a WHERE payment_id = $1
UNION ALL SELECT provider_id, to_jsonb(d) FROM dispute d WHERE payment_id = $1
"""


@dataclass(frozen=True)
class Office:
    """An operator beside a till."""

    till: Till
    operations: Any

    async def page(self, reference_id: str, **more: Any) -> messages.GetAuditTrailResponse:
        return await self.operations.GetAuditTrail(messages.GetAuditTrailRequest(reference_id=reference_id, **more))

    async def trail(self, reference_id: str) -> list[AuditEntry]:
        return list((await self.page(reference_id)).entries)

    async def made(self) -> CreatePaymentResponse:
        """A payment that waits for its donor."""
        return await self.till.create(order(), metadata=((CORRELATION_KEY, CALL),))

    async def called_off(self) -> Payment:
        """A payment that was given up before it began: of it we hear nothing any more, and it has no trail yet."""
        call = ((CORRELATION_KEY, CALL),)
        return (await self.till.payments.AbandonPayment(abandoning(order()), metadata=call)).payment

    async def paid(self) -> Payment:
        """A payment that its donor has confirmed."""
        created = await self.made()
        await confirm(self.till.sandbox, created.client_secret)
        return await self.till.reaches(created.payment.payment_id, Payment.STATE_SUCCEEDED)

    async def by_hand(self, payment: Payment, *statements: str, role: str | None = None) -> None:
        async with reading(self.till.schemas, "payment", role=role) as connection:
            for statement in statements:
                await connection.execute(statement, UUID(payment.payment_id))


@pytest.fixture
async def office(till: Till) -> AsyncIterator[Office]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{till.port}") as channel:
        yield Office(till, PaymentOperationsServiceStub(channel))


def steps(entries: Sequence[AuditEntry], field: str) -> list[tuple[str, str]]:
    """How a column of payments went."""
    changes = [change for entry in entries if entry.object == "payment" for change in entry.changes]
    return [(change.before, change.after) for change in changes if change.field == field]


@pytest.mark.requirement("LED-5")
async def test_the_whole_life_of_a_payment_is_read_back(office: Office) -> None:
    paid = await office.paid()
    entries = await office.trail(paid.payment_id)

    states = steps(entries, "state")
    assert states[0] == (str(Payment.STATE_CREATED), str(Payment.STATE_REQUIRES_ACTION))
    assert [after for _, after in states[:-1]] == [before for before, _ in states[1:]]
    assert states[-1][1] == str(Payment.STATE_SUCCEEDED)
    assert steps(entries, "captured") == [("0", "2500")]
    assert {entry.object_id for entry in entries if entry.object == "payment"} == {paid.payment_id}
    asked = [entry for entry in entries if entry.object == "attempt"]
    assert asked[0].object_id == paid.attempts[0].attempt_id
    # We asked because of the donor's call; what became of it is the provider's word, in calls of its own.
    assert {entry.actor for entry in entries} == {"payment", "stripe"}
    assert {entry.correlation_id for entry in entries if entry.actor == "payment"} == {CALL}
    assert not {entry.correlation_id for entry in entries if entry.actor == "stripe"} & {CALL, ""}
    assert {entry.database_role for entry in entries} == {"payment_service"}
    assert [entry.entry_id for entry in entries] == sorted({entry.entry_id for entry in entries})
    # The same by the donation that it pays for; meanwhile a webhook more may have come.
    assert (await office.trail(paid.donation_id))[: len(entries)] == entries


@pytest.mark.requirement("LED-5")
async def test_a_trail_ends_where_the_rows_stand(office: Office) -> None:
    payment_id = UUID((await office.paid()).payment_id)
    async with (
        reading(office.till.schemas, "payment") as connection,
        connection.transaction(isolation="repeatable_read"),
    ):
        written = "SELECT object_id, after FROM audit WHERE reference_id = $1 ORDER BY id"
        entries = await connection.fetch(written, payment_id)
        standing = {row["id"]: json.loads(row["columns"]) for row in await connection.fetch(ROWS, payment_id)}
    ends: dict[tuple[str, str], Any] = {}
    for entry in entries:
        ends |= {(entry["object_id"], field): value for field, value in json.loads(entry["after"]).items()}
    said = {place: value for place, value in ends.items() if place[1] not in UNSAID}
    assert str(payment_id) in {object_id for object_id, _ in said}
    assert said == {(object_id, field): standing[object_id][field] for object_id, field in said}


@pytest.mark.requirement("LED-5")
async def test_what_the_donor_confirms_with_never_stands_in_the_trail(office: Office) -> None:
    created = await office.made()
    entries = await office.trail(created.payment.payment_id)
    assert steps(entries, "client_secret") == [("", "")]
    async with reading(office.till.schemas, "payment") as connection:
        secret = created.client_secret.partition("_secret_")[2]
        found = "SELECT count(*) FROM audit WHERE position($1 IN audit::text) > 0"
        assert await connection.fetchval(found, created.payment.provider_id) > 0
        assert await connection.fetchval(found, secret) == 0


@pytest.mark.requirement("LED-5")
async def test_whoever_calls_a_payment_off_stands_in_its_trail_with_the_call(office: Office) -> None:
    request = order()
    created = await office.till.create(request)
    call = "the-call-that-gave-up"
    await office.till.payments.AbandonPayment(abandoning(request), metadata=((CORRELATION_KEY, call),))
    ended = await office.till.payment(created.payment.payment_id)
    (calling_off,) = [attempt for attempt in ended.attempts if attempt.kind == Attempt.KIND_CANCEL_INTENT]
    entries = await office.trail(ended.payment_id)
    (unwanted,) = [entry for entry in entries if any(change.field == "unwanted" for change in entry.changes)]
    assert (unwanted.actor, unwanted.correlation_id) == ("development", call)
    assert steps(entries, "canceled") == [("false", "true")]
    # What we asked of the provider we asked because of that call.
    asked = [entry for entry in entries if entry.object_id == calling_off.attempt_id and entry.actor == "payment"]
    assert {entry.correlation_id for entry in asked} == {call}


@pytest.mark.requirement("LED-5", "PAY-5")
async def test_money_that_goes_back_says_who_wished_it_in_which_call_and_why(office: Office) -> None:
    paid = await office.paid()
    refund = RefundPaymentRequest(request_id=fresh_key(), payment_id=paid.payment_id, reason="given twice")
    call = "the-call-that-gave-back"
    refunded = await office.till.payments.RefundPayment(refund, metadata=((CORRELATION_KEY, call),))
    entries = await office.trail(paid.payment_id)

    (wished,) = [entry for entry in entries if ("0", "2500") in steps([entry], "refunding")]
    assert (wished.actor, wished.correlation_id, wished.reason) == ("development", call, "given twice")
    asked = [entry for entry in entries if entry.object_id == refunded.refund.attempt_id and entry.actor == "payment"]
    assert {(entry.correlation_id, entry.reason) for entry in asked} == {(call, "given twice")}
    assert {entry.reason for entry in entries if entry.entry_id < wished.entry_id} == {""}


@pytest.mark.requirement("LED-5", "PAY-6")
async def test_a_dispute_stands_in_the_trail_of_its_payment(office: Office) -> None:
    paid = await office.paid()
    opened = await office.till.sandbox.dispute(payment_intent=paid.provider_id)
    await office.till.sandbox.ask("POST", f"disputes/{opened['id']}/lose")
    await office.till.reaches(paid.payment_id, Payment.STATE_DISPUTE_LOST)
    about = [entry for entry in await office.trail(paid.donation_id) if entry.object == "dispute"]
    assert {(entry.object_id, entry.actor) for entry in about} == {(opened["id"], "stripe")}
    assert all(entry.correlation_id for entry in about)


@pytest.mark.requirement("LED-5", "PAY-11")
async def test_whoever_leaves_a_payment_to_an_operator_stands_in_its_trail_and_whoever_only_plans_does_not(
    office: Office,
) -> None:
    payment = await office.called_off()
    schedule = load_queries("payment_svc")["schedule_payment"]
    ids, later = (UUID(payment.payment_id), UUID(payment.charity_id)), office.till.clock.now() + datetime.timedelta(days=9)
    async with reading(office.till.schemas, "payment", role="service") as connection:
        for due, reason, actor in (
            (later, "", "a planner"),
            (None, "unproven for a day", "payment"),
            (later, "unproven for a day", "a planner"),
        ):
            await connection.execute(schedule, *ids, due, reason, actor, True, later, "", False)
        # The clock of the others is not to reach it.
        await connection.execute(schedule, *ids, None, "unproven for a day", "a planner", True, later, "", False)
    (entry,) = await office.trail(payment.payment_id)
    assert steps([entry], "manual_reason") == [("", "unproven for a day")]
    assert entry.actor == "payment"


@pytest.mark.requirement("LED-5")
@pytest.mark.parametrize(("role", "database_role"), [(None, "postgres"), ("service", "payment_service")])
async def test_a_change_by_hand_is_read_back_too(office: Office, role: str | None, database_role: str) -> None:
    payment = await office.called_off()
    await office.by_hand(payment, "UPDATE payment SET state = 8 WHERE id = $1", role=role)
    (entry,) = await office.trail(payment.payment_id)
    assert [(change.field, change.before, change.after) for change in entry.changes] == [("state", "7", "8")]
    assert (entry.object, entry.object_id, entry.database_role) == ("payment", payment.payment_id, database_role)
    # Of a stranger nobody knows who he is; he is not whoever changed the row last.
    assert (entry.actor, entry.correlation_id) == (("development", CALL) if role else ("", ""))


@pytest.mark.requirement("LED-5")
async def test_a_reason_comes_from_whoever_gave_one(office: Office) -> None:
    payment = await office.called_off()
    command = """INSERT INTO command (charity_id, request_key, request_digest, method, subject, reason, actor,
        correlation_id, create_time)
        SELECT charity_id, gen_random_uuid(), 1, 'SomeCommand', subject, reason, 'operator', 'the call', given
        FROM payment, LATERAL (VALUES (id, 'the donor asked', now()), (charity_id, 'of something else', 'infinity'))
          AS c (subject, reason, given)
        WHERE id = $1"""
    await office.by_hand(
        payment,
        command,
        "UPDATE payment SET state = 8, actor = 'operator', correlation_id = 'the call' WHERE id = $1",
        "UPDATE payment SET state = 3, correlation_id = 'another call' WHERE id = $1",
        "SELECT set_config('audit.reason', 'ticket 7', false) WHERE $1::uuid IS NOT NULL",
        "UPDATE payment SET state = 8, correlation_id = 'the call' WHERE id = $1",
    )
    assert [entry.reason for entry in await office.trail(payment.payment_id)] == ["the donor asked", "", "ticket 7"]


@pytest.mark.requirement("LED-5")
async def test_a_payment_whose_row_is_gone_is_still_answered_for(office: Office) -> None:
    payment = await office.called_off()
    await office.by_hand(payment, "UPDATE payment SET state = 8 WHERE id = $1", "DELETE FROM payment WHERE id = $1")
    for reference_id in (payment.payment_id, payment.donation_id):
        changed, gone = await office.trail(reference_id)
        assert [change.field for change in changed.changes] == ["state"]
        held = {change.field: (change.before, change.after) for change in gone.changes}
        assert (held["donation_id"], held["amount"]) == ((payment.donation_id, ""), ("2500", ""))


@pytest.mark.requirement("LED-5", "SEC-6")
async def test_a_trail_is_read_in_pages(office: Office) -> None:
    payment = await office.called_off()
    await office.by_hand(payment, *("UPDATE payment SET state = 15 - state WHERE id = $1",) * 5)
    whole = await office.trail(payment.donation_id)
    read: list[AuditEntry] = []
    token = ""
    while token or not read:
        page = await office.page(payment.donation_id, page_size=2, page_token=token)
        assert len(page.entries) <= 2
        read, token = [*read, *page.entries], page.next_page_token
    assert read == whole
    assert len(whole) == 5

    first = await office.page(payment.donation_id, page_size=1)
    foreign = office.page(payment.payment_id, page_token=first.next_page_token)
    assert (await refusal_of(foreign)).reason_name == "PAGE_TOKEN_INVALID"


@pytest.mark.requirement("LED-5")
async def test_an_unknown_id_has_no_trail(office: Office) -> None:
    assert await office.trail(order().donation_id) == []
