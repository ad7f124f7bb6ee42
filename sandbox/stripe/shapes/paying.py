"""Payment methods, and how a charge tells of the one that paid."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sandbox.stripe import ids
from sandbox.stripe.cards import Card

_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_BANK = {
    "account_holder_type": "individual",
    "account_type": "checking",
    "bank_name": "STRIPE TEST BANK",
    "routing_number": "110000000",
}


def method(card: Card, params: Mapping[str, Any], *, now: int) -> dict[str, Any]:
    """A new payment method. `params`: billing_details, metadata, allow_redisplay, and expiry of the card as given."""
    return {
        "id": ids.new_id("payment_method"),
        "object": "payment_method",
        "allow_redisplay": params.get("allow_redisplay", "unspecified"),
        "billing_details": billing(params.get("billing_details") or {}),
        card.kind: _card(card, params) if card.kind == "card" else _bank(card),
        "created": now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": params.get("metadata") or {},
        "type": card.kind,
    }


def billing(given: Mapping[str, Any]) -> dict[str, Any]:
    address = given.get("address") or {}
    return {
        "address": {name: address.get(name) or None for name in _ADDRESS},
        **{name: given.get(name) or None for name in ("email", "name", "phone", "tax_id")},
    }


def fingerprint(card: Card) -> str:
    """The same for the same number, as at Stripe."""
    return hashlib.sha256(card.number.encode()).hexdigest()[:16]


def _checks() -> dict[str, Any]:
    return {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}


def _card(card: Card, params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "brand": card.brand,
        "checks": _checks(),
        "country": card.country,
        "display_brand": card.brand,
        "exp_month": params.get("exp_month", 8),
        "exp_year": params.get("exp_year", 2034),
        "fingerprint": fingerprint(card),
        "funding": card.funding,
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": card.authentication != "unsupported"},
        "wallet": None,
    }


def _bank(card: Card) -> dict[str, Any]:
    return {
        **_BANK,
        "financial_connections_account": None,
        "fingerprint": fingerprint(card),
        "last4": card.last4,
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "status_details": {},
    }


def details(charge: Mapping[str, Any], method: Mapping[str, Any], *, authenticated: bool) -> dict[str, Any]:
    """`payment_method_details` of a charge."""
    if method["type"] != "card":
        bank = {
            **_BANK,
            "fingerprint": method["us_bank_account"]["fingerprint"],
            "last4": method["us_bank_account"]["last4"],
        }
        return {"type": "us_bank_account", "us_bank_account": {**bank, "mandate": None, "payment_reference": None}}
    card = method["card"]
    return {"card": {**_from_card(card), **_network(charge, card, authenticated=authenticated)}, "type": "card"}


def _from_card(card: Mapping[str, Any]) -> dict[str, Any]:
    same = ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4", "regulated_status", "wallet")
    return {**{name: card[name] for name in same}, "checks": dict(card["checks"])}


def _network(charge: Mapping[str, Any], card: Mapping[str, Any], *, authenticated: bool) -> dict[str, Any]:
    """What the network said, and which of its services the charge uses: none."""
    amount = charge["amount"]
    return {
        "amount_authorized": amount,
        "authorization_code": ids.word(6).upper(),
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": ids.word(15).upper(),
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "three_d_secure": _authentication() if authenticated else None,
        "transaction_link_id": None,
    }


def _authentication() -> dict[str, Any]:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": ids.word(36),
        "version": "2.2.0",
    }
