"""Translation between the contract's messages and the ledger's values. No rules."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

from giving.common.v1.event_pb2 import Event
from giving.common.v1.money_pb2 import Money as MoneyMessage
from giving.donation.v1.event_pb2 import DonationChange as DonationChangeMessage
from giving.payment.v1 import event_pb2, payment_operations_service_pb2, payment_pb2
from giving.payment.v1 import ledger_service_pb2 as messages
from giving.payment.v1.payment_operations_service_pb2 import ListOpenPaymentsResponse
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import InvalidArgument
from mesh.events.consumer import day_of
from mesh.money import Money
from payment_svc.domain.breaker import Standing
from payment_svc.domain.inbound import StoredEvent
from payment_svc.domain.ledger import DonationChange, Entry, PostingKind, Verification, Violation
from payment_svc.domain.payments import Attempt, Dispute, Payment
from payment_svc.domain.reconciliation import ACTIONS, Finding, Footing, Report, Tally
from payment_svc.ledger import BIGINT_MAX, BIGINT_MIN


def growth(change: DonationChangeMessage) -> dict[str, int]:
    """By how much each figure of the donation grew, in minor units."""
    return {
        figure: getattr(change.after, figure) - getattr(change.before, figure)
        for figure in ("gross", "refunded", "disputed")
    }


def change_from(event: Event, change: DonationChangeMessage, *, kind: PostingKind, minor_units: int) -> DonationChange:
    return DonationChange(
        event_id=UUID(bytes=event.id),
        day=day_of(event),
        tx=event.tx,
        epoch=event.epoch,
        donation_id=UUID(change.donation_id),
        charity_id=UUID(change.charity_id),
        campaign_id=UUID(change.campaign_id),
        kind=kind,
        amount=Money(minor_units, change.currency),
    )


def time_from(message: Timestamp, *, field: str) -> datetime.datetime:
    """The time in UTC.

    Raises:
        InvalidArgument: no calendar has it.
    """
    try:
        return message.ToDatetime(tzinfo=datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument.of(field, "is no time between the years 1 and 9999") from error


def optional_time(message: Any, field: str) -> datetime.datetime | None:
    """The time in a field of a message; None where it is not set.

    Raises:
        InvalidArgument: no calendar has it.
    """
    return time_from(getattr(message, field), field=field) if message.HasField(field) else None


def optional_id(text: str) -> UUID | None:
    return UUID(text) if text else None


def money_message(amount: Money) -> MoneyMessage:
    return MoneyMessage(minor_units=amount.minor_units, currency=amount.currency)


def verification_message(verification: Verification) -> messages.VerifyLedgerResponse:
    return messages.VerifyLedgerResponse(
        violations=[_violation_message(violation) for violation in verification.violations],
        postings=verification.postings,
        entries=verification.entries,
    )


def _violation_message(violation: Violation) -> messages.VerifyLedgerResponse.Violation:
    return messages.VerifyLedgerResponse.Violation(
        posting_id=str(violation.posting_id), sum=_bounded_message(violation.sum) if violation.sum else None
    )


def _bounded_message(amount: Money) -> MoneyMessage:
    """A forged sum may be larger than the message holds; that it is wrong is what counts."""
    return MoneyMessage(minor_units=min(max(amount.minor_units, BIGINT_MIN), BIGINT_MAX), currency=amount.currency)


def entry_message(entry: Entry) -> messages.Entry:
    create_time = Timestamp()
    create_time.FromDatetime(entry.create_time)
    return messages.Entry(
        posting_id=str(entry.posting_id),
        account=entry.account,
        campaign_id=str(entry.campaign_id) if entry.campaign_id else "",
        amount=money_message(entry.amount),
        create_time=create_time,
        kind=entry.kind,
        reverses_posting_id=str(entry.reverses) if entry.reverses else "",
    )


def money_from(message: MoneyMessage) -> Money:
    return Money(message.minor_units, message.currency)


def _timestamp(time: datetime.datetime | None) -> Timestamp | None:
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def payment_message(payment: Payment) -> payment_pb2.Payment:
    currency = payment.amount.currency
    return payment_pb2.Payment(
        payment_id=str(payment.id),
        charity_id=str(payment.charity_id),
        donation_id=str(payment.donation_id),
        state=payment_pb2.Payment.State.ValueType(payment.state),
        amount=money_message(payment.amount),
        captured=MoneyMessage(minor_units=payment.captured, currency=currency),
        refunded=MoneyMessage(minor_units=payment.refunded, currency=currency),
        disputed=MoneyMessage(minor_units=payment.disputed, currency=currency),
        provider_id=payment.provider_id,
        attempts=[attempt_message(attempt, currency) for attempt in payment.attempts],
        version=payment.version,
        create_time=_timestamp(payment.create_time),
        update_time=_timestamp(payment.update_time),
        next_attempt_time=_timestamp(payment.next_attempt_time),
        failure_code=payment.failure_code,
        manual_capture=payment.manual_capture,
        closed=payment.closed,
        disputes=[_dispute_message(dispute, currency) for dispute in payment.disputes],
        manual_reason=payment.manual_reason,
        refunding=MoneyMessage(minor_units=payment.refunding, currency=currency),
    )


def attempt_message(attempt: Attempt, currency: str) -> payment_pb2.Attempt:
    return payment_pb2.Attempt(
        attempt_id=str(attempt.id),
        outcome=payment_pb2.Attempt.Outcome.ValueType(attempt.outcome),
        provider_code=attempt.code,
        create_time=_timestamp(attempt.create_time),
        end_time=_timestamp(attempt.end_time),
        kind=payment_pb2.Attempt.Kind.ValueType(attempt.kind),
        provider_id=attempt.object_id,
        amount=MoneyMessage(minor_units=attempt.amount, currency=currency) if attempt.amount else None,
        reason=attempt.reason,
    )


def _dispute_message(dispute: Dispute, currency: str) -> payment_pb2.Dispute:
    return payment_pb2.Dispute(
        provider_id=dispute.provider_id,
        state=payment_pb2.Dispute.State.ValueType(dispute.state),
        amount=MoneyMessage(minor_units=dispute.amount, currency=currency),
        held=dispute.held > 0,
        reason=dispute.reason,
        create_time=_timestamp(dispute.create_time),
        update_time=_timestamp(dispute.update_time),
    )


def open_item(payment: Payment, *, reason: str) -> ListOpenPaymentsResponse.Item:
    return ListOpenPaymentsResponse.Item(
        payment=payment_message(payment), reason=reason, next_attempt_time=_timestamp(payment.next_attempt_time)
    )


def payment_changed(payment: Payment, *, before: Payment) -> event_pb2.PaymentChanged:
    """What an event says of a payment: cumulative, before and after."""
    return event_pb2.PaymentChanged(
        payment_id=str(payment.id),
        donation_id=str(payment.donation_id),
        charity_id=str(payment.charity_id),
        currency=payment.amount.currency,
        state=payment_pb2.Payment.State.ValueType(payment.state),
        before=_tally(before),
        after=_tally(payment),
        provider_code=payment.failure_code,
        closed=payment.closed,
    )


def _tally(payment: Payment) -> event_pb2.PaymentTally:
    return event_pb2.PaymentTally(captured=payment.captured, refunded=payment.refunded, disputed=payment.disputed)


def provider_event_message(event: StoredEvent) -> payment_operations_service_pb2.ProviderEvent:
    return payment_operations_service_pb2.ProviderEvent(
        event_id=event.event_id,
        type=event.type,
        state=payment_operations_service_pb2.ProviderEvent.State.ValueType(event.place.state),
        reason=event.place.reason,
        create_time=_timestamp(event.create_time),
        provider_time=_timestamp(event.provider_time),
        attempts=event.attempts,
        next_attempt_time=_timestamp(event.place.next_attempt_time),
        intent_id=event.intent_id,
        polled=event.polled,
        operator_reason=event.operator_reason,
        actor=event.actor,
        update_time=_timestamp(event.update_time),
    )


def breaker_message(standing: Standing) -> payment_operations_service_pb2.Breaker:
    breaker, decision = standing.breaker, standing.decision
    return payment_operations_service_pb2.Breaker(
        state=payment_operations_service_pb2.Breaker.State.ValueType(breaker.state),
        next_probe_time=_timestamp(breaker.next_probe_time),
        held=breaker.held,
        reason=decision.reason if breaker.held else "",
        actor=decision.actor if breaker.held else "",
        failures=standing.failures,
    )


def tally_line(tally: Tally) -> payment_operations_service_pb2.GetReconciliationReportResponse.Line:
    line = payment_operations_service_pb2.GetReconciliationReportResponse.Line(
        count=tally.count, sum=money_message(tally.net)
    )
    setattr(line, "class", tally.item_class)
    return line


def report_message(report: Report) -> payment_operations_service_pb2.GetReconciliationReportResponse:
    return payment_operations_service_pb2.GetReconciliationReportResponse(
        lines=map(tally_line, report.tallies), foots=report.foots, currencies=map(_footing_message, report.footings)
    )


def _footing_message(one: Footing) -> payment_operations_service_pb2.GetReconciliationReportResponse.Currency:
    return payment_operations_service_pb2.GetReconciliationReportResponse.Currency(
        currency=one.currency,
        provider_net=MoneyMessage(minor_units=one.provider_net, currency=one.currency),
        ledger_net=MoneyMessage(minor_units=one.ledger_net, currency=one.currency),
        outstanding=MoneyMessage(minor_units=one.outstanding, currency=one.currency),
    )


def finding_message(
    finding: Finding, *, age: datetime.timedelta
) -> payment_operations_service_pb2.ListReconciliationItemsResponse.Item:
    item = payment_operations_service_pb2.ListReconciliationItemsResponse.Item(
        balance_transaction_id=finding.movement_id,
        source_id=finding.source_id,
        payment_id=finding.payment_id,
        provider_amount=money_message(finding.provider_amount) if finding.provider_amount else None,
        our_amount=money_message(finding.our_amount) if finding.our_amount else None,
        time=_timestamp(finding.time),
        allowed_actions=ACTIONS.get(finding.item_class, ()),
    )
    item.age.FromTimedelta(age)
    setattr(item, "class", finding.item_class)
    return item
