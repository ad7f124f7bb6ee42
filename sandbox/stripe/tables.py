"""What the calls take: tables for `params.read`."""

from __future__ import annotations

from sandbox.stripe import methods, money, params
from sandbox.stripe.params import Table
from sandbox.stripe.shapes.afterwards import EVIDENCE

_ADDRESS = params.fields(dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), params.unsettable))
_SHIPPING = params.fields(
    {"address": _ADDRESS, **dict.fromkeys(("name", "carrier", "phone", "tracking_number"), params.text)}
)
_AUTOMATIC = params.fields({"enabled": params.boolean, "allow_redirects": params.one_of("always", "never")}, "enabled")
_CAPTURE = params.one_of("automatic", "automatic_async", "manual")
_FUTURE = params.one_of("off_session", "on_session")
# What an intent is made of and what a later call may change.
INTENT: Table = {
    "capture_method": _CAPTURE,
    "customer": params.text,
    "description": params.text,
    "metadata": params.metadata,
    "payment_method": params.text,
    "payment_method_data": methods.METHOD_DATA,
    "payment_method_options": params.anything,
    "payment_method_types": params.texts,
    "receipt_email": params.unsettable,
    "setup_future_usage": _FUTURE,
    "shipping": _SHIPPING,
    "statement_descriptor": params.text,
    "statement_descriptor_suffix": params.text,
    "transfer_group": params.text,
}
# How a payment is confirmed.
_CONFIRMATION: Table = {
    "error_on_requires_action": params.boolean,
    "mandate_data": params.anything,
    "off_session": params.boolean,
    "radar_options": params.anything,
    "return_url": params.text,
    "use_stripe_sdk": params.boolean,
}
CREATE: Table = {
    **INTENT,
    **_CONFIRMATION,
    "amount": params.integer,
    "automatic_payment_methods": _AUTOMATIC,
    "confirm": params.boolean,
    "confirmation_method": params.one_of("automatic", "manual"),
    "currency": money.currency,
}
CONFIRM: Table = {
    **_CONFIRMATION,
    **{name: INTENT[name] for name in INTENT.keys() - {"customer", "metadata", "description", "transfer_group"}},
    "client_secret": params.text,
    # Stripe.js says for which kind of integration it stands.
    **dict.fromkeys(("expected_payment_method_type", "client_context", "referrer"), params.anything),
}
CAPTURING: Table = {
    "amount_to_capture": params.integer,
    "final_capture": params.one_of("true"),
    "metadata": params.metadata,
    "statement_descriptor": params.text,
    "statement_descriptor_suffix": params.text,
}
_REASONS = params.one_of("duplicate", "fraudulent", "requested_by_customer")
REFUND: Table = {
    "amount": params.integer,
    "charge": params.text,
    "payment_intent": params.text,
    "metadata": params.metadata,
    "reason": _REASONS,
}
CUSTOMER: Table = {
    "address": _ADDRESS,
    "metadata": params.metadata,
    "preferred_locales": params.texts,
    "shipping": _SHIPPING,
    "tax_exempt": params.one_of("exempt", "none", "reverse"),
    **dict.fromkeys(("description", "email", "name", "phone"), params.unsettable),
}
_EVIDENCE = params.fields({**dict.fromkeys(EVIDENCE, params.unsettable), "enhanced_evidence": params.anything})
DISPUTE: Table = {"evidence": _EVIDENCE, "metadata": params.metadata, "submit": params.boolean}
SEARCH: Table = {"limit": params.integer, "page": params.text, "query": params.text}
METADATA: Table = {"metadata": params.metadata}
CANCELLATION = params.one_of("abandoned", "duplicate", "fraudulent", "requested_by_customer")
