"""A payment service that keeps its books in memory: the semantics of the contract, behind the real guarded server.

A test may make it slow, deaf or forgetful; what it promises (one payment per donation, tombstones, versions that grow, one
refund per key, never more back than was taken) holds all the same.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import grpc
from giving.common.v1 import error_pb2
from giving.common.v1.event_pb2 import Event, EventWindow
from giving.common.v1.money_pb2 import Money
from giving.payment.v1 import payment_service_pb2 as messages
from giving.payment.v1 import payment_service_pb2_grpc
from giving.payment.v1.event_pb2 import PaymentChanged, PaymentTally
from giving.payment.v1.payment_pb2 import Attempt, Payment
from nats.js import JetStreamContext
from uuid_utils.compat import uuid7

from mesh.errors import DependencyUnavailable, IdempotencyKeyReused, Refusal
from mesh.events.stream import subject
from mesh.ids import new_id
from mesh.rpc.call import current_call, mark_replayed
from mesh.rpc.server import RunningServer, serve
from tests.support.pretend import settings

_EPOCH_DAY = datetime.date(1970, 1, 1)
READY = Payment.STATE_REQUIRES_ACTION


class PaymentAbandoned(Refusal):
    reason = error_pb2.ERROR_REASON_PAYMENT_ABANDONED


class PaymentStateConflict(Refusal):
    reason = error_pb2.ERROR_REASON_PAYMENT_STATE_CONFLICT


class RefundExceedsRemaining(Refusal):
    reason = error_pb2.ERROR_REASON_REFUND_EXCEEDS_REMAINING


class ProviderRefused(Refusal):
    reason = error_pb2.ERROR_REASON_PROVIDER_REFUSED


class ProviderUnavailable(Refusal):
    reason = error_pb2.ERROR_REASON_PROVIDER_UNAVAILABLE


class FakePayments(payment_service_pb2_grpc.PaymentServiceServicer):
    """CreatePayment, AbandonPayment and RefundPayment in memory."""

    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self.provider_intents: Counter[str] = Counter()
        self.calls: list[Any] = []
        self.identities: list[Any] = []
        # Request id → what was asked for, and the refund that it made.
        self.refunds: dict[str, tuple[messages.RefundPaymentRequest, Attempt]] = {}
        # What a test sets.
        self.away = False
        self.paused = False
        self.provider_slow = False
        self.answer_lost = False
        self.refund_refused = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def CreatePayment(  # noqa: N802 - the contract's
        self, request: messages.CreatePaymentRequest, context: Any
    ) -> messages.CreatePaymentResponse:
        await self._arrive(request)
        if self.paused and request.donation_id not in self.payments:
            raise ProviderUnavailable("the provider does not answer", retry_after_s=4)
        payment = self._payment(request)
        if payment.state == Payment.STATE_CANCELED:
            raise PaymentAbandoned("called off", donation_id=request.donation_id)
        if payment.amount != request.amount:
            raise IdempotencyKeyReused("another content")
        if not payment.provider_id and not self.provider_slow:
            self.provider_intents[request.donation_id] += 1
            self.move(request.donation_id, READY, provider_id=f"pi_{request.donation_id}")
        if self.answer_lost:
            raise DependencyUnavailable("the answer is lost", dependency="payment")
        secret = f"{payment.provider_id}_secret" if payment.provider_id else ""
        return messages.CreatePaymentResponse(payment=payment, client_secret=secret)

    async def AbandonPayment(  # noqa: N802 - the contract's
        self, request: messages.AbandonPaymentRequest, context: Any
    ) -> messages.AbandonPaymentResponse:
        await self._arrive(request)
        payment = self._payment(request)
        if payment.captured.minor_units:
            raise PaymentStateConflict("it succeeded", payment_id=payment.payment_id, state="SUCCEEDED")
        if payment.state != Payment.STATE_CANCELED:
            self.move(request.donation_id, Payment.STATE_CANCELED)
        return messages.AbandonPaymentResponse(payment=payment)

    async def RefundPayment(  # noqa: N802 - the contract's
        self, request: messages.RefundPaymentRequest, context: Any
    ) -> messages.RefundPaymentResponse:
        await self._arrive(request)
        payment = next(each for each in self.payments.values() if each.payment_id == request.payment_id)
        asked, refund = self.refunds.get(request.request_id, (request, None))
        if asked != request:
            raise IdempotencyKeyReused("another content")
        mark_replayed(replayed=refund is not None)
        refund = refund or self._refunded(payment, request)
        if self.answer_lost:
            raise DependencyUnavailable("the answer is lost", dependency="payment")
        return messages.RefundPaymentResponse(payment=payment, refund=refund)

    def _refunded(self, payment: Payment, request: messages.RefundPaymentRequest) -> Attempt:
        if not payment.captured.minor_units:
            state = Payment.State.Name(payment.state).removeprefix("STATE_")
            raise PaymentStateConflict("nothing was taken", payment_id=payment.payment_id, state=state)
        left = remaining(payment)
        amount = request.amount.minor_units if request.HasField("amount") else left
        if amount > left or not left:
            raise RefundExceedsRemaining("too much", payment_id=payment.payment_id, remaining_minor_units=left)
        if self.refund_refused:
            raise ProviderRefused("no", payment_id=payment.payment_id, provider_code=self.refund_refused)
        back = Money(minor_units=amount, currency=payment.amount.currency)
        refund = Attempt(kind=Attempt.KIND_REFUND, amount=back, reason=request.reason)
        self.refunds[request.request_id] = (request, refund)
        if self.provider_slow:
            payment.refunding.CopyFrom(back)
        else:
            self.refund(payment.donation_id, amount)
        return refund

    async def _arrive(self, request: Any) -> None:
        self.calls.append(request)
        call = current_call()
        assert call is not None
        self.identities.append(call.identity)
        await self.gate.wait()
        if self.away:
            raise DependencyUnavailable("not now", dependency="payment")

    def _payment(self, request: Any) -> Payment:
        return self.payments.setdefault(
            request.donation_id,
            Payment(
                payment_id=str(new_id(tenant_id=UUID(request.charity_id))),
                charity_id=request.charity_id,
                donation_id=request.donation_id,
                state=Payment.STATE_CREATED,
                amount=request.amount,
                manual_capture=getattr(request, "manual_capture", False),
                version=1,
            ),
        )

    def move(self, donation_id: str, state: Any, **more: Any) -> Payment:
        """The payment's next version."""
        payment = self.payments[donation_id]
        payment.version += 1
        payment.state = state
        for name, value in more.items():
            setattr(payment, name, value)
        over = payment.captured.minor_units or state in (Payment.STATE_SUCCEEDED, Payment.STATE_CANCELED)
        payment.closed = bool(over) or (state == Payment.STATE_FAILED and not payment.provider_id)
        return payment

    def decline(self, donation_id: str, code: str = "card_declined") -> Event:
        return event_of(self.move(donation_id, Payment.STATE_FAILED, failure_code=code))

    def authorize(self, donation_id: str) -> Event:
        return event_of(self.move(donation_id, Payment.STATE_AUTHORIZED))

    def succeed(self, donation_id: str, minor_units: int | None = None) -> Event:
        """The money was taken: all of it, or what was captured by hand."""
        payment = self.move(donation_id, Payment.STATE_SUCCEEDED, failure_code="")
        payment.captured.CopyFrom(payment.amount)
        if minor_units is not None:
            payment.captured.minor_units = minor_units
        return event_of(payment)

    def refund(self, donation_id: str, minor_units: int) -> Event:
        """The provider shows that money went back; below zero: that the donor's bank could not take it."""
        return self._returned(donation_id, refunded=minor_units)

    def dispute(self, donation_id: str, minor_units: int) -> Event:
        """The donor's bank holds so much more; below zero: it gave back."""
        return self._returned(donation_id, disputed=minor_units)

    def lose(self, donation_id: str) -> Event:
        """The bank keeps what it holds."""
        return event_of(self.move(donation_id, Payment.STATE_DISPUTE_LOST))

    def _returned(self, donation_id: str, *, refunded: int = 0, disputed: int = 0) -> Event:
        payment = self.payments[donation_id]
        currency = payment.amount.currency
        payment.refunded.CopyFrom(Money(minor_units=payment.refunded.minor_units + refunded, currency=currency))
        payment.disputed.CopyFrom(Money(minor_units=payment.disputed.minor_units + disputed, currency=currency))
        return event_of(self.move(donation_id, state_of_money(payment)))

    def calls_about(self, donation_id: str) -> list[str]:
        """Names of the requests about a donation, in their order."""
        payment = self.payments.get(donation_id)
        known = {donation_id, payment.payment_id} if payment else {donation_id}
        return [type(call).__name__ for call in self.calls if id_of(call) in known]


