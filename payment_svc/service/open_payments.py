"""What an operator must see and push: payments that are not proven to have ended."""

from __future__ import annotations

import datetime
from uuid import UUID

from giving.payment.v1 import payment_operations_service_pb2 as messages

from mesh import pages
from mesh.fence import make_fence
from mesh.postgres import Connection
from payment_svc.domain.explanation import waits_for
from payment_svc.domain.payments import Payment
from payment_svc.refusals import PaymentNotFound
from payment_svc.service.changes import Desk
from payment_svc.service.waiting import Waits
from payment_svc.store.commands import Command, CommandStore

# A century: nothing here is older, and calendars reach that far back.
AGE_S_MAX = 100 * 366 * 24 * 3600


class OpenPayments:
    """Payments that did not end."""

    def __init__(self, desk: Desk, *, fences: CommandStore, waits: Waits, tokens: pages.PageTokens) -> None:
        self._desk = desk
        self._fences = fences
        self._waits = waits
        self._tokens = tokens

    async def list_open_payments(self, request: messages.ListOpenPaymentsRequest) -> tuple[list[Payment], str]:
        """A page of open payments older than `age`, oldest first, and the token of the next.

        Raises:
            PageTokenInvalid: the token is foreign.
        """
        age = datetime.timedelta(seconds=max(0, min(request.age.seconds, AGE_S_MAX)))
        list_name = f"open payments {age.total_seconds()} {request.manual}"
        size = pages.page_size(request.page_size)
        after = self._tokens.read(request.page_token, list_name=list_name, start=pages.FIRST)
        before = self._desk.clock.now() - age
        found = await self._desk.payments.open_page(after=after, before=before, limit=size + 1, manual=request.manual)
        token = self._tokens.make(found[size - 1].id, list_name=list_name) if len(found) > size else ""
        return found[:size], token

    async def ask_provider(self, request: messages.AskProviderRequest) -> tuple[Payment, bool]:
        """The payment after the provider was asked about it, and whether an earlier call had demanded that.

        Raises:
            PaymentNotFound: there is none.
            IdempotencyKeyReused: the key was used for another demand.
        """
        payment = await self._desk.payments.get(UUID(request.payment_id))
        if payment is None:
            raise PaymentNotFound("no such payment", payment_id=request.payment_id)
        if request.dry_run:
            return payment, False
        is_new = await self._desk.database.run(lambda connection: self._demand(connection, request))
        return await self._waits.asked(payment) if is_new else payment, not is_new

    async def _demand(self, connection: Connection, request: messages.AskProviderRequest) -> bool:
        payment = await self._desk.payments.lock(connection, UUID(request.payment_id))
        if payment is None:
            raise AssertionError("payments are never deleted")
        fence = make_fence(request, method="AskProvider", key_field="request_id", tenant_id="")
        asked = Command("AskProvider", request.payment_id, request.reason, charity_id=payment.charity_id)
        is_new = await self._fences.is_new(connection, asked, fence, now=self._desk.clock.now())
        if is_new:
            await self._desk.changes.demand_look(connection, payment, actor=fence.caller)
        return is_new

    def reason_of(self, payment: Payment) -> str:
        """Why it is open."""
        return payment.manual_reason or waits_for(payment, now=self._desk.clock.now())
