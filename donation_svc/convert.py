"""Translation between the contract's messages and the domain's values. No rules."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from giving.common.v1.event_pb2 import Event
from giving.common.v1.money_pb2 import Money as MoneyMessage
from giving.donation.v1 import campaign_pb2, charity_pb2, donation_pb2, donation_service_pb2, event_pb2
from giving.donation.v1.donation_operations_service_pb2 import (
    ListChangesResponse,
    ListStuckResponse,
    StreamTalliesResponse,
    TraceDonationResponse,
)
from giving.donation.v1.donation_operations_service_pb2 import LogPosition as LogPositionMessage
from giving.donation.v1.donation_service_pb2 import RefundDonationRequest
from giving.payment.v1 import payment_pb2
from giving.payment.v1.event_pb2 import PaymentChanged
from giving.payment.v1.payment_operations_service_pb2 import TracePaymentResponse
from giving.payment.v1.payment_service_pb2 import AbandonPaymentRequest, CreatePaymentRequest, RefundPaymentRequest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from donation_svc.domain.causes import Campaign, Charity, CurrencyRule, Offer
from donation_svc.domain.donations import Disputed, Donation, DonationState, Reversal, Reversed, Tally
from donation_svc.domain.explanation import Explanation, PaymentPart
from donation_svc.domain.fees import fee_rate
from donation_svc.domain.payments import Ended, Fact, Held, PaymentState, PaymentWord, Readied, Settled, Step
from donation_svc.domain.tallies import DonationTally, LogPosition, Return, TallySnapshot
from donation_svc.domain.trace import Step as TracedStep
from donation_svc.domain.trace import Trace
from mesh.events.stream import LogRow
from mesh.money import Money

# What happened → how it is announced, where it says no more than what changed.
_STEPS: Mapping[type[Fact], Any] = {
    Readied: event_pb2.DonationAwaitingPayment,
    Ended: event_pb2.DonationExpired,
    Settled: event_pb2.DonationSucceeded,
    Reversed: event_pb2.DonationRefunded,
    Disputed: event_pb2.DonationDisputeChanged,
}
# Events that move totals.
_MOVING = frozenset(
    message.DESCRIPTOR.full_name
    for message in (event_pb2.DonationSucceeded, event_pb2.DonationRefunded, event_pb2.DonationDisputeChanged)
)
_EPOCH_DAY = datetime.date(1970, 1, 1)
RequestT = TypeVar("RequestT", CreatePaymentRequest, AbandonPaymentRequest)


def timestamp(time: datetime.datetime | None) -> Timestamp | None:
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def time_from(message: Timestamp) -> datetime.datetime:
    return message.ToDatetime(tzinfo=datetime.UTC)


def money_message(amount: Money) -> MoneyMessage:
    return MoneyMessage(minor_units=amount.minor_units, currency=amount.currency)


def money_from(message: MoneyMessage) -> Money:
    return Money(message.minor_units, message.currency)


def optional_id(text: str) -> UUID | None:
    return UUID(text) if text else None


def _id_text(some_id: UUID | None) -> str:
    return str(some_id) if some_id else ""


def charity_message(charity: Charity) -> charity_pb2.Charity:
    return charity_pb2.Charity(
        charity_id=str(charity.id),
        display_name=charity.display_name,
        state=charity_pb2.Charity.State.ValueType(charity.state),
        mode=charity_pb2.Charity.Mode.ValueType(charity.mode),
        default_currency=charity.default_currency,
        time_zone=charity.time_zone,
        provider_account=charity.provider_account,
        version=charity.version,
        create_time=timestamp(charity.create_time),
        update_time=timestamp(charity.update_time),
    )


def rule_from(message: campaign_pb2.CurrencyRule) -> CurrencyRule:
    return CurrencyRule(
        currency=message.currency,
        minor_units_min=message.minor_units_min,
        minor_units_max=message.minor_units_max,
        presets=tuple(sorted(message.preset_minor_units)),
        goal=message.goal_minor_units if message.HasField("goal_minor_units") else None,
    )


def _rule_message(rule: CurrencyRule) -> campaign_pb2.CurrencyRule:
    return campaign_pb2.CurrencyRule(
        currency=rule.currency,
        minor_units_min=rule.minor_units_min,
        minor_units_max=rule.minor_units_max,
        preset_minor_units=rule.presets,
        goal_minor_units=rule.goal,
    )


def campaign_message(campaign: Campaign) -> campaign_pb2.Campaign:
    return campaign_pb2.Campaign(
        campaign_id=str(campaign.id),
        charity_id=str(campaign.charity_id),
        display_name=campaign.display_name,
        charity_display_name=campaign.charity_display_name,
        description=campaign.description,
        state=campaign_pb2.Campaign.State.ValueType(campaign.state),
        currency_rules=[_rule_message(campaign.rules[currency]) for currency in sorted(campaign.rules)],
        start_time=timestamp(campaign.start_time),
        end_time=timestamp(campaign.end_time),
        version=campaign.version,
        create_time=timestamp(campaign.create_time),
        update_time=timestamp(campaign.update_time),
        accepts_deferred=campaign.accepts_deferred,
    )


def donation_message(donation: Donation) -> donation_pb2.Donation:
    currency = donation.amount.currency
    return donation_pb2.Donation(
        donation_id=str(donation.id),
        charity_id=str(donation.charity_id),
        campaign_id=str(donation.campaign_id),
        donor_id=_id_text(donation.donor_id),
        origin=donation_pb2.Donation.Origin.ValueType(donation.origin),
        state=donation_pb2.Donation.State.ValueType(donation.state),
        amount=money_message(donation.amount),
        gross=MoneyMessage(minor_units=donation.tally.gross, currency=currency),
        refunded=MoneyMessage(minor_units=donation.tally.refunded, currency=currency),
        disputed=MoneyMessage(minor_units=donation.tally.disputed, currency=currency),
        payment_id=_id_text(donation.payment_id),
        payment_ref=donation.payment_ref or "",
        possible_duplicate_of=_id_text(donation.possible_duplicate_of),
        anonymous=donation.anonymous,
        metadata=donation.metadata,
        version=donation.version,
        create_time=timestamp(donation.create_time),
        update_time=timestamp(donation.update_time),
        settle_time=timestamp(donation.settle_time),
        failure_code=donation.failure_code,
        fee_cover=MoneyMessage(minor_units=donation.fee_cover, currency=currency),
        retryable=donation.retryable,
        manual_capture=donation.manual_capture,
        hold_end_time=timestamp(donation.hold_end_time),
    )


def reversal_message(reversal: Reversal) -> donation_pb2.Reversal:
    return donation_pb2.Reversal(
        reversal_id=str(reversal.id),
        donation_id=str(reversal.donation_id),
        refund_ref=reversal.refund_ref,
        amount=money_message(reversal.amount),
        create_time=timestamp(reversal.create_time),
    )


def _tally_message(tally: Tally) -> event_pb2.DonationTally:
    return event_pb2.DonationTally(
        gross=tally.gross, refunded=tally.refunded, disputed=tally.disputed, donations=tally.donations
    )


def change_message(donation: Donation, *, before: Tally, reversal_id: UUID | None = None) -> event_pb2.DonationChange:
    """What an event says of a donation: cumulative, before and after."""
    return event_pb2.DonationChange(
        donation_id=str(donation.id),
        charity_id=str(donation.charity_id),
        campaign_id=str(donation.campaign_id),
        donor_id=_id_text(donation.donor_id),
        origin=donation_pb2.Donation.Origin.ValueType(donation.origin),
        currency=donation.amount.currency,
        before=_tally_message(before),
        after=_tally_message(donation.tally),
        state=donation_pb2.Donation.State.ValueType(donation.state),
        anonymous=donation.anonymous,
        payment_id=_id_text(donation.payment_id),
        reversal_id=_id_text(reversal_id),
    )


def offer_rules(offer: Offer) -> list[tuple[MoneyMessage, MoneyMessage, list[MoneyMessage]]]:
    """Per currency: minimum, maximum, presets."""
    return [
        (
            MoneyMessage(minor_units=rule.minor_units_min, currency=rule.currency),
            MoneyMessage(minor_units=rule.minor_units_max, currency=rule.currency),
            [MoneyMessage(minor_units=preset, currency=rule.currency) for preset in rule.presets],
        )
        for rule in offer.rules
    ]


def stuck_message(donation: Donation, reason: str) -> ListStuckResponse.Item:
    return ListStuckResponse.Item(
        donation=donation_message(donation), reason=reason, next_attempt_time=timestamp(donation.next_attempt_time)
    )


def fee_rule_message(currency: str) -> donation_service_pb2.FeeRule:
    rate = fee_rate(currency)
    return donation_service_pb2.FeeRule(currency=currency, basis_points=rate.basis_points, fixed_minor_units=rate.fixed)


def step_message(step: Step) -> Message:
    """The event that announces a step of a promise."""
    donation, change = step.donation, change_message(step.donation, before=step.before)
    if donation.state is DonationState.FAILED:
        return event_pb2.DonationFailed(change=change, failure_code=donation.failure_code, retryable=donation.retryable)
    if isinstance(step.fact, Held):
        return event_pb2.DonationAwaitingPayment(change=change, hold_end_time=timestamp(donation.hold_end_time))
    announcement: Message = _STEPS[type(step.fact)](change=change)
    return announcement


def refund_request(donation: Donation, request: RefundDonationRequest, *, key: str) -> RefundPaymentRequest:
    """What the payment service is asked to give back, under a key of ours."""
    amount = request.amount if request.HasField("amount") else None
    return RefundPaymentRequest(
        request_id=key, payment_id=_id_text(donation.payment_id), amount=amount, reason=request.reason
    )


def payment_request(donation: Donation, message: type[RequestT]) -> RequestT:
    """What the payment service is asked about a promise."""
    return message(
        donation_id=str(donation.id),
        charity_id=str(donation.charity_id),
        campaign_id=str(donation.campaign_id),
        amount=money_message(donation.amount),
    )


def word_from_payment(payment: payment_pb2.Payment) -> PaymentWord:
    """What an answer of the payment service says."""
    return PaymentWord(
        donation_id=UUID(payment.donation_id),
        charity_id=UUID(payment.charity_id),
        payment_id=UUID(payment.payment_id),
        version=payment.version,
        state=PaymentState(payment.state),
        currency=payment.amount.currency,
        captured=payment.captured.minor_units,
        refunded=payment.refunded.minor_units,
        disputed=payment.disputed.minor_units,
        failure_code=payment.failure_code,
        closed=payment.closed,
    )


def word_from_event(version: int, changed: PaymentChanged) -> PaymentWord:
    """What an event of the payment service says."""
    return PaymentWord(
        donation_id=UUID(changed.donation_id),
        charity_id=UUID(changed.charity_id),
        payment_id=UUID(changed.payment_id),
        version=version,
        state=PaymentState(changed.state),
        currency=changed.currency,
        captured=changed.after.captured,
        refunded=changed.after.refunded,
        disputed=changed.after.disputed,
        failure_code=changed.provider_code,
        closed=changed.closed,
    )


def payment_steps(answer: TracePaymentResponse) -> list[TracedStep]:
    """The payment service's part of a timeline."""
    return [TracedStep(time_from(step.time), step.what, dict(step.details), service="payment") for step in answer.steps]


