"""Payments: make one ready for a donation, give one up, read."""

from __future__ import annotations

import datetime
from typing import Protocol
from uuid import UUID

from giving.common.v1.identity_pb2 import Identity
from giving.payment.v1 import payment_service_pb2 as messages

from mesh import crashpoints, money, pages
from mesh.errors import DependencyUnavailable, InvalidArgument
from mesh.fence import Fence, make_fence
from mesh.ids import new_id
from mesh.postgres import Connection
from mesh.rpc.tenancy import may_touch
from payment_svc import convert
from payment_svc.domain.asking import Step, next_step
from payment_svc.domain.facts import Unwanted
from payment_svc.domain.payments import LEGAL, AttemptKind, Command, Payment
from payment_svc.refusals import PaymentAbandoned, PaymentNotFound, PaymentStateConflict, ProviderUnavailable
from payment_svc.service.changes import Desk
from payment_svc.service.waiting import Waits
from payment_svc.store.payments import Stamp

# A payment whose asking died with its process is asked about again after this.
_FIRST_LOOK = datetime.timedelta(seconds=10)


class Breaker(Protocol):
    """Whether the provider may be called now."""

    @property
    def closed(self) -> bool:
        """Whether every call goes through."""
        ...

    def enter(self) -> bool:
        """Whether an asking may begin; while calls are paused one at a time, as the probe."""
        ...

    def retry_after_s(self) -> float:
        """When to come again."""
        ...


