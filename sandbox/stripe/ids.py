"""Ids as Stripe makes them."""

from __future__ import annotations

import random
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
    "payout": "po_1",
    "event": "evt_1",
    "request": "req_",
}
_LENGTHS = {"customer": 14, "request": 14}
_LENGTH = 23
_RANDOM = random.Random()  # noqa: S311 - ids are no secrets


def new_id(kind: str) -> str:
    return _PREFIXES[kind] + word(_LENGTHS.get(kind, _LENGTH))


def word(length: int) -> str:
    """Random letters and digits for names that open nothing; `secret` makes those that do."""
    # The system's generator lets another thread run at each draw, and ids are drawn ten times in a call.
    return "".join(_RANDOM.choices(_ALPHABET, k=length))


def secret(length: int) -> str:
    """Random letters and digits that nobody can guess."""
    # The remainder's bias costs less than half a bit of entropy in all.
    return "".join([_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(length)])


def client_secret(intent_id: str) -> str:
    return f"{intent_id}_secret_{secret(25)}"