def payment_part(answer: TracePaymentResponse) -> PaymentPart:
    """What the payment service says of where a payment stands."""
    word = word_from_payment(answer.payment) if answer.HasField("payment") else None
    next_time = time_from(answer.next_time) if answer.HasField("next_time") else None
    return PaymentPart(word, Explanation(answer.why, answer.next, next_time))


def trace_message(trace: Trace) -> TraceDonationResponse:
    donation = donation_message(trace.donation) if trace.donation else None
    if donation:
        # What callers put there is theirs and may be personal; a trace is shown around.
        donation.metadata.clear()
    return TraceDonationResponse(
        donation=donation,
        steps=map(_step_of_trace, trace.steps),
        why=trace.explanation.why,
        next=trace.explanation.next,
        next_time=timestamp(trace.explanation.next_time),
    )


def _step_of_trace(step: TracedStep) -> TraceDonationResponse.Step:
    return TraceDonationResponse.Step(time=timestamp(step.time), service=step.service, what=step.what, details=step.details)


def tallies_message(portion: TallySnapshot | Sequence[DonationTally] | Sequence[Return]) -> StreamTalliesResponse:
    if isinstance(portion, TallySnapshot):
        return StreamTalliesResponse(snapshot=portion.snapshot, epoch=portion.epoch, estimated_tallies=portion.estimated)
    message = StreamTalliesResponse()
    for item in portion:
        if isinstance(item, Return):
            message.returns.append(_return_message(item))
        else:
            message.tallies.append(_counted_message(item))
    return message


