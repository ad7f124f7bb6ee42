"""Ids as Stripe makes them."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits
_PREFIXES = {
    "payment_intent": "pi_3",
    "charge": "ch_3",
    "refund": "re_3",
    "dispute": "du_1",
    "payment_method": "pm_1",
    "customer": "cus_",
    "balance_transaction": "txn_3",
    "event": "evt_1",
    "request": "req_",
}
_LENGTHS = {"customer": 14, "request": 14}
_LENGTH = 23


def new_id(kind: str) -> str:
    return _PREFIXES[kind] + word(_LENGTHS.get(kind, _LENGTH))


def word(length: int) -> str:
    """Random letters and digits."""
    # One draw instead of one per letter: ids are made several times in each call. The bias of the remainder is harmless.
    return "".join([_ALPHABET[byte % 62] for byte in secrets.token_bytes(length)])


def client_secret(intent_id: str) -> str:
    return f"{intent_id}_secret_{word(25)}"