class Payments:
    """What moves through the provider."""

    def __init__(self, desk: Desk, *, waits: Waits, breaker: Breaker, tokens: pages.PageTokens) -> None:
        self._desk = desk
        self._waits = waits
        self._breaker = breaker
        self._tokens = tokens

    async def create_payment(self, request: messages.CreatePaymentRequest) -> tuple[Payment, bool]:
        """The payment of a donation, and whether an earlier call had made it.

        Where the provider does not answer in time the payment has no client secret yet.

        Raises:
            PaymentAbandoned: the donation was given up before.
            IdempotencyKeyReused: the donation has a payment of other content.
            InvalidArgument: the provider takes no such amount.
            ProviderUnavailable: the provider's calls are paused, and the donation has no payment yet.
        """
        fence = make_fence(request, method="CreatePayment", key_field="donation_id", tenant_id=request.charity_id)
        drawn = self._drawn(request, canceled=False)
        await self._demand_let_in(drawn)
        found = await self._desk.database.run(lambda connection: self._recorded(connection, drawn, fence))
        crashpoints.reach("payment.recorded")
        if found is None:
            return await self._waits.asked(drawn, held=True), False
        payment = _demand_same(found, fence)
        return (await self._waits.asked(payment) if self._awaits_secret(payment) else payment), True

    async def _demand_let_in(self, drawn: Payment) -> None:
        """Refuses what would only wait before anything of it is recorded; what is recorded already is never refused."""
        if self._breaker.closed:
            return
        async with self._desk.database.connection() as connection:
            known = await self._desk.payments.of_donation(
                connection, donation_id=drawn.donation_id, charity_id=drawn.charity_id
            )
        if known is None and not self._breaker.enter():
            raise ProviderUnavailable(
                "calls to the payment provider are paused; repeat with the same key",
                retry_after_s=self._breaker.retry_after_s(),
            )

    def _awaits_secret(self, payment: Payment) -> bool:
        """Whether asking the provider now may bring the secret; its search is not asked more often than is planned."""
        now = self._desk.clock.now()
        if payment.client_secret or payment.closed:
            return False
        due = payment.next_attempt_time is None or payment.is_due(now=now)
        refused = any(call.refusals for call in payment.calls(AttemptKind.CREATE_INTENT))
        return due or (next_step(payment, now=now) is not Step.LOOK_UP and not refused)

    async def abandon_payment(self, request: messages.AbandonPaymentRequest) -> tuple[Payment, bool]:
        """The payment, called off at the provider, and whether it was before this call.

        Raises:
            PaymentStateConflict: it has succeeded.
            DependencyUnavailable: the provider has not confirmed it yet; the service goes on by itself.
        """
        fence = make_fence(request, method="AbandonPayment", key_field="donation_id", tenant_id=request.charity_id)
        drawn = self._drawn(request, canceled=True)
        payment, replayed = await self._desk.database.run(lambda connection: self._unwanted(connection, drawn, fence))
        # A repeat keeps to the times at which the provider is asked.
        if payment.is_due(now=self._desk.clock.now()):
            payment = await self._waits.asked(payment)
        _demand_abandoned(payment)
        return payment, replayed

    async def get_payment(self, payment_id: UUID, identity: Identity) -> Payment:
        """The payment.

        Raises:
            PaymentNotFound: there is none, or it belongs to somebody else.
        """
        payment = await self._desk.payments.get(payment_id)
        if payment is None or not may_touch(identity, payment.charity_id):
            raise PaymentNotFound("no such payment", payment_id=payment_id)
        return payment

    async def list_payments(self, request: messages.ListPaymentsRequest, identity: Identity) -> tuple[list[Payment], str]:
        """A page of a charity's payments, newest first, and the token of the next; of a foreign charity there are none.

        Raises:
            PageTokenInvalid: the token is foreign.
        """
        charity_id = UUID(request.charity_id)
        list_name = f"payments {charity_id}"
        size = pages.page_size(request.page_size)
        before = self._tokens.read(request.page_token, list_name=list_name, start=pages.LAST)
        if not may_touch(identity, charity_id):
            return [], ""
        found = await self._desk.payments.page(charity_id, before=before, limit=size + 1)
        token = self._tokens.make(found[size - 1].id, list_name=list_name) if len(found) > size else ""
        return found[:size], token

    def _drawn(self, request: messages.CreatePaymentRequest | messages.AbandonPaymentRequest, *, canceled: bool) -> Payment:
        amount = convert.money_from(request.amount)
        problem = money.amount_problem(amount.minor_units, amount.currency)
        if problem:
            raise InvalidArgument.of(f"amount.{problem[0]}", problem[1])
        now = self._desk.clock.now()
        charity_id = UUID(request.charity_id)
        return Payment(
            id=new_id(tenant_id=charity_id),
            charity_id=charity_id,
            campaign_id=UUID(request.campaign_id),
            donation_id=UUID(request.donation_id),
            amount=amount,
            manual_capture=isinstance(request, messages.CreatePaymentRequest) and request.manual_capture,
            version=1,
            create_time=now,
            update_time=now,
            canceled=canceled,
            next_attempt_time=None if canceled else now + _FIRST_LOOK,
        )

    async def _recorded(self, connection: Connection, drawn: Payment, fence: Fence) -> tuple[Payment, int] | None:
        """None where the payment is new; otherwise the donation's earlier one and the digest of its request."""
        leased_until = None if drawn.canceled else self._waits.lease_until()
        stamp = Stamp(fence.caller, fence.correlation_id, drawn.create_time)
        if await self._desk.payments.insert(connection, drawn, digest=fence.digest, leased_until=leased_until, stamp=stamp):
            await self._desk.changes.announce(connection, drawn, before=drawn)
            return None
        return await self._desk.payments.of_donation(connection, donation_id=drawn.donation_id, charity_id=drawn.charity_id)

    async def _unwanted(self, connection: Connection, drawn: Payment, fence: Fence) -> tuple[Payment, bool]:
        found = await self._recorded(connection, drawn, fence)
        if found is None:
            return drawn, False
        locked = await self._desk.payments.lock(connection, found[0].id)
        if locked is None or locked.closed or locked.unwanted:
            return locked or found[0], True
        after = await self._desk.changes.apply(
            connection, locked, [Unwanted()], actor=fence.caller, correlation_id=fence.correlation_id
        )
        return after, False


def _demand_same(found: tuple[Payment, int], fence: Fence) -> Payment:
    payment, digest = found
    # What was given up before it began has no attempts, and its digest is of the call that gave it up.
    if not payment.attempts:
        raise PaymentAbandoned("this donation was given up; make a new one", donation_id=payment.donation_id)
    fence.demand_same(digest)
    return payment


def _demand_abandoned(payment: Payment) -> None:
    if not LEGAL[payment.state, Command.ABANDON]:
        raise PaymentStateConflict("the payment has succeeded", payment_id=payment.id, state=payment.state.name)
    if not payment.closed:
        raise DependencyUnavailable("the provider has not confirmed it yet", retry_after_s=30, dependency="stripe")
