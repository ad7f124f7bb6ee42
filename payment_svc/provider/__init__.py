"""Stripe, through the official SDK only: what we ask, what an answer proves, whether a webhook is Stripe's.

What the provider shows becomes facts of the domain; what an error proves is one of: refused, unproven, not reached. A
failure and a lost answer are never the same. While the circuit breaker is open nothing is sent.
"""

from payment_svc.provider.breaker import CircuitBreaker
from payment_svc.provider.calls import Stripe, open_stripe
from payment_svc.provider.report import ReportReader
from payment_svc.provider.webhooks import EVENT_TYPES, WebhookReader

__all__ = ["EVENT_TYPES", "CircuitBreaker", "ReportReader", "Stripe", "WebhookReader", "open_stripe"]