def _counted_message(tally: DonationTally) -> StreamTalliesResponse.Tally:
    return StreamTalliesResponse.Tally(
        donation_id=str(tally.donation_id),
        charity_id=str(tally.charity_id),
        campaign_id=str(tally.campaign_id),
        donor_id=_id_text(tally.donor_id),
        currency=tally.currency,
        tally=event_pb2.DonationTally(gross=tally.gross, refunded=tally.refunded, disputed=tally.disputed, donations=1),
        settle_time=timestamp(tally.settle_time),
    )


def _return_message(change: Return) -> StreamTalliesResponse.Return:
    return StreamTalliesResponse.Return(
        donation_id=str(change.donation_id),
        campaign_id=str(change.campaign_id),
        currency=change.currency,
        refunded=change.refunded,
        disputed=change.disputed,
        time=timestamp(change.time),
    )


def log_position(message: LogPositionMessage) -> LogPosition:
    day = _EPOCH_DAY + datetime.timedelta(days=message.day)
    return LogPosition(message.epoch, message.from_snapshot, message.to_snapshot, message.last_seq, day)


def log_position_message(position: LogPosition) -> LogPositionMessage:
    return LogPositionMessage(
        epoch=position.epoch,
        from_snapshot=position.from_snapshot,
        to_snapshot=position.to_snapshot,
        last_seq=position.last_seq,
        day=(position.day - _EPOCH_DAY).days,
    )


def moving_change(row: LogRow, *, with_event: bool) -> ListChangesResponse.Change | None:
    """A row of the log as it is listed; None where its event moves no total."""
    event = Event.FromString(row.payload)
    if event.type not in _MOVING:
        return None
    change = ListChangesResponse.Change(event_id=row.event_id.bytes, day=row.day)
    if with_event:
        event.tx, event.epoch, event.day = row.tx, row.epoch, row.day
        change.event.CopyFrom(event)
    return change
