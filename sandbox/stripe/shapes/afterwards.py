"""What follows a charge: balance transactions, refunds, disputes, payouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stripe import ids
from sandbox.stripe.money import Fee, Worth

EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name", "customer_purchase_ip",
    "customer_signature", "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure", "refund_refusal_explanation",
    "service_date", "service_documentation", "shipping_address", "shipping_carrier", "shipping_date",
    "shipping_documentation", "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip
_ANSWER_WITHIN_S = 9 * 86_400
# Types of balance transactions that reports group under another name; an adjustment's depends on what it adjusts.
_CATEGORIES = {"payout_failure": "payout_reversal", "stripe_fee": "fee"}
_DESCRIPTIONS = {"refund": "REFUND FOR CHARGE", "refund_failure": "REFUND FAILURE"}


def balance_transaction(
    source: Mapping[str, Any],
    worth: Worth,
    *,
    kind: str,
    category: str | None,
    fee: Fee | None,
    now: int,
    available_on: int,
) -> dict[str, Any]:
    """`worth` and what it leaves after `fee`, positive towards the merchant."""
    cost = fee.amount if fee else 0
    return {
        "id": ids.new_id("balance_transaction"),
        "object": "balance_transaction",
        "amount": worth.amount,
        "available_on": available_on,
        "balance_type": "payments",
        "created": now,
        "currency": worth.currency,
        "description": _DESCRIPTIONS.get(kind, source.get("description")),
        "exchange_rate": worth.exchange_rate,
        "fee": cost,
        "fee_details": [_fee(fee, worth.currency)] if fee else [],
        "net": worth.amount - cost,
        "reporting_category": category or _CATEGORIES.get(kind, kind),
        "source": source["id"],
        "status": status_on(available_on, now=now),
        "type": kind,
    }


def status_on(available_on: int, *, now: int) -> str:
    return "available" if available_on <= now else "pending"


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


def payout(*, amount: int, currency: str, automatic: bool, now: int, arrival_date: int) -> dict[str, Any]:
    """A pending one; what an automatic one contains is known from its beginning."""
    return {
        "id": ids.new_id("payout"),
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": arrival_date,
        "automatic": automatic,
        "balance_transaction": None,
        "created": now,
        "currency": currency,
        "description": "STRIPE PAYOUT" if automatic else None,
        "destination": "ba_1Sandbox",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "completed" if automatic else "not_applicable",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "pending",
        "trace_id": {"status": "pending", "value": None},
        "type": "bank_account",
    }
