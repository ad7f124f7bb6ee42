"""The gRPC edge of the operators' view of the provider."""

from __future__ import annotations

from typing import Any

import grpc
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1 import payment_operations_service_pb2_grpc

from mesh.rpc.call import mark_replayed
from payment_svc import convert
from payment_svc.service.breaker import BreakerDecisions
from payment_svc.service.open_payments import OpenPayments

Context = grpc.aio.ServicerContext[Any, Any]


class PaymentOperationsApi(payment_operations_service_pb2_grpc.PaymentOperationsServiceServicer):
    """PaymentOperationsService, as far as it is built."""

    def __init__(self, *, open_payments: OpenPayments, decisions: BreakerDecisions) -> None:
        self._open_payments = open_payments
        self._decisions = decisions

    async def ListOpenPayments(
        self, request: messages.ListOpenPaymentsRequest, context: Context
    ) -> messages.ListOpenPaymentsResponse:
        payments, token = await self._open_payments.list_open_payments(request)
        items = [convert.open_item(payment, reason=self._open_payments.reason_of(payment)) for payment in payments]
        return messages.ListOpenPaymentsResponse(items=items, next_page_token=token)

    async def AskProvider(self, request: messages.AskProviderRequest, context: Context) -> messages.AskProviderResponse:
        payment, replayed = await self._open_payments.ask_provider(request)
        mark_replayed(replayed=replayed)
        return messages.AskProviderResponse(payment=convert.payment_message(payment))

    async def GetBreaker(self, request: messages.GetBreakerRequest, context: Context) -> messages.GetBreakerResponse:
        standing = await self._decisions.get_breaker()
        return messages.GetBreakerResponse(breaker=convert.breaker_message(standing))

    async def SetBreaker(self, request: messages.SetBreakerRequest, context: Context) -> messages.SetBreakerResponse:
        standing, replayed = await self._decisions.set_breaker(request)
        mark_replayed(replayed=replayed)
        return messages.SetBreakerResponse(breaker=convert.breaker_message(standing))
