"""The settlement report: Stripe's itemised one, a line for each balance transaction."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from sandbox.stripe import money, payouts
from sandbox.stripe.refusals import missing_parameter
from sandbox.stripe.switches import Given
from sandbox.stripe.work import Work

COLUMNS = (
    "balance_transaction_id", "created_utc", "available_on_utc", "currency", "gross", "fee", "net", "reporting_category",
    "source_id", "description", "automatic_payout_id", "automatic_payout_effective_at_utc", "charge_id", "payment_intent_id",
)  # fmt: skip
_LINES_OF_A_PIECE = 500
_QUOTED = re.compile('[",\r\n]')


def asked(work: Work, given: Given) -> Callable[[Work], Iterator[str]]:
    """What yields the report of `payout`, or of the time from `start` until before `end`, in pieces.

    Raises:
        Refused: it is not said of what, or nobody knows what the payout contains.
    """
    if given.get("payout") is not None:
        payout = work.get("payout", given.text("payout"))
        payouts.check_contents_known(payout)
        return lambda reading: _pieces(reading.ask("itemised_payout", payout["id"]))
    start, end = _moment(given, "start"), _moment(given, "end")
    return lambda reading: _pieces(reading.ask("itemised", start, end))


def _moment(given: Given, name: str) -> int:
    moment = given.integer(name)
    if moment is None:
        raise missing_parameter(name)
    return moment


def _pieces(rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    yield _line(COLUMNS)
    lines = (_line(_fields(json.loads(row[0]), *row[1:])) for row in rows)
    while piece := "".join(islice(lines, _LINES_OF_A_PIECE)):
        yield piece


def _fields(
    entry: dict[str, Any], payout: str | None, effective_at: int | None, charge: str | None, intent: str | None
) -> tuple[str | None, ...]:
    """One value for each of `COLUMNS`."""
    gross, fee, net = (money.major(entry[name], entry["currency"]) for name in ("amount", "fee", "net"))
    return (
        entry["id"],
        _utc(entry["created"]),
        _utc(entry["available_on"]),
        entry["currency"],
        gross,
        fee,
        net,
        entry["reporting_category"],
        entry["source"],
        entry["description"],
        payout,
        None if effective_at is None else _utc(effective_at),
        charge,
        intent,
    )


def _utc(moment: int) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _line(fields: Iterable[str | None]) -> str:
    return ",".join(_field(field or "") for field in fields) + "\n"


def _field(text: str) -> str:
    """As RFC 4180 quotes. The csv module leaves a carriage return bare, which ends a line for others."""
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
