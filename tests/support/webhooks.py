"""Webhooks as a stranger or as Stripe itself would send them to the gateway's door."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import stripe
from giving.payment.v1 import payment_pb2

from tests.support.till import Till

DOOR = "/webhooks/stripe"


def signed(body: str, secret: str, *, at: float | None = None) -> str:
    stamp = int(time.time() if at is None else at)
    return str(stripe.WebhookSignature.generate_signature_header(body, secret, stamp))


def event_about(intent: dict[str, Any], event_id: str, kind: str = "payment_intent.succeeded", **more: Any) -> str:
    event = {
        "id": event_id,
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": intent},
    }
    return json.dumps(event | more)


def intent_shown(payment: payment_pb2.Payment, **more: Any) -> dict[str, Any]:
    shown = {
        "object": "payment_intent",
        "id": payment.provider_id,
        "status": "succeeded",
        "amount": payment.amount.minor_units,
        "amount_received": payment.amount.minor_units,
        "currency": payment.amount.currency.lower(),
        "metadata": {"donation_id": payment.donation_id},
    }
    return shown | more


async def post(till: Till, body: str | bytes, signature: str | None, **headers: str) -> int:
    given = {} if signature is None else {"Stripe-Signature": signature}
    data = io.BytesIO(body if isinstance(body, bytes) else body.encode())
    async with till.rest.post(DOOR, data=data, headers=given | headers) as answer:
        return answer.status
