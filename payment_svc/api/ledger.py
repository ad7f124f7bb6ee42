"""The gRPC edge of the ledger."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc
from giving.payment.v1 import ledger_service_pb2 as messages
from giving.payment.v1 import ledger_service_pb2_grpc

from payment_svc import convert
from payment_svc.service.ledger import Ledger

Context = grpc.aio.ServicerContext[Any, Any]


class LedgerApi(ledger_service_pb2_grpc.LedgerServiceServicer):
    """LedgerService."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def VerifyLedger(self, request: messages.VerifyLedgerRequest, context: Context) -> messages.VerifyLedgerResponse:
        return convert.verification_message(await self._ledger.verify_ledger())

    async def GetBalance(self, request: messages.GetBalanceRequest, context: Context) -> messages.GetBalanceResponse:
        balances = await self._ledger.get_balance(
            request.account,
            campaign_id=convert.optional_id(request.campaign_id),
            as_of=convert.time_from(request.as_of, field="as_of") if request.HasField("as_of") else None,
        )
        return messages.GetBalanceResponse(balances=[convert.money_message(balance) for balance in balances])

    async def ListEntries(self, request: messages.ListEntriesRequest, context: Context) -> messages.ListEntriesResponse:
        """A recorded donation's entries are those of the batch postings that contain it."""
        entries = await self._ledger.list_entries(UUID(request.reference_id))
        return messages.ListEntriesResponse(entries=[convert.entry_message(entry) for entry in entries])
