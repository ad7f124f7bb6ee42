"""The connections that a run can cut: which part's setting leads over a proxy, and what is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# `part.VARIABLE` of the mesh's processes → the part that it leads to.
OF_PARTS: Mapping[str, str] = MappingProxyType(
    {
        "donation.DATABASE_URL": "postgres",
        "payment.DATABASE_URL": "postgres",
        "aggregator.DATABASE_URL": "postgres",
        "donation.NATS_URL": "nats",
        "payment.NATS_URL": "nats",
        "aggregator.NATS_URL": "nats",
        "aggregator.REDIS_URL": "valkey",
        "donation.PAYMENT_TARGET": "payment",
        "payment.STRIPE_API_BASE": "sandbox",
        "sandbox.WEBHOOK_URL": "gateway",
        "gateway.DONATION_TARGET": "donation",
        "gateway.PAYMENT_TARGET": "payment",
        "gateway.AGGREGATOR_TARGET": "aggregator",
        "live.AGGREGATOR_TARGET": "aggregator",
    }
)
BROWSER = "browser.REST"
CHECKOUT = "checkout.GRPC"
CARD = "browser.STRIPE"
# Those of the load.
OF_LOAD: Mapping[str, str] = MappingProxyType({BROWSER: "gateway", CHECKOUT: "donation", CARD: "sandbox"})
ALL: Mapping[str, str] = MappingProxyType({**OF_PARTS, **OF_LOAD})
