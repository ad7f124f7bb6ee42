"""What the sandbox remembers of an object beside what Stripe shows, such as the card behind a payment method."""

from __future__ import annotations

from typing import Any

from sandbox.stripe.cards import Card, by_number
from sandbox.stripe.work import OWN, Object


def own(thing: Object) -> dict[str, Any]:
    """Its memory, to read and to change."""
    memory: dict[str, Any] = thing.setdefault(OWN, {})
    return memory


def card_of(method: Object) -> Card:
    return by_number()[own(method)["number"]]
