"""Payments in a few words."""

from __future__ import annotations

from typing import Any

import stripe

AUTOMATIC = {"enabled": True, "allow_redirects": "never"}


def gift(**more: Any) -> dict[str, Any]:
    """Parameters of an intent."""
    return {"amount": 2500, "currency": "usd", "automatic_payment_methods": AUTOMATIC, **more}


async def create(client: stripe.StripeClient, *, key: str | None = None, **more: Any) -> stripe.PaymentIntent:
    options: Any = {"idempotency_key": key} if key else {}
    params: Any = gift(**more)
    return await client.v1.payment_intents.create_async(params, options)


async def pay(client: stripe.StripeClient, method: str = "pm_card_visa", **more: Any) -> stripe.PaymentIntent:
    """An intent that was made and confirmed at once."""
    return await create(client, confirm=True, payment_method=method, **more)


async def pay_at_once(client: stripe.StripeClient, **more: Any) -> stripe.PaymentIntent:
    """One whose money is on the balance and available when it is answered, its charge expanded."""
    expand = ["latest_charge.balance_transaction"]
    return await pay(client, "pm_card_bypassPending", capture_method="automatic", expand=expand, **more)
