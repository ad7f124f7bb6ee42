"""Stripe's balance transactions as movements. They come as parsed JSON, each with the object that moved the money."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from mesh.money import Money
from payment_svc.domain.settlement import Movement
from payment_svc.provider.shapes import named, second_from

_CATEGORY = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
# Far above what any account moves, and far below what a bigint holds.
UNITS_MAX = 10**15


def movement_from(shown: Mapping[str, Any]) -> Movement:
    """A BalanceTransaction whose source is expanded.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    source = shown["source"]
    movement = Movement(
        id=named(shown["id"]),
        category=category_from(shown["reporting_category"]),
        amount=Money(units_from(shown["amount"]), currency_from(shown["currency"])),
        fee=units_from(shown["fee"]),
        provider_time=_time(shown["created"]),
        converted=shown.get("exchange_rate") is not None,
        available_time=_time(shown["available_on"]),
        **_ids_of(source) if isinstance(source, Mapping) else {"source_id": named(source) if source else ""},
    )
    if movement.net.minor_units != shown["net"]:
        raise ValueError("what is left is not the amount less the fee")
    return movement


def _ids_of(source: Mapping[str, Any]) -> dict[str, str]:
    kind, source_id = source.get("object"), named(source["id"])
    return {
        "source_id": source_id,
        "charge_id": source_id if kind == "charge" else _id_of(source.get("charge")),
        "intent_id": _id_of(source.get("payment_intent")),
        "payout_id": source_id if kind == "payout" else "",
    }


def _id_of(thing: object) -> str:
    """The id of an object that is shown by its id or whole; empty where there is none."""
    found = thing.get("id") if isinstance(thing, Mapping) else thing
    return named(found) if found else ""


def _time(second: object) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(second_from(second), datetime.UTC)


def units_from(number: object) -> int:
    """Minor units.

    Raises:
        ValueError: no balance holds so many.
    """
    if type(number) is not int or abs(number) > UNITS_MAX:
        raise ValueError("no amount of the provider")
    return number


def category_from(text: object) -> str:
    """A reporting category.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or not _CATEGORY.fullmatch(text):
        raise ValueError("no category of the provider")
    return text


def currency_from(text: object) -> str:
    """A currency in capitals; the provider writes it small.

    Raises:
        ValueError: it is none.
    """
    code = text.upper() if isinstance(text, str) else ""
    if not _CURRENCY.fullmatch(code):
        raise ValueError("no currency")
    return code
