"""What belongs to the account: customers, events, its webhook endpoint, lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.stripe import ids

API_VERSION = "2026-10-28.endive"
_TAKEN = ("address", "description", "email", "name", "phone", "shipping", "preferred_locales", "tax_exempt")


def customer(params: Mapping[str, Any], *, now: int) -> dict[str, Any]:
    taken = {name: params[name] for name in _TAKEN if params.get(name) is not None}
    return {
        "id": ids.new_id("customer"),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": ids.word(8).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        **taken,
    }


def event(
    kind: str, data: Mapping[str, Any], *, request_id: str | None, key: str | None, pending: int, now: int
) -> dict[str, Any]:
    return {
        "id": ids.new_id("event"),
        "object": "event",
        "api_version": API_VERSION,
        "created": now,
        "data": data,
        "livemode": False,
        "pending_webhooks": pending,
        "request": {"id": request_id, "idempotency_key": key},
        "type": kind,
    }


def webhook_endpoint(url: str, *, events: Sequence[str], created: int) -> dict[str, Any]:
    return {
        "id": "we_1Sandbox",
        "object": "webhook_endpoint",
        "api_version": API_VERSION,
        "application": None,
        "created": created,
        "description": None,
        "enabled_events": list(events),
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }


def page(objects: Sequence[Mapping[str, Any]], *, url: str, has_more: bool) -> dict[str, Any]:
    return {"object": "list", "data": list(objects), "has_more": has_more, "url": url}
