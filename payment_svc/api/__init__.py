"""The gRPC edge, one file per service of the contract: convert, call, convert."""

from payment_svc.api.ledger import LedgerApi
from payment_svc.api.operations import PaymentOperationsApi
from payment_svc.api.payments import PaymentApi

__all__ = ["LedgerApi", "PaymentApi", "PaymentOperationsApi"]
