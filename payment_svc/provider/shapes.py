"""Stripe's objects as facts. They come as parsed JSON, from answers and from webhooks alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mesh.money import Money
from payment_svc.domain.facts import ChargeSeen, DisputeSeen, IntentSeen, RefundSeen
from payment_svc.domain.payments import DisputeState, IntentStatus, Outcome, Progress, ReturnsSaid

_ID = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
# The code of a refund that is none to us.
RELEASED = "released"
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


def charge_seen(shown: Mapping[str, Any], *, second: int) -> ChargeSeen:
    """A Charge as it was shown in a second of the provider's clock."""
    return ChargeSeen(
        charge_id=named(shown["id"]),
        amount=_money(shown["amount"], shown["currency"]),
        outcome=_OUTCOMES[shown["status"]],
        captured=int(shown.get("amount_captured") or 0),
        code=_code(_failure_of(shown)) if shown["status"] == "failed" else "",
        second=second_from(shown["created"]),
        said=ReturnsSaid(second, _given_back(shown), bool(shown.get("disputed"))),
    )


def _given_back(charge: Mapping[str, Any]) -> int:
    """What went back of the money that was taken. Stripe counts what a capture left of the authorisation as refunded too."""
    released = int(charge["amount"]) - int(charge.get("amount_captured") or 0)
    return max(int(charge.get("amount_refunded") or 0) - released, 0)


def refund_seen(shown: Mapping[str, Any], *, second: int) -> RefundSeen:  # noqa: ARG001 - its status moves one way only
    """A Refund as it was shown; what a capture left of the authorisation took nothing from us."""
    metadata = shown.get("metadata")
    if _is_release(shown):
        outcome, code = Outcome.REFUSED, RELEASED
    else:
        outcome = _REFUNDS[shown["status"]]
        code = _code(shown.get("failure_reason")) if outcome is Outcome.REFUSED else ""
    return RefundSeen(
        refund_id=named(shown["id"]),
        amount=_money(shown["amount"], shown["currency"]),
        outcome=outcome,
        second=second_from(shown["created"]),
        attempt_id=str(metadata.get("attempt_id", "")) if isinstance(metadata, Mapping) else "",
        code=code,
    )


def _is_release(refund: Mapping[str, Any]) -> bool:
    """Whether a refund, shown with its balance transaction, is only what a capture left of the authorisation.

    An event shows no more than the movement's id: a refund that it tells of counts until a listing tells what it was.
    """
    moved = refund.get("balance_transaction")
    return isinstance(moved, Mapping) and moved.get("reporting_category") == "partial_capture_reversal"


def dispute_seen(shown: Mapping[str, Any], *, second: int) -> DisputeSeen:  # noqa: ARG001 - its state moves one way only
    """A Dispute as it was shown, with the movements on our balance that came of it."""
    moved = [entry["amount"] for entry in shown.get("balance_transactions") or ()]
    return DisputeSeen(
        dispute_id=named(shown["id"]),
        amount=_money(shown["amount"], shown["currency"]),
        state=_DISPUTES[shown["status"]],
        withdrawals=sum(amount < 0 for amount in moved),
        reinstatements=sum(amount > 0 for amount in moved),
        reason=_code(shown.get("reason")),
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
# A refund that waits for the donor has left our balance like any other.
_REFUNDS: Mapping[str, Outcome] = {
    "pending": Outcome.PENDING,
    "requires_action": Outcome.PENDING,
    "succeeded": Outcome.SUCCEEDED,
    "failed": Outcome.REFUSED,
    "canceled": Outcome.REFUSED,
}
_DISPUTES: Mapping[str, DisputeState] = {
    "warning_needs_response": DisputeState.INQUIRY,
    "warning_under_review": DisputeState.INQUIRY,
    "warning_closed": DisputeState.INQUIRY_CLOSED,
    "prevented": DisputeState.INQUIRY_CLOSED,
    "needs_response": DisputeState.OPEN,
    "under_review": DisputeState.OPEN,
    "lost": DisputeState.LOST,
    "won": DisputeState.WON,
}


def donation_id_of(shown: Mapping[str, Any]) -> str:
    metadata = shown.get("metadata")
    return str(metadata.get("donation_id", "")) if isinstance(metadata, Mapping) else ""
