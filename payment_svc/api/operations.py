"""The gRPC edge of the operators' view of the provider."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1 import payment_operations_service_pb2_grpc

from mesh.audit import AuditTrail

Context = grpc.aio.ServicerContext[Any, Any]


class PaymentOperationsApi(payment_operations_service_pb2_grpc.PaymentOperationsServiceServicer):
    """PaymentOperationsService, as far as it is built."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    async def GetAuditTrail(
        self, request: messages.GetAuditTrailRequest, context: Context
    ) -> messages.GetAuditTrailResponse:
        entries, token = await self._trail.read(
            UUID(request.reference_id), page_size=request.page_size, page_token=request.page_token
        )
        return messages.GetAuditTrailResponse(entries=entries, next_page_token=token)
