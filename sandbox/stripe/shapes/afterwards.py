"""What follows a charge: balance transactions, refunds, disputes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stripe import ids
from sandbox.stripe.money import Fee

EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name", "customer_purchase_ip",
    "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure", "refund_refusal_explanation",
    "service_date", "service_documentation", "shipping_address", "shipping_carrier", "shipping_date",
    "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip
_ANSWER_WITHIN_S = 9 * 86_400


def balance_transaction(
    source: Mapping[str, Any], *, kind: str, amount: int, fee: Fee | None, now: int, available_on: int
) -> dict[str, Any]:
    """`amount` and what it leaves after `fee`, positive towards the merchant."""
    cost = fee.amount if fee else 0
    return {
        "id": ids.new_id("balance_transaction"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": available_on,
        "balance_type": "payments",
        "created": now,
        "currency": source["currency"],
        "description": source.get("description"),
        "exchange_rate": None,
        "fee": cost,
        "fee_details": [_fee(fee, source["currency"])] if fee else [],
        "net": amount - cost,
        "reporting_category": {"adjustment": "dispute", "refund_failure": "refund_failure"}.get(kind, kind),
        "source": source["id"],
        "status": "pending",
        "type": kind,
    }


def _fee(fee: Fee, currency: str) -> dict[str, Any]:
    return {
        "amount": fee.amount,
        "application": None,
        "currency": currency,
        "description": fee.description,
        "type": "stripe_fee",
    }


def refund(
    charge: Mapping[str, Any], *, amount: int, reason: str | None, metadata: Mapping[str, str], now: int
) -> dict[str, Any]:
    return {
        "id": ids.new_id("refund"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": _destination(charge),
        "metadata": dict(metadata),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def _destination(charge: Mapping[str, Any]) -> dict[str, Any]:
    if charge["payment_method_details"]["type"] != "card":
        return {"type": "us_bank_transfer", "us_bank_transfer": {}}
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    return {"card": card, "type": "card"}


def dispute(charge: Mapping[str, Any], *, amount: int, reason: str, inquiry: bool, now: int) -> dict[str, Any]:
    return {
        "id": ids.new_id("dispute"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": now + _ANSWER_WITHIN_S,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": _disputed_card(charge, reason=reason, inquiry=inquiry),
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }


def _disputed_card(charge: Mapping[str, Any], *, reason: str, inquiry: bool) -> dict[str, Any]:
    card = charge["payment_method_details"].get("card") or {}
    return {
        "card": {
            "brand": card.get("brand"),
            "case_type": "inquiry" if inquiry else "chargeback",
            "network": card.get("network"),
            "network_reason_code": "13.1" if reason == "product_not_received" else "10.4",
        },
        "type": "card",
    }
