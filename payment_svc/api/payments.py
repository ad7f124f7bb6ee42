"""The gRPC edge of payments."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc
from giving.payment.v1 import payment_service_pb2, payment_service_pb2_grpc

from mesh.rpc.call import caller_identity, mark_replayed
from payment_svc import convert
from payment_svc.service.moves import Moves
from payment_svc.service.payments import Payments
from payment_svc.service.webhooks import Webhooks

Context = grpc.aio.ServicerContext[Any, Any]


class PaymentApi(payment_service_pb2_grpc.PaymentServiceServicer):
    """PaymentService."""

    def __init__(self, payments: Payments, moves: Moves, webhooks: Webhooks) -> None:
        self._payments = payments
        self._moves = moves
        self._webhooks = webhooks

    async def CreatePayment(
        self, request: payment_service_pb2.CreatePaymentRequest, context: Context
    ) -> payment_service_pb2.CreatePaymentResponse:
        payment, replayed = await self._payments.create_payment(request)
        mark_replayed(replayed=replayed)
        return payment_service_pb2.CreatePaymentResponse(
            payment=convert.payment_message(payment), client_secret=payment.secret_to_confirm
        )

    async def AbandonPayment(
        self, request: payment_service_pb2.AbandonPaymentRequest, context: Context
    ) -> payment_service_pb2.AbandonPaymentResponse:
        payment, replayed = await self._payments.abandon_payment(request)
        mark_replayed(replayed=replayed)
        return payment_service_pb2.AbandonPaymentResponse(payment=convert.payment_message(payment))

    async def GetPayment(
        self, request: payment_service_pb2.GetPaymentRequest, context: Context
    ) -> payment_service_pb2.GetPaymentResponse:
        payment = await self._payments.get_payment(UUID(request.payment_id), caller_identity())
        return payment_service_pb2.GetPaymentResponse(payment=convert.payment_message(payment))

    async def ListPayments(
        self, request: payment_service_pb2.ListPaymentsRequest, context: Context
    ) -> payment_service_pb2.ListPaymentsResponse:
        payments, token = await self._payments.list_payments(request, caller_identity())
        return payment_service_pb2.ListPaymentsResponse(
            payments=[convert.payment_message(payment) for payment in payments], next_page_token=token
        )

    async def CapturePayment(
        self, request: payment_service_pb2.CapturePaymentRequest, context: Context
    ) -> payment_service_pb2.CapturePaymentResponse:
        payment, call, replayed = await self._moves.capture_payment(request)
        mark_replayed(replayed=replayed)
        return payment_service_pb2.CapturePaymentResponse(
            payment=convert.payment_message(payment), capture=convert.attempt_message(call, payment.amount.currency)
        )

    async def CancelPayment(
        self, request: payment_service_pb2.CancelPaymentRequest, context: Context
    ) -> payment_service_pb2.CancelPaymentResponse:
        payment, replayed = await self._moves.cancel_payment(request)
        mark_replayed(replayed=replayed)
        return payment_service_pb2.CancelPaymentResponse(payment=convert.payment_message(payment))

    async def RefundPayment(
        self, request: payment_service_pb2.RefundPaymentRequest, context: Context
    ) -> payment_service_pb2.RefundPaymentResponse:
        payment, refund, replayed = await self._moves.refund_payment(request)
        mark_replayed(replayed=replayed)
        return payment_service_pb2.RefundPaymentResponse(
            payment=convert.payment_message(payment), refund=convert.attempt_message(refund, payment.amount.currency)
        )

    async def HandleProviderWebhook(
        self, request: payment_service_pb2.HandleProviderWebhookRequest, context: Context
    ) -> payment_service_pb2.HandleProviderWebhookResponse:
        await self._webhooks.handle(request.body, request.signature)
        return payment_service_pb2.HandleProviderWebhookResponse()
