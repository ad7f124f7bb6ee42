"""Payment methods: of test numbers, as browsers send them, and of test aliases, as servers name them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from sandbox.stripe import cards, own, params
from sandbox.stripe.cards import Card
from sandbox.stripe.params import Table
from sandbox.stripe.refusals import Refused, malformed, missing_parameter
from sandbox.stripe.shapes import paying
from sandbox.stripe.work import Object, Work

_ADDRESS: Table = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), params.unsettable)
_BILLING = params.fields(
    {**dict.fromkeys(("email", "name", "phone", "tax_id"), params.unsettable), "address": params.fields(_ADDRESS)}
)
_CARD = params.fields(
    {
        "number": params.text,
        "exp_month": params.integer,
        "exp_year": params.integer,
        "cvc": params.text,
        "token": params.text,
        "networks": params.anything,
    }
)
# What Stripe.js tells of the browser beside what the donor typed.
_TOLD_BY_BROWSERS: Table = dict.fromkeys(
    (
        "guid",
        "muid",
        "sid",
        "pasted_fields",
        "payment_user_agent",
        "referrer",
        "time_on_page",
        "client_attribution_metadata",
    ),
    params.anything,
)
METHOD: Table = {
    "type": params.one_of("card", "us_bank_account"),
    "card": _CARD,
    "us_bank_account": params.fields(
        dict.fromkeys(("account_number", "routing_number", "account_holder_type"), params.text)
    ),
    "billing_details": _BILLING,
    "metadata": params.metadata,
    "allow_redisplay": params.one_of("always", "limited", "unspecified"),
    "radar_options": params.anything,
    **_TOLD_BY_BROWSERS,
}
METHOD_DATA = params.fields(METHOD, "type")
_YEARS = 2000


def make(work: Work, given: Mapping[str, Any]) -> Object:
    """A new one from read parameters.

    Raises:
        Refused: no card has such a number, or it has expired.
    """
    card, expiry = _card(work, given)
    method = paying.method(card, {**given, **expiry}, now=work.now)
    own.own(method)["number"] = card.number
    return work.add(method)


def find(work: Work, name: str, *, param: str = "payment_method") -> Object:
    """A payment method by its id, or a new one of a test alias, as each use of an alias gives."""
    card = cards.by_alias().get(name)
    if card is None:
        return work.get("payment_method", name, param=param)
    method = paying.method(card, {}, now=work.now)
    own.own(method)["number"] = card.number
    return work.add(method)


def _card(work: Work, given: Mapping[str, Any]) -> tuple[Card, dict[str, int]]:
    if given.get("type") == "us_bank_account":
        return _account(given), {}
    if "card" not in given:
        raise missing_parameter("card")
    details = given["card"]
    if "token" in details:
        return _of_token(details["token"]), {}
    for name in ("number", "exp_month", "exp_year"):
        if name not in details:
            raise missing_parameter(f"card[{name}]")
    expiry = {"exp_month": details["exp_month"], "exp_year": details["exp_year"]}
    _check_expiry(expiry, now=work.now)
    return _of_number(details["number"]), expiry


def _of_token(token: str) -> Card:
    card = cards.by_alias().get(token)
    if card is None:
        raise Refused(f"No such token: '{token}'", code="resource_missing", param="card[token]")
    return card


def _of_number(number: str) -> Card:
    digits = number.replace(" ", "").replace("-", "")
    if not digits.isdecimal() or not cards.is_plausible(digits):
        raise _wrong("incorrect_number", "Your card number is incorrect.", "number")
    card = cards.by_number().get(digits)
    if card is None:
        message = "Your card was declined. Your request was in test mode, but used a non test card."
        raise _wrong("card_declined", message, "number", decline_code="test_mode_live_card")
    return card


def _check_expiry(expiry: Mapping[str, int], *, now: int) -> None:
    today = datetime.datetime.fromtimestamp(now, datetime.UTC)
    month, year = expiry["exp_month"], expiry["exp_year"]
    year += _YEARS if year < 100 else 0  # noqa: PLR2004 - two digits
    if not 1 <= month <= 12:  # noqa: PLR2004
        raise _wrong("invalid_expiry_month", "Your card's expiration month is invalid.", "exp_month")
    if (year, month) < (today.year, today.month):
        raise _wrong("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")


def _account(given: Mapping[str, Any]) -> Card:
    account = given.get("us_bank_account") or {}
    card = cards.by_number().get(account.get("account_number", ""))
    if card is None or card.kind != "us_bank_account":
        message = "You must use a test bank account number in test mode."
        raise malformed(message, param="us_bank_account[account_number]", code="account_number_invalid")
    return card


def _wrong(code: str, message: str, param: str, **more: Any) -> Refused:
    return Refused(message, status=402, kind="card_error", code=code, param=param, **more)
