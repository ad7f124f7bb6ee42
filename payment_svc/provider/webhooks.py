"""Whether a webhook is Stripe's, and what it says."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import stripe
import structlog

from payment_svc.domain.facts import Fact
from payment_svc.domain.inbound import ProviderEvent, WebhookRefused
from payment_svc.provider.shapes import (
    charge_seen,
    dispute_seen,
    donation_id_of,
    intent_seen,
    named,
    refund_seen,
    second_from,
)

# What Stripe is asked to send. Others are taken, kept and have no effect.
EVENT_TYPES = (
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "charge.captured",
    "charge.expired",
    "charge.failed",
    "charge.pending",
    "charge.refunded",
    "charge.succeeded",
    "charge.updated",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
)
WEBHOOK_TOLERANCE_S = 300
# `t=…,v1=…[,v1=…]` as Stripe writes it. It signs with two secrets while one is rotated; more than ten parts are an attempt
# to make us hash, and other characters an attempt to make us stumble.
_HEADER = re.compile(r"t=([0-9]{1,12})(,v[0-9]=[0-9a-f]{1,128}){1,10}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_.]{1,100}", re.ASCII)
# The kind of object that an event shows → how its types begin, and what reads it. A refund has two families of events.
_READERS: Mapping[str | None, tuple[tuple[str, ...], Any]] = {
    "payment_intent": (("payment_intent.",), intent_seen),
    "charge": (("charge.",), charge_seen),
    "refund": (("refund.", "charge.refund."), refund_seen),
    "dispute": (("charge.dispute.",), dispute_seen),
}
# What reading JSON of a form that nobody promised may raise.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_log = structlog.get_logger()


class WebhookReader:
    """Reads webhooks of one account and mode."""

    def __init__(self, *, secrets: Sequence[str], live: bool) -> None:
        self._secrets = secrets
        self._live = live

    def read_webhook(self, body: bytes, signature: str) -> ProviderEvent:
        """The event, when one of our secrets signed these very bytes within five minutes of now.

        Raises:
            WebhookRefused: it does not prove its sender, or is no event of this mode.
        """
        self._demand_signed(body, signature)
        return self.read_stored(body)

    def read_stored(self, body: bytes) -> ProviderEvent:
        """The event in a body whose signature was verified when it came.

        Raises:
            WebhookRefused: it is no event of this mode.
        """
        try:
            event = json.loads(body)
            read = _event_from(event)
        except _UNREADABLE as error:
            raise WebhookRefused("signed, and no event") from error
        if event["livemode"] is not self._live:
            raise WebhookRefused("of the other mode")
        return read

    def _demand_signed(self, body: bytes, signature: str) -> None:
        header = _HEADER.fullmatch(signature)
        if not header or not self._signed_by_one(body, signature):
            raise WebhookRefused("not signed by one of our secrets")
        # The SDK refuses what is too old and accepts what is from the future, which could be replayed until then.
        if int(header[1]) > time.time() + WEBHOOK_TOLERANCE_S:
            raise WebhookRefused("from the future")

    def _signed_by_one(self, body: bytes, signature: str) -> bool:
        # Each secret is tried, so that time does not tell which of them is in use.
        return any([_signed(body, signature, secret) for secret in self._secrets])  # noqa: C419


def _signed(body: bytes, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body.decode(), signature, secret, tolerance=WEBHOOK_TOLERANCE_S)
    except (stripe.SignatureVerificationError, ValueError):
        return False
    return True


def _event_from(event: Mapping[str, Any]) -> ProviderEvent:
    shown, second = event["data"]["object"], second_from(event["created"])
    if not _TYPE.fullmatch(event["type"]):
        raise ValueError("no event of the provider is called like this")
    fact, flaw = _fact_of(str(event["type"]), shown, second=second)
    return ProviderEvent(
        event_id=named(event["id"]),
        type=event["type"],
        time=datetime.datetime.fromtimestamp(second, datetime.UTC),
        intent_id=_intent_id_of(shown),
        donation_id=donation_id_of(shown),
        fact=fact,
        # Events of connected accounts come to the same address; none of our payments is there.
        foreign=bool(event.get("account")),
        flaw=flaw,
    )


def _fact_of(event_type: str, shown: Mapping[str, Any], *, second: int) -> tuple[Fact | None, str]:
    """What the event says about a payment, or why an operator has to look at it."""
    begins, read = _READERS.get(shown.get("object"), ((), None))
    try:
        return (read(shown, second=second) if read and event_type.startswith(begins) else None), ""
    except _UNREADABLE as error:
        _log.error("an event of the provider cannot be read", type=event_type, exc_info=error)
        return None, "what it says about its object cannot be read"


def _intent_id_of(shown: Mapping[str, Any]) -> str:
    """The intent that an object is, or belongs to; empty where it is none of ours."""
    try:
        return named(shown.get("id") if shown.get("object") == "payment_intent" else shown.get("payment_intent"))
    except ValueError:
        return ""
