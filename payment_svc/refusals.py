"""What this service refuses, named for the fact."""

from __future__ import annotations

from giving.common.v1 import error_pb2

from mesh.errors import Refusal


class AccountNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_ACCOUNT_NOT_FOUND


class PaymentNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_PAYMENT_NOT_FOUND


class PaymentStateConflict(Refusal):
    reason = error_pb2.ERROR_REASON_PAYMENT_STATE_CONFLICT


class RefundExceedsRemaining(Refusal):
    reason = error_pb2.ERROR_REASON_REFUND_EXCEEDS_REMAINING


class ProviderRefused(Refusal):
    reason = error_pb2.ERROR_REASON_PROVIDER_REFUSED


class PaymentAbandoned(Refusal):
    reason = error_pb2.ERROR_REASON_PAYMENT_ABANDONED


class WebhookUnverified(Refusal):
    reason = error_pb2.ERROR_REASON_WEBHOOK_UNVERIFIED


class SettlementFileRefused(Refusal):
    reason = error_pb2.ERROR_REASON_SETTLEMENT_FILE_REFUSED


class ProviderEventNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_PROVIDER_EVENT_NOT_FOUND


class ProviderEventStateConflict(Refusal):
    reason = error_pb2.ERROR_REASON_PROVIDER_EVENT_STATE_CONFLICT


class ProviderUnavailable(Refusal):
    reason = error_pb2.ERROR_REASON_PROVIDER_UNAVAILABLE
