"""Stripe's objects as facts. They come as parsed JSON, from answers and from webhooks alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mesh.money import Money
from payment_svc.domain.facts import ChargeSeen, IntentSeen
from payment_svc.domain.payments import IntentStatus, Outcome, Progress

_ID = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_SECONDS_MAX = 4_102_444_800  # the year 2100


def intent_seen(shown: Mapping[str, Any], *, second: int) -> IntentSeen:
    """A PaymentIntent as it was shown in a second of the provider's clock."""
    charge = shown.get("latest_charge")
    return IntentSeen(
        provider_id=named(shown["id"]),
        amount=_money(shown["amount"], shown["currency"]),
        progress=_progress(shown, second=second),
        captured=int(shown.get("amount_received") or 0),
        donation_id=donation_id_of(shown),
        client_secret=shown.get("client_secret") or "",
        charge=charge_seen(charge, second=second) if isinstance(charge, Mapping) else None,
    )


def charge_seen(shown: Mapping[str, Any], *, second: int) -> ChargeSeen:  # noqa: ARG001 - a charge carries its own
    """A Charge as it was shown."""
    return ChargeSeen(
        charge_id=named(shown["id"]),
        amount=_money(shown["amount"], shown["currency"]),
        outcome=_OUTCOMES[shown["status"]],
        captured=int(shown.get("amount_captured") or 0),
        code=_code(_failure_of(shown)) if shown["status"] == "failed" else "",
        second=second_from(shown["created"]),
    )


def _progress(shown: Mapping[str, Any], *, second: int) -> Progress:
    status = _STATUSES[shown["status"]]
    failure = shown.get("last_payment_error")
    if status is IntentStatus.REQUIRES_PAYMENT_METHOD and failure:
        return Progress(second, IntentStatus.DECLINED, _code(failure.get("decline_code") or failure.get("code")))
    return Progress(second, status)


def _failure_of(charge: Mapping[str, Any]) -> object:
    outcome = charge.get("outcome") or {}
    # The bank's own reason says more than `card_declined`.
    reason = outcome.get("reason") if charge.get("failure_code") == "card_declined" else None
    return reason or charge.get("failure_code")


def named(text: object) -> str:
    """An id of the provider.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise ValueError("no id of the provider")
    return text


def second_from(number: object) -> int:
    """A second of the provider's clock.

    Raises:
        ValueError: no clock shows it.
    """
    if type(number) is not int or not 0 <= number < _SECONDS_MAX:
        raise ValueError("no time of the provider")
    return number


def _code(text: object) -> str:
    return text if isinstance(text, str) and _CODE.fullmatch(text) else "declined"


def _money(minor_units: int, currency: str) -> Money:
    return Money(minor_units, currency.upper())


_STATUSES: Mapping[str, IntentStatus] = {
    "requires_payment_method": IntentStatus.REQUIRES_PAYMENT_METHOD,
    "requires_confirmation": IntentStatus.REQUIRES_CONFIRMATION,
    "requires_action": IntentStatus.REQUIRES_ACTION,
    "processing": IntentStatus.PROCESSING,
    "requires_capture": IntentStatus.REQUIRES_CAPTURE,
    "succeeded": IntentStatus.SUCCEEDED,
    "canceled": IntentStatus.CANCELED,
}
_OUTCOMES: Mapping[str, Outcome] = {
    "pending": Outcome.PENDING,
    "failed": Outcome.REFUSED,
    "succeeded": Outcome.SUCCEEDED,
}


def donation_id_of(shown: Mapping[str, Any]) -> str:
    metadata = shown.get("metadata")
    return str(metadata.get("donation_id", "")) if isinstance(metadata, Mapping) else ""
