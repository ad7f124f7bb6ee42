"""Ways to corrupt the books, each with the invariants that must say so, and of what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.event_pb2 import DonationChange, DonationCreated, DonationTally
from giving.payment.v1.event_pb2 import PaymentChanged, PaymentTally
from giving.payment.v1.payment_pb2 import Payment

from mesh.ids import new_id
from tests.support.checking import Forgery

# Corrupts, and returns the key that has to be named.
Act: TypeAlias = Callable[[Forgery], Awaitable[object]]
PAID = "SELECT id FROM payment.payment WHERE captured > 0 AND refunded = 0 AND disputed = 0 ORDER BY id LIMIT 1"
PROMISE = "SELECT id FROM donation.donation WHERE origin = 1 AND gross > 0 AND disputed = 0 ORDER BY id LIMIT 1"
RECORDED = "SELECT id FROM donation.donation WHERE origin = 2 AND refunded = 0 ORDER BY id LIMIT 1"


@dataclass(frozen=True)
class Corruption:
    """`numbers`: exactly these invariants do not hold afterwards."""

    numbers: frozenset[str]
    act: Act

    @property
    def name(self) -> str:
        return f"{'+'.join(sorted(self.numbers))}-{self.act.__name__}"


CORRUPTIONS: list[Corruption] = []


def breaks(*numbers: str) -> Callable[[Act], Act]:
    def listed(act: Act) -> Act:
        CORRUPTIONS.append(Corruption(frozenset(numbers), act))
        return act

    return listed


@breaks("P1")
async def commits_of_the_database_need_not_be_durable(forgery: Forgery) -> object:
    await forgery.do(f"ALTER DATABASE {await forgery.find('SELECT current_database()')} SET synchronous_commit = off")
    return "payment: synchronous_commit of every role"


@breaks("P1")
async def commits_of_a_service_need_not_be_durable(forgery: Forgery) -> object:
    database = await forgery.find("SELECT current_database()")
    await forgery.do(f"ALTER ROLE payment_service IN DATABASE {database} SET synchronous_commit = local")
    return "payment: synchronous_commit of payment_service"


@breaks("P2")
async def a_donation_is_altered(forgery: Forgery) -> object:
    return await forgery.find(f"UPDATE donation.donation SET caller = 'eve' WHERE id = ({PROMISE}) RETURNING id")


@breaks("P2")
async def a_donation_is_there_twice(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE donation.donation DROP CONSTRAINT donation_request_key")
    row = await forgery.admin.fetchrow("SELECT charity_id, campaign_id, request_key FROM donation.donation WHERE origin = 1")
    twin = new_id(tenant_id=row["charity_id"])
    columns = "charity_id, campaign_id, origin, currency, amount, anonymous, request_key, request_digest, caller"
    await forgery.admin.execute(
        f"INSERT INTO donation.donation (id, state, gross, refunded, disputed, version, actor, correlation_id, create_time, "
        f"update_time, {columns}) SELECT $1, 5, 0, 0, 0, 1, '', '', now(), now(), {columns} FROM donation.donation "
        "WHERE request_key = $2",
        twin,
        row["request_key"],
    )
    change = DonationChange(
        donation_id=str(twin),
        charity_id=str(row["charity_id"]),
        campaign_id=str(row["campaign_id"]),
        origin=Donation.ORIGIN_INTENT,
        currency="USD",
        before=DonationTally(),
        after=DonationTally(),
        state=Donation.STATE_PENDING,
    )
    await forgery.announce("donation", DonationCreated(change=change), twin)
    return "donation_request_key"


@breaks("P2", "P3", "P17")
async def a_donation_is_removed(forgery: Forgery) -> object:
    left = await forgery.find("SELECT id FROM donation.donation WHERE state = 2 ORDER BY id LIMIT 1")
    await forgery.do(
        f"DELETE FROM donation.personal WHERE donation_id = '{left}'", f"DELETE FROM donation.donation WHERE id = '{left}'"
    )
    return left


async def _payment(forgery: Forgery, donation_id: UUID) -> UUID:
    """A payment that was called off before it began, with its event."""
    charity_id, campaign_id = await forgery.admin.fetchrow("SELECT charity_id, campaign_id FROM payment.payment LIMIT 1")
    payment_id = new_id(tenant_id=charity_id)
    await forgery.admin.execute(
        "INSERT INTO payment.payment (id, charity_id, campaign_id, donation_id, request_digest, state, currency, amount, "
        "manual_capture, canceled, version, actor, correlation_id, create_time, update_time) "
        "VALUES ($1, $2, $3, $4, 0, 7, 'USD', 100, false, true, 1, '', '', now(), now())",
        payment_id,
        charity_id,
        campaign_id,
        donation_id,
    )
    changed = PaymentChanged(
        payment_id=str(payment_id),
        donation_id=str(donation_id),
        charity_id=str(charity_id),
        currency="USD",
        state=Payment.STATE_CANCELED,
        before=PaymentTally(),
        after=PaymentTally(),
    )
    await forgery.announce("payment", changed, payment_id)
    return payment_id


@breaks("P3")
async def a_payment_is_for_no_donation(forgery: Forgery) -> object:
    charity_id = await forgery.find("SELECT charity_id FROM payment.payment LIMIT 1")
    donation_id = new_id(tenant_id=charity_id)
    await _payment(forgery, donation_id)
    return donation_id


@breaks("P3")
async def a_payment_is_for_what_a_checkout_has_charged(forgery: Forgery) -> object:
    donation_id = await forgery.find(RECORDED)
    await _payment(forgery, donation_id)
    return donation_id


@breaks("P4")
async def a_key_may_lose_its_digest(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE donation.command ALTER request_digest DROP NOT NULL")
    return "command request_digest"


@breaks("P4")
async def a_key_may_be_two_commands(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.command DROP CONSTRAINT command_pkey")
    return "command_pkey"


@breaks("P4")
async def a_decision_about_a_letter_has_lost_its_digest(forgery: Forgery) -> object:
    key = UUID(int=3)
    await forgery.do(
        "INSERT INTO payment.dead_letter (consumer, event_id, event, state, reason, attempts, request_key) "
        f"VALUES ('payment-ledger', '{key}', '', 4, '', 1, '{key}')"
    )
    return f"dead letter {key}"


@breaks("P4")
async def a_reversal_has_a_key_of_something_else(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE donation.reversal DROP CONSTRAINT reversal_fence")
    key = await forgery.find("SELECT request_key FROM donation.reversal LIMIT 1")
    await forgery.unseen("donation.reversal", f"UPDATE donation.reversal SET refund_ref = 'x' WHERE request_key = '{key}'")
    charity_id = await forgery.find("SELECT charity_id FROM donation.reversal WHERE request_key = $1", key)
    return f"reversal {charity_id} {key}"


@breaks("P4")
async def a_service_may_forget_keys(forgery: Forgery) -> object:
    await forgery.do("GRANT DELETE ON payment.command TO payment_service")
    return "command DELETE"


@breaks("P5")
async def two_charges_of_a_payment_may_succeed(forgery: Forgery) -> object:
    await forgery.do("DROP INDEX payment.attempt_one_success")
    return "attempt_one_success"


@breaks("P5")
async def a_charge_is_of_two_payments(forgery: Forgery) -> object:
    charge = await forgery.find(
        f"SELECT object_id FROM payment.attempt WHERE kind = 2 AND payment_id <> ({PAID}) ORDER BY id LIMIT 1"
    )
    await forgery.do(
        "INSERT INTO payment.attempt (id, charity_id, payment_id, kind, outcome, object_id, create_time) "
        f"SELECT id, charity_id, id, 2, 3, '{charge}', now() FROM payment.payment WHERE id = ({PAID})"
    )
    return charge


@breaks("P5")
async def an_intent_is_of_two_payments(forgery: Forgery) -> object:
    intent = await forgery.find(f"SELECT provider_id FROM payment.payment WHERE id = ({PAID})")
    await forgery.do(
        "ALTER TABLE payment.payment DROP CONSTRAINT payment_provider_key",
        "DELETE FROM payment.provider_event",
        f"UPDATE payment.payment SET provider_id = '{intent}' WHERE captured = 0",
    )
    return intent


@breaks("P3", "P5")
async def two_payments_are_for_one_donation(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.payment DROP CONSTRAINT payment_donation_key")
    charity_id = await forgery.find("SELECT charity_id FROM payment.payment LIMIT 1")
    donation_id = new_id(tenant_id=charity_id)
    for _ in range(2):
        await _payment(forgery, donation_id)
    return donation_id


@breaks("P5")
async def a_donation_may_have_two_payments(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.payment DROP CONSTRAINT payment_donation_key")
    return "payment_donation_key"


@breaks("P6")
async def a_payments_state_is_set_by_hand(forgery: Forgery) -> object:
    return await forgery.find("UPDATE payment.payment SET state = 5 WHERE state = 9 RETURNING id")


@breaks("P6")
async def a_refund_failed_and_still_counts(forgery: Forgery) -> object:
    return await forgery.find("UPDATE payment.attempt SET outcome = 3 WHERE kind = 5 AND amount = 800 RETURNING payment_id")


@breaks("P6")
async def a_dispute_was_given_back_and_still_counts(forgery: Forgery) -> object:
    return await forgery.find("UPDATE payment.dispute SET reinstatements = 1 WHERE state = 3 RETURNING payment_id")


@breaks("P6")
async def a_donations_state_is_set_by_hand(forgery: Forgery) -> object:
    return await forgery.find(f"UPDATE donation.donation SET state = 7 WHERE id = ({RECORDED}) RETURNING id")


@breaks("P7")
async def a_webhook_was_taken_and_left_no_trace(forgery: Forgery) -> object:
    event_id = await forgery.find(
        "SELECT event_id FROM payment.provider_event WHERE type = 'payment_intent.succeeded' LIMIT 1"
    )
    await forgery.do(f"UPDATE payment.provider_event SET intent_id = 'pi_of_nobody' WHERE event_id = '{event_id}'")
    return event_id


@breaks("P7")
async def a_webhook_waits_and_nobody_looks_at_it(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.provider_event DROP CONSTRAINT provider_event_parked_is_due")
    return await forgery.find(
        "UPDATE payment.provider_event SET state = 2 WHERE type = 'charge.succeeded' RETURNING event_id"
    )


@breaks("P8")
async def an_entry_was_changed(forgery: Forgery) -> object:
    return await forgery.find(
        "UPDATE payment.entry SET amount = amount + 1 WHERE account = 'external_clearing' AND currency = 'EUR' "
        "RETURNING posting_id"
    )


@breaks("P8")
async def postings_are_not_weighed_any_more(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.posting DISABLE TRIGGER posting_balanced")
    return "posting_balanced"


@breaks("P8")
async def a_service_may_change_entries(forgery: Forgery) -> object:
    await forgery.do("GRANT UPDATE (amount) ON payment.entry TO payment_service")
    return "entry UPDATE"


@breaks("P8")
async def a_service_may_write_past_the_triggers(forgery: Forgery) -> object:
    partition = await forgery.find("SELECT max(tableoid::regclass::text) FROM payment.entry")
    await forgery.do(f"GRANT INSERT ON {partition} TO payment_service")
    return f"{partition.removeprefix('payment.')} INSERT"


@breaks("P9")
async def the_ledger_took_more_than_the_payment(forgery: Forgery) -> object:
    payment_id = await forgery.find(PAID)
    await forgery.past_triggers(f"""
        WITH forged AS (
          INSERT INTO payment.posting (id, charity_id, campaign_id, kind, payment_id, source)
          SELECT id, charity_id, campaign_id, 'captured', id, '' FROM payment.payment WHERE id = '{payment_id}'
          RETURNING id, campaign_id
        )
        INSERT INTO payment.entry (posting_id, line, account, campaign_id, currency, amount)
        SELECT id, 1, 'provider_clearing', campaign_id, 'USD', 7 FROM forged
        UNION ALL SELECT id, 2, 'campaign_payable', campaign_id, 'USD', -7 FROM forged""")
    return payment_id


@breaks("P9")
async def a_batch_posting_is_not_its_events(forgery: Forgery) -> object:
    posting = await forgery.find(
        "SELECT posting_id FROM payment.entry WHERE account = 'external_clearing' AND currency = 'EUR'"
    )
    await forgery.do(f"UPDATE payment.entry SET amount = amount * 2 WHERE posting_id = '{posting}'")
    return posting


@breaks("P9")
async def a_donation_has_heard_what_its_payment_never_said(forgery: Forgery) -> object:
    return await forgery.find(f"UPDATE donation.donation SET payment_version = 99 WHERE id = ({PROMISE}) RETURNING id")


@breaks("P9")
async def what_moved_at_the_provider_was_never_posted(forgery: Forgery) -> object:
    await forgery.do(
        "INSERT INTO payment.balance_transaction (id, category, source_id, charge_id, intent_id, payout_id, currency, "
        "amount, fee, net, provider_time, origin, class, posted, create_time, update_time) "
        "VALUES ('txn_forged', 'charge', 'ch_1', 'ch_1', 'pi_1', '', 'USD', 100, 33, 67, now(), 'api', 'unknown_source', "
        "true, now(), now())"
    )
    return "txn_forged"


@breaks("P9")
async def the_ledger_says_that_more_went_back_than_was_taken(forgery: Forgery) -> object:
    payment_id = await forgery.find(PAID)
    await forgery.past_triggers(f"""
        WITH forged AS (
          INSERT INTO payment.posting (id, charity_id, campaign_id, kind, payment_id, reverses, source)
          SELECT id, charity_id, campaign_id, 'excess_taken', id, id, '' FROM payment.payment WHERE id = '{payment_id}'
          RETURNING id, campaign_id
        )
        INSERT INTO payment.entry (posting_id, line, account, campaign_id, currency, amount)
        SELECT id, 1, 'adjustments', campaign_id, 'USD', 7 FROM forged
        UNION ALL SELECT id, 2, 'provider_clearing', campaign_id, 'USD', -7 FROM forged""")
    return payment_id


@breaks("P9")
async def a_posting_settles_what_never_moved(forgery: Forgery) -> object:
    forged = UUID(int=2**40)
    await forgery.past_triggers(f"""
        WITH forged AS (
          INSERT INTO payment.posting (id, charity_id, kind, settlement_id, source)
          VALUES ('{forged}', '{UUID(int=0)}', 'provider_fee', 'txn_of_nobody', '') RETURNING id
        )
        INSERT INTO payment.entry (posting_id, line, account, currency, amount)
        SELECT id, 1, 'fees', 'USD', 7 FROM forged UNION ALL SELECT id, 2, 'provider_balance', 'USD', -7 FROM forged""")
    return "txn_of_nobody"


@breaks("P11")
async def a_dispute_is_of_two_payments(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.dispute DROP CONSTRAINT dispute_pkey")
    dispute = await forgery.find("SELECT provider_id FROM payment.dispute LIMIT 1")
    await forgery.do(
        "INSERT INTO payment.dispute (provider_id, charity_id, payment_id, state, amount, withdrawals, reinstatements, "
        f"reason, actor, correlation_id, create_time, update_time) SELECT '{dispute}', charity_id, id, 1, 1, 0, 0, '', '', "
        f"'', now(), now() FROM payment.payment WHERE id = ({PAID})"
    )
    return dispute


@breaks("P10")
async def nobody_bounds_what_goes_back(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.payment DROP CONSTRAINT payment_returns_bounded")
    return "payment_returns_bounded"


@breaks("P6", "P10")
async def more_goes_back_than_was_taken(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.payment DROP CONSTRAINT payment_returns_bounded")
    return await forgery.find(f"UPDATE payment.payment SET refunding = captured + 1 WHERE id = ({PAID}) RETURNING id")


@breaks("P10", "P17")
async def less_than_nothing_is_with_a_bank(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE donation.donation DROP CONSTRAINT donation_returns_bounded")
    return await forgery.find(f"UPDATE donation.donation SET disputed = -1 WHERE id = ({RECORDED}) RETURNING id")


@breaks("P11")
async def a_refund_is_of_two_payments(forgery: Forgery) -> object:
    refund = await forgery.find("SELECT object_id FROM payment.attempt WHERE kind = 5 LIMIT 1")
    await forgery.do(
        "INSERT INTO payment.attempt (id, charity_id, payment_id, kind, outcome, object_id, amount, create_time) "
        f"SELECT id, charity_id, id, 5, 3, '{refund}', 1, now() FROM payment.payment WHERE id = ({PAID})"
    )
    return refund


@breaks("P11")
async def a_recorded_gift_went_down_by_more_than_its_reversals(forgery: Forgery) -> object:
    donation_id = await forgery.find("SELECT donation_id FROM donation.reversal WHERE amount = 30")
    await forgery.unseen(
        "donation.reversal", f"UPDATE donation.reversal SET amount = 29 WHERE donation_id = '{donation_id}'"
    )
    return donation_id


@breaks("P12")
async def a_total_is_too_small(forgery: Forgery) -> object:
    campaign_id = await forgery.find(
        "UPDATE aggregator.totals SET gross = gross - 1 WHERE currency = 'USD' RETURNING campaign_id"
    )
    return f"{campaign_id} USD"


@breaks("P12")
async def a_course_tells_something_else_than_its_total(forgery: Forgery) -> object:
    campaign_id = await forgery.find(
        "UPDATE aggregator.course SET gross = gross + 1 WHERE currency = 'EUR' RETURNING campaign_id"
    )
    return f"{campaign_id} EUR"


@breaks("P12")
async def a_donor_is_counted_twice(forgery: Forgery) -> object:
    campaign_id = await forgery.find("UPDATE aggregator.totals SET donors = 2 WHERE currency = 'USD' RETURNING campaign_id")
    return f"{campaign_id} USD"


@breaks("P12", "P14")
async def a_total_is_too_large(forgery: Forgery) -> object:
    campaign_id = await forgery.find(
        "UPDATE aggregator.totals SET gross = gross + 1 WHERE currency = 'EUR' RETURNING campaign_id"
    )
    return f"{campaign_id} EUR"


@breaks("P17")
async def a_change_of_a_donation_was_never_told(forgery: Forgery) -> object:
    donation_id = await forgery.find("SELECT id FROM donation.donation WHERE state = 4 LIMIT 1")
    return await _forget_one(forgery, "donation", donation_id)


@breaks("P17")
async def a_change_of_a_payment_was_never_told(forgery: Forgery) -> object:
    return await _forget_one(forgery, "payment", await forgery.find(PAID))


async def _forget_one(forgery: Forgery, schema: str, object_id: UUID) -> object:
    """Removes the newest event about something."""
    about = "position(convert_to($1::text, 'UTF8') IN payload) > 0"
    await forgery.admin.execute(
        f"DELETE FROM {schema}.event WHERE id = (SELECT id FROM {schema}.event WHERE {about} ORDER BY seq DESC LIMIT 1)",
        str(object_id),
    )
    return object_id


@breaks("P17")
async def the_totals_took_an_event_that_nobody_wrote(forgery: Forgery) -> object:
    return await forgery.find(
        "UPDATE aggregator.applied SET event_id = gen_random_uuid() WHERE currency = 'EUR' RETURNING event_id"
    )


@breaks("P17")
async def the_ledger_took_an_event_that_nobody_wrote(forgery: Forgery) -> object:
    return await forgery.find("UPDATE payment.applied SET event_id = gen_random_uuid() WHERE delta = 700 RETURNING event_id")


@breaks("P17")
async def the_aggregator_knows_a_campaign_better_than_its_owner(forgery: Forgery) -> object:
    return await forgery.find("UPDATE aggregator.campaign SET campaign_version = 99 RETURNING id")


@breaks("P17")
async def a_service_may_change_its_log(forgery: Forgery) -> object:
    await forgery.do("GRANT UPDATE ON donation.event TO donation_service")
    return "event UPDATE"


@breaks("P22")
async def a_donation_is_for_a_campaign_of_nobody(forgery: Forgery) -> object:
    left = await forgery.find("SELECT id FROM donation.donation WHERE state = 2")
    await forgery.unseen("donation.donation", f"UPDATE donation.donation SET campaign_id = id WHERE id = '{left}'")
    await forgery.do(f"UPDATE payment.payment SET campaign_id = donation_id WHERE donation_id = '{left}'")
    return left


@breaks("P22")
async def a_payment_is_for_another_campaign(forgery: Forgery) -> object:
    return await forgery.find(f"UPDATE payment.payment SET campaign_id = id WHERE id = ({PAID}) RETURNING donation_id")


@breaks("P22")
async def an_entry_is_of_another_campaign(forgery: Forgery) -> object:
    return await forgery.find(
        "UPDATE payment.entry SET campaign_id = posting_id WHERE account = 'campaign_payable' AND currency = 'EUR' "
        "RETURNING posting_id"
    )


@breaks("P22")
async def an_attempt_is_of_another_charity(forgery: Forgery) -> object:
    attempt = await forgery.find("SELECT id FROM payment.attempt WHERE kind = 2 LIMIT 1")
    await forgery.past_triggers("ALTER TABLE payment.attempt DROP CONSTRAINT attempt_payment")
    await forgery.unseen("payment.attempt", f"UPDATE payment.attempt SET charity_id = payment_id WHERE id = '{attempt}'")
    return attempt


@breaks("P25")
async def an_entry_of_the_trail_is_gone(forgery: Forgery) -> object:
    payment_id = await forgery.find(PAID)
    about = f"reference_id = '{payment_id}' AND object = 'payment' AND after ? 'captured'"
    await forgery.do(
        "ALTER TABLE payment.audit DISABLE TRIGGER audit_append_only",
        f"DELETE FROM payment.audit WHERE {about}",
        "ALTER TABLE payment.audit ENABLE ALWAYS TRIGGER audit_append_only",
    )
    return payment_id


@breaks("P25")
async def what_a_campaign_takes_was_removed(forgery: Forgery) -> object:
    await forgery.do("DELETE FROM donation.campaign_currency WHERE currency = 'EUR'")
    return "/EUR"


@breaks("P25")
async def a_change_left_no_entry(forgery: Forgery) -> object:
    donation_id = await forgery.find(PROMISE)
    await forgery.unseen("donation.donation", f"UPDATE donation.donation SET state = state WHERE id = '{donation_id}'")
    await forgery.do(
        "ALTER TABLE donation.audit DISABLE TRIGGER USER",
        f"UPDATE donation.audit SET after = jsonb_set(after, '{{gross}}', '1') WHERE reference_id = '{donation_id}' "
        "AND after ? 'gross'",
        "ALTER TABLE donation.audit ENABLE ALWAYS TRIGGER audit_append_only",
        "ALTER TABLE donation.audit ENABLE ALWAYS TRIGGER audit_written_by_triggers",
    )
    return donation_id


@breaks("P25")
async def nobody_writes_the_trail_any_more(forgery: Forgery) -> object:
    await forgery.do("ALTER TABLE payment.payment DISABLE TRIGGER audit_update")
    return "payment audit_update"
