"""TraceDonation beside a payment service that does what a test says: what finds a donation, what is told, what is not."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from giving.common.v1.policy_pb2 import ROLE_CHARITY
from giving.donation.v1.donation_operations_service_pb2 import TraceDonationRequest, TraceDonationResponse
from giving.donation.v1.donation_pb2 import Donation

from donation_svc.domain.trace import LISTED_MAX, OTHERS_MAX
from donation_svc.store.history import HistoryStore
from mesh.ids import new_id
from mesh.postgres import load_queries, open_database
from mesh.rpc.call import CORRELATION_KEY
from tests.donation.conftest import Desk, donor, guest, promise, speaking_as
from tests.donation.test_refunding import refund
from tests.support.books import reading
from tests.support.giving import Cause, gift, open_cause, reversal
from tests.support.mesh import fresh_key
from tests.support.plans import read_through
from tests.support.refusals import refusal_of

pytestmark = pytest.mark.requirement("OPS-3")


def in_call(name: str) -> dict[str, Any]:
    return {"metadata": ((CORRELATION_KEY, name),)}


async def trace(desk: Desk, reference: str, **more: Any) -> TraceDonationResponse:
    return await desk.operations.TraceDonation(TraceDonationRequest(reference=reference), **more)


def told(answer: TraceDonationResponse, words: str) -> list[dict[str, str]]:
    """The details of the steps that say so."""
    return [dict(step.details) for step in answer.steps if words in step.what]


async def paid(desk: Desk, appeal: Cause, **more: Any) -> str:
    """A donation of 100 that arrived."""
    donation_id = (await desk.give(promise(appeal.campaign_id, 100), **more)).donation.donation_id
    await desk.tell(desk.payments.succeed(donation_id))
    await desk.until_state(donation_id, Donation.STATE_SUCCEEDED)
    return donation_id


async def test_a_promise_is_told_with_its_payment_by_any_id_of_either(desk: Desk, appeal: Cause) -> None:
    call = fresh_key("call")
    donation_id = await paid(desk, appeal, **in_call(call))
    payment_id = (await desk.get(donation_id)).payment_id
    answer = await trace(desk, donation_id)

    assert [(step.service, step.what) for step in answer.steps if step.service == "donation"] == [
        ("donation", "promised, before its payment was asked for"),
        ("donation", "the donation became AWAITING_PAYMENT"),
        ("donation", "the donation became SUCCEEDED"),
        ("donation", "it began to count"),
    ]
    assert [step.what for step in answer.steps if step.service == "payment"] == ["recorded by the payment service"]
    (promised,) = told(answer, "promised")
    assert (promised["actor"], promised["correlation_id"], promised["amount"]) == ("development", call, "1.00 USD")
    (became,) = told(answer, "became SUCCEEDED")
    assert (became["actor"], became["correlation_id"]) == ("payment", "from-the-webhook")
    assert (became["gross"], became["gross_minor_units"]) == ("1.00 USD", "100")
    assert answer.donation == await desk.get(donation_id)
    assert (answer.why, answer.next) == ("It counts for 1.00 USD: the payment says STATE_SUCCEEDED.", "Nothing comes.")
    for reference in (call, payment_id, f"pi_{donation_id}"):
        assert (await trace(desk, reference)).donation.donation_id == donation_id, reference


async def test_what_a_checkout_recorded_is_found_by_its_reference_and_by_each_call(desk: Desk, appeal: Cause) -> None:
    request, recording, taking_back = gift(appeal.campaign_id, 100), fresh_key("call"), fresh_key("call")
    donation_id = (await desk.donations.RecordDonation(request, **in_call(recording))).donation.donation_id
    back = reversal(appeal.charity_id, request.payment_ref, 30)
    await desk.donations.ReverseRecordedDonation(back, **in_call(taking_back))

    for reference in (request.payment_ref, recording, taking_back):
        answer = await trace(desk, reference)
        assert answer.donation.donation_id == donation_id, reference
    (recorded,) = told(answer, "a checkout had charged it")
    assert (recorded["payment_ref"], recorded["correlation_id"]) == (request.payment_ref, recording)
    (reversed_,) = told(answer, "the checkout took it back")
    assert (reversed_["refund_ref"], reversed_["amount"], reversed_["correlation_id"]) == (
        back.refund_ref,
        "0.30 USD",
        taking_back,
    )
    assert answer.why == (
        "A checkout charged it, and it counts for 0.70 USD; 0.30 USD was taken back; it is not posted to the ledger yet."
    )


async def test_a_wish_that_changed_nothing_is_found_by_its_call_too(desk: Desk, appeal: Cause) -> None:
    donation_id, call = await paid(desk, appeal), fresh_key("call")
    desk.payments.refund_refused = "charge_disputed"
    try:
        await refusal_of(desk.donations.RefundDonation(refund(donation_id, 10, reason="by mail"), **in_call(call)))
    finally:
        desk.payments.refund_refused = ""
    answer = await trace(desk, call)
    assert answer.donation.donation_id == donation_id
    (asked,) = told(answer, "RefundDonation was asked for")
    assert (asked["actor"], asked["reason"], asked["correlation_id"]) == ("development", "by mail", call)


async def test_of_several_donations_the_newest_is_told_and_the_others_are_named(desk: Desk, appeal: Cause) -> None:
    reference, causes = fresh_key("order"), [appeal, await open_cause(desk), await open_cause(desk)]
    ids = [
        (await desk.donations.RecordDonation(gift(cause.campaign_id, payment_ref=reference))).donation.donation_id
        for cause in causes
    ]
    newest, *others = sorted(ids, reverse=True)
    answer = await trace(desk, reference)
    assert answer.donation.donation_id == newest
    assert answer.steps[-1].what == "the reference names 2 other donations too; this is the newest"
    assert sorted(answer.steps[-1].details.values(), reverse=True) == others
    # An id names one donation only, whatever else it may be.
    assert "other donations" not in (await trace(desk, others[0])).steps[-1].what


async def test_of_a_call_that_made_many_donations_some_are_named(desk: Desk, appeal: Cause) -> None:
    call = fresh_key("call")
    for _ in range(OTHERS_MAX + 3):
        await desk.donations.RecordDonation(gift(appeal.campaign_id), **in_call(call))
    last = (await trace(desk, call)).steps[-1]
    assert last.what == f"the reference names at least {OTHERS_MAX} other donations too; this is the newest"
    assert len(last.details) == OTHERS_MAX


@pytest.mark.parametrize("hangs", [True, False])
async def test_where_the_payment_service_does_not_answer_the_donations_part_is_told(
    desk: Desk, appeal: Cause, hangs: bool
) -> None:
    donation_id = await paid(desk, appeal)
    if hangs:
        desk.payments.gate.clear()
    else:
        desk.payments.away = True
    answer = await trace(desk, donation_id, timeout=1 if hangs else 5)

    assert told(answer, "became SUCCEEDED")
    last = answer.steps[-1]
    reason = "DEADLINE_EXCEEDED" if hangs else "DEPENDENCY_UNAVAILABLE"
    assert (last.service, last.what) == ("payment", f"the payment service tells nothing: {reason}")
    why = "It counts for 1.00 USD: its money arrived; the payment service does not answer, so that no more is known."
    assert answer.why == why
    # Whether it is unknown can only be said when it answers.
    refusal = await refusal_of(trace(desk, "pi_of_nobody", timeout=1 if hangs else 5))
    assert refusal.reason_name == reason


async def test_a_promise_without_a_payment_says_so(desk: Desk, appeal: Cause) -> None:
    desk.payments.away = True
    donation_id = (await desk.give(promise(appeal.campaign_id))).donation.donation_id
    desk.payments.away = False
    answer = await trace(desk, donation_id)
    assert answer.why.startswith("It counts only when its payment succeeds: ")
    assert answer.why.endswith("; the payment service has no payment of it yet.")
    assert answer.HasField("next_time")


async def test_a_payment_whose_donation_is_not_recorded_is_told_without_one(desk: Desk, appeal: Cause) -> None:
    donation_id = await paid(desk, appeal)
    orphan = desk.payments.payments[donation_id]
    stranger = type(orphan)()
    stranger.CopyFrom(orphan)
    stranger.donation_id = str(new_id(tenant_id=UUID(appeal.charity_id)))
    stranger.provider_id = f"pi_{stranger.donation_id}"
    desk.payments.payments[stranger.donation_id] = stranger
    answer = await trace(desk, stranger.provider_id)
    assert not answer.HasField("donation")
    assert [step.service for step in answer.steps] == ["payment"]
    assert answer.why.startswith("The donation that it was for is not recorded here, and an operator has to look: ")


async def test_what_no_service_knows_is_refused(desk: Desk, appeal: Cause) -> None:
    for reference in (str(UUID(int=5)), "pi_of_nobody", "order-of-nobody"):
        refusal = await refusal_of(trace(desk, reference))
        assert (refusal.reason_name, refusal.metadata) == ("DONATION_NOT_FOUND", {"donation_id": reference})
    for reference in ("", "x" * 256):
        assert (await refusal_of(trace(desk, reference))).reason_name == "INVALID_ARGUMENT"


@pytest.mark.requirement("SEC-1")
async def test_only_operators_see_a_trace(desk: Desk, appeal: Cause) -> None:
    donation_id = await paid(desk, appeal)
    charity = guest(roles=[ROLE_CHARITY], subject="a-charity", charity_id=appeal.charity_id)
    for identity in (charity, donor(str(UUID(int=7)))):
        refusal = await refusal_of(trace(desk, donation_id, **speaking_as(identity)))
        assert refusal.reason_name == "PERMISSION_DENIED"


@pytest.mark.requirement("INT-6", "LED-5")
async def test_nothing_personal_ever_stands_in_a_trace_and_what_was_done_by_hand_does(desk: Desk, appeal: Cause) -> None:
    words = {"donor_name": "Ann Example", "donor_email": "ann@example.org", "message": "in memory of Bob"}
    request = promise(appeal.campaign_id, **words)
    request.metadata["note"] = "for Ann"
    donation_id = (await desk.give(request, **speaking_as(donor(str(UUID(int=9)))))).donation.donation_id
    async with reading(desk.schemas, "donation") as connection:
        await connection.execute("SET audit.reason = 'ticket 7'")
        changed = 'UPDATE donation SET anonymous = true, metadata = \'{"note": "of Ann"}\' WHERE id = $1'
        await connection.execute(changed, UUID(donation_id))
        await connection.execute("DELETE FROM personal WHERE donation_id = $1", UUID(donation_id))
    answer = await trace(desk, donation_id)

    assert not any(text in str(answer) for text in ("Ann", "ann@", "Bob"))
    (by_hand,) = told(answer, "changed by hand: donation")
    assert by_hand["changes"] == "anonymous False → True, metadata (not shown)"
    assert (by_hand["database_role"], by_hand["reason"]) == ("postgres", "ticket 7")
    (deleted,) = told(answer, "deleted by hand: personal")
    assert "sealed (not shown)" in deleted["changes"]


CALLS = """
INSERT INTO command (charity_id, request_key, request_digest, method, subject_id, reason, actor, correlation_id, create_time)
SELECT charity_id, gen_random_uuid(), 1, 'RefundDonation', id, '', 'ann', 'a call', now()
FROM donation, generate_series(1, $2) WHERE id = $1
"""


class Counted(dict[str, str]):
    """Statements, of which each use is counted."""

    uses = 0

    def __getitem__(self, name: str) -> str:
        self.uses += 1
        return super().__getitem__(name)


async def statements_for(desk: Desk, donation_id: str) -> int:
    queries = Counted(load_queries("donation_svc"))
    dsn = desk.schemas.dsn("donation")
    async with open_database(dsn, schema="donation", pool_max=1, application="test") as database:
        assert await HistoryStore(database, queries).read(UUID(donation_id))
    return queries.uses


@pytest.mark.requirement("SEC-6")
async def test_however_long_a_life_is_it_takes_as_many_statements_and_the_answer_says_what_is_missing(
    desk: Desk, appeal: Cause
) -> None:
    donation_id = await paid(desk, appeal)
    statements = await statements_for(desk, donation_id)
    async with reading(desk.schemas, "donation") as connection:
        await connection.execute(CALLS, UUID(donation_id), LISTED_MAX + 1)
    assert await statements_for(desk, donation_id) == statements
    answer = await trace(desk, donation_id)
    assert len(told(answer, "RefundDonation was asked for")) == LISTED_MAX
    assert told(answer, f"only the newest {LISTED_MAX} commands are shown")


LOOKUPS: dict[str, tuple[Any, ...]] = {
    "traced_donations": ("order-1", UUID(int=1), 12),
    "traced_origin": (UUID(int=1),),
    "traced_commands": (UUID(int=1), 10),
    "traced_reversals": (UUID(int=1), 10),
    "traced_changes": (UUID(int=1), 10),
}


@pytest.mark.parametrize("name", LOOKUPS)
async def test_no_table_is_read_through_to_find_what_belongs_to_a_donation(desk: Desk, name: str) -> None:
    async with reading(desk.schemas, "donation", role="service") as connection:
        assert await read_through(connection, load_queries("donation_svc")[name], *LOOKUPS[name]) == []