def id_of(request: Any) -> str:
    """What a request is about."""
    return request.payment_id if isinstance(request, messages.RefundPaymentRequest) else request.donation_id


def remaining(payment: Payment) -> int:
    """What could still go back."""
    gone = payment.refunded.minor_units + payment.refunding.minor_units + payment.disputed.minor_units
    return payment.captured.minor_units - gone


def state_of_money(payment: Payment) -> Any:
    """Where a payment stands that was taken, while no dispute is lost."""
    if payment.disputed.minor_units:
        return Payment.STATE_DISPUTED
    if not payment.refunded.minor_units:
        return Payment.STATE_SUCCEEDED
    whole = payment.refunded.minor_units == payment.captured.minor_units
    return Payment.STATE_REFUNDED if whole else Payment.STATE_PARTIALLY_REFUNDED


def event_of(payment: Payment, **more: Any) -> Event:
    """What the payment service says of a payment as it stands."""
    fields: dict[str, Any] = {
        "payment_id": payment.payment_id,
        "donation_id": payment.donation_id,
        "charity_id": payment.charity_id,
        "currency": payment.amount.currency,
        "state": payment.state,
        "before": PaymentTally(),
        "after": PaymentTally(
            captured=payment.captured.minor_units,
            refunded=payment.refunded.minor_units,
            disputed=payment.disputed.minor_units,
        ),
        "provider_code": payment.failure_code,
        "closed": payment.closed,
    }
    data = PaymentChanged(**fields | more)
    event = Event(
        id=uuid7().bytes,
        type=data.DESCRIPTOR.full_name,
        source="giving/payment",
        subject=payment.payment_id,
        version=payment.version,
        correlation_id="from-the-webhook",
        data=data.SerializeToString(),
        tx=1_000,
        epoch=1,
        day=(datetime.datetime.now(datetime.UTC).date() - _EPOCH_DAY).days,
    )
    event.time.GetCurrentTime()
    return event


async def publish(js: JetStreamContext, events: Sequence[Event]) -> None:
    """Puts events on the payment service's stream, as its relay would."""
    await js.publish(subject("payment", 0), EventWindow(events=events).SerializeToString())


@asynccontextmanager
async def serving(payments: FakePayments) -> AsyncIterator[RunningServer]:
    """The payment service on a port of its own."""

    def register(server: grpc.aio.Server) -> None:
        payment_service_pb2_grpc.add_PaymentServiceServicer_to_server(payments, server)

    async with serve(settings(), modules=(messages,), register=register, probes={}) as server:
        yield server
