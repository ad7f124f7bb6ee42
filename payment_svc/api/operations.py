"""The gRPC edge of the operators' view of the provider."""

from __future__ import annotations

from giving.payment.v1 import payment_operations_service_pb2_grpc


class PaymentOperationsApi(payment_operations_service_pb2_grpc.PaymentOperationsServiceServicer):
    """PaymentOperationsService, as far as it is built."""
