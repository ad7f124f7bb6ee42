"""Payment intents and charges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stripe import ids

# What a publishable key is shown of a payment intent: nothing that the merchant keeps for himself.
PUBLIC_FIELDS = (
    "id", "object", "allowed_payment_method_types", "amount", "amount_details", "automatic_payment_methods", "canceled_at",
    "cancellation_reason", "capture_method", "client_secret", "confirmation_method", "created", "currency", "description",
    "last_payment_error", "livemode", "next_action", "payment_method", "payment_method_configuration_details",
    "payment_method_types", "processing", "receipt_email", "setup_future_usage", "shipping", "source", "status",
)  # fmt: skip
# What an intent takes as it is given.
_TAKEN = (
    "capture_method", "confirmation_method", "customer", "description", "receipt_email", "setup_future_usage", "shipping",
    "statement_descriptor", "statement_descriptor_suffix", "transfer_group",
)  # fmt: skip


def intent(params: Mapping[str, Any], *, now: int) -> dict[str, Any]:
    """A new one, before anybody pays. `params` are read ones."""
    intent_id = ids.new_id("payment_intent")
    taken = {name: params[name] for name in _TAKEN if params.get(name) is not None}
    return {
        "id": intent_id,
        "object": "payment_intent",
        "allowed_payment_method_types": None,
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": _automatic(params),
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": ids.client_secret(intent_id),
        "confirmation_method": "automatic",
        "created": now,
        "currency": params["currency"],
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "managed_payments": {"enabled": False},
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": params.get("payment_method_types") or types_for(params["currency"]),
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        **taken,
    }


def _automatic(params: Mapping[str, Any]) -> dict[str, Any] | None:
    if params.get("payment_method_types"):
        return None
    given = params.get("automatic_payment_methods") or {"enabled": True}
    return {"allow_redirects": "always", **given} if given["enabled"] else None


def types_for(currency: str) -> list[str]:
    return ["card", "us_bank_account"] if currency == "usd" else ["card"]


def charge(intent: Mapping[str, Any], method: Mapping[str, Any], *, now: int) -> dict[str, Any]:
    """A new one for the whole amount of the intent, before its outcome."""
    charge_id = ids.new_id("charge")
    return {
        "id": charge_id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": intent["statement_descriptor"] or "SANDBOX",
        "captured": False,
        "created": now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": None,
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "refunds": None,
        "review": None,
        "shipping": intent["shipping"],
        "source": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "pending",
        "transfer_data": None,
        "transfer_group": intent["transfer_group"],
    }
