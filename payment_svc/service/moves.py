"""What a caller may do with a payment that the provider has: take what is held, call it off, give money back.

A wish is recorded first, and counts from then on; the reconciler carries it out, whether or not its caller waits.
"""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

from giving.payment.v1 import payment_service_pb2 as messages

from mesh import crashpoints
from mesh.errors import InvalidArgument
from mesh.fence import Fence, make_fence
from mesh.postgres import Connection
from payment_svc import convert
from payment_svc.domain import meanings
from payment_svc.domain.facts import CaptureAsked, Fact, RefundAsked, Unwanted
from payment_svc.domain.payments import LEGAL, Attempt, Command, Outcome, Payment
from payment_svc.refusals import PaymentNotFound, PaymentStateConflict, ProviderRefused, RefundExceedsRemaining
from payment_svc.service.changes import Desk
from payment_svc.service.waiting import Waits
from payment_svc.store import commands
from payment_svc.store.commands import CommandStore
from payment_svc.store.payments import ReturnsExceeded

Request: TypeAlias = messages.CapturePaymentRequest | messages.CancelPaymentRequest | messages.RefundPaymentRequest


class Moves:
    """Moves of payments that somebody asks for."""

    def __init__(self, desk: Desk, *, fences: CommandStore, waits: Waits) -> None:
        self._desk = desk
        self._fences = fences
        self._waits = waits

    async def capture_payment(self, request: messages.CapturePaymentRequest) -> tuple[Payment, Attempt, bool]:
        """The payment after what is held was taken, the call, and whether an earlier one had asked for it.

        Raises:
            PaymentNotFound: there is none.
            PaymentStateConflict: nothing is held.
            InvalidArgument: more is to be taken than is held, or in another currency.
            ProviderRefused: nothing was taken.
            IdempotencyKeyReused: the key was used for another wish.
        """
        return await self._wished(request, Command.CAPTURE)

    async def refund_payment(self, request: messages.RefundPaymentRequest) -> tuple[Payment, Attempt, bool]:
        """The payment after money went back, the refund, and whether an earlier call had asked for it.

        Raises:
            PaymentNotFound: there is none.
            PaymentStateConflict: it took no money.
            RefundExceedsRemaining: less is left.
            InvalidArgument: another currency.
            ProviderRefused: nothing went back.
            IdempotencyKeyReused: the key was used for another wish.
        """
        return await self._wished(request, Command.REFUND)

    async def cancel_payment(self, request: messages.CancelPaymentRequest) -> tuple[Payment, bool]:
        """The payment, called off as soon as the provider confirms it, and whether it was before this call.

        Raises:
            PaymentNotFound: there is none.
            PaymentStateConflict: it has taken money, or is being taken.
            IdempotencyKeyReused: the key was used for another wish.
        """
        payment, replayed = await self._recorded(request, Command.CANCEL)
        after = await self._waits.asked(payment) if not payment.closed else payment
        # A success that raced has won.
        _demand_legal(after, Command.CANCEL)
        return after, replayed

    async def _wished(self, request: Request, command: Command) -> tuple[Payment, Attempt, bool]:
        payment, replayed = await self._recorded(request, command)
        key = _fence(request, command).key
        if self._may_be_made(payment, _call_of(payment, key)):
            payment = await self._waits.asked(payment)
        call = _call_of(payment, key)
        if call.outcome is Outcome.REFUSED and not call.object_id:
            raise ProviderRefused(
                f"the provider refused it: {meanings.of_call(call.code)}", payment_id=payment.id, provider_code=call.code
            )
        return payment, call, replayed

    def _may_be_made(self, payment: Payment, call: Attempt) -> bool:
        """Whether there is something to ask for; what was refused keeps to its times, however often its caller repeats."""
        now = self._desk.clock.now()
        due = payment.next_attempt_time is None or payment.is_due(now=now)
        return call.open and (due or not call.refusals)

    async def _recorded(self, request: Request, command: Command) -> tuple[Payment, bool]:
        known = await self._desk.payments.get(UUID(request.payment_id))
        if known is None:
            raise PaymentNotFound("no such payment", payment_id=request.payment_id)
        # What is not proven is found out first: the wish may not be possible any more, or not yet.
        await self._waits.proven(known)
        fence = _fence(request, command)
        recorded = await self._desk.database.run(lambda connection: self._record(connection, request, command, fence))
        crashpoints.reach("payment.wished")
        return recorded

    async def _record(
        self, connection: Connection, request: Request, command: Command, fence: Fence
    ) -> tuple[Payment, bool]:
        payment = await self._desk.payments.lock(connection, UUID(request.payment_id))
        if payment is None:
            raise AssertionError("payments are never deleted")
        now = self._desk.clock.now()
        asked = commands.Command(command.name, request.payment_id, _reason(request), charity_id=payment.charity_id)
        if not await self._fences.is_new(connection, asked, fence, now=now):
            return payment, True
        _demand_legal(payment, command)
        try:
            after = await self._desk.changes.apply(
                connection,
                payment,
                [_fact(request, payment, fence.key)],
                actor=fence.caller,
                correlation_id=fence.correlation_id,
                ask_at=now,
            )
        except ReturnsExceeded as error:
            raise RefundExceedsRemaining(
                "less than that is left", payment_id=payment.id, remaining_minor_units=payment.refundable
            ) from error
        return after, False


def _fence(request: Request, command: Command) -> Fence:
    return make_fence(request, method=command.name, key_field="request_id", tenant_id="")


def _reason(request: Request) -> str:
    return "" if isinstance(request, messages.CapturePaymentRequest) else request.reason


def _fact(request: Request, payment: Payment, key: UUID) -> Fact:
    if isinstance(request, messages.CancelPaymentRequest):
        return Unwanted()
    if isinstance(request, messages.CapturePaymentRequest):
        amount = _amount(request, payment, default=payment.amount.minor_units)
        if amount > payment.amount.minor_units:
            raise InvalidArgument.of("amount", "is more than is held")
        return CaptureAsked(key, amount)
    amount = _amount(request, payment, default=payment.refundable)
    # The constraint decides where two ask at once; what is plainly too much is no error of the database's.
    if amount == 0 or amount > payment.refundable:
        left = payment.refundable
        words = "less than that is left" if left else "nothing is left"
        raise RefundExceedsRemaining(words, payment_id=payment.id, remaining_minor_units=left)
    return RefundAsked(key, amount, request.reason)


def _amount(
    request: messages.CapturePaymentRequest | messages.RefundPaymentRequest, payment: Payment, *, default: int
) -> int:
    if not request.HasField("amount"):
        return default
    amount = convert.money_from(request.amount)
    if amount.currency != payment.amount.currency:
        raise InvalidArgument.of("amount.currency", f"must be the payment's, {payment.amount.currency}")
    if amount.minor_units < 1:
        raise InvalidArgument.of("amount.minor_units", "must be at least 1")
    return amount.minor_units


def _demand_legal(payment: Payment, command: Command) -> None:
    called_off = command is Command.CAPTURE and payment.unwanted
    if not LEGAL[payment.state, command] or payment.being_taken or called_off:
        raise PaymentStateConflict("not in this state", payment_id=payment.id, state=payment.state.name)


def _call_of(payment: Payment, key: UUID) -> Attempt:
    """The call that a wish became."""
    return next(call for call in payment.attempts if call.request_key == key)
