"""Stripe's settlement report: CSV, a row for each balance transaction, read as it arrives."""

from __future__ import annotations

import codecs
import csv
import datetime
import re
from collections.abc import Iterator, Mapping, Sequence

from mesh.money import EXPONENTS, Money
from payment_svc.domain.settlement import Movement
from payment_svc.domain.settlement_files import FileRefused, Problem, Row
from payment_svc.provider.movements import category_from, currency_from
from payment_svc.provider.shapes import named

REQUIRED = (
    "balance_transaction_id", "created_utc", "currency", "gross", "fee", "net", "reporting_category", "source_id",
)  # fmt: skip
OPTIONAL = ("available_on_utc", "automatic_payout_id", "charge_id", "payment_intent_id")
# No row of Stripe's is nearly as long; without a bound an open quote would hold the whole file.
ROW_CHARACTERS_MAX = 65_536
_AMOUNT = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,6}))?", re.ASCII)
# So that the sums of the largest file stay below 2^63.
_UNITS_MAX = 10**12
# As far as clocks of the provider reach.
_YEAR_MIN, _YEAR_END = 1970, 2100
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
# Decimals of currencies that the mesh does not take: Stripe settles them with two.
_EXPONENT_ELSEWHERE = 2


class ReportReader:
    """Reads a report piece by piece, whatever the pieces; holds one row that has not ended, at most.

    Columns that it does not know are left aside, a byte order mark too.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._lines = 0
        self._header: Sequence[str] = ()
        self._places: Mapping[str, int] = {}

    def feed(self, piece: bytes) -> Iterator[Row]:
        """The rows that end in this piece.

        Raises:
            FileRefused: no report looks like this.
        """
        try:
            self._text += self._decoder.decode(piece)
        except UnicodeDecodeError as error:
            self._text += error.object[: error.start].decode()
            yield from self._ended_rows()
            raise FileRefused(Problem.NOT_UTF8, line=self._lines + 1 + self._text.count("\n")) from error
        yield from self._ended_rows()

    def end(self) -> None:
        """Says that nothing more comes.

        Raises:
            FileRefused: the last row has not ended, or there was none.
        """
        if self._text or self._decoder.getstate()[0]:
            raise FileRefused(Problem.TRUNCATED, line=self._lines + 1)
        if not self._header:
            raise FileRefused(Problem.COLUMNS_MISSING, line=1)

    def _ended_rows(self) -> Iterator[Row]:
        begin = 0
        for end in _row_ends(self._text):
            if end - begin > ROW_CHARACTERS_MAX:
                break
            text, line = self._text[begin:end], self._lines + 1
            self._lines += text.count("\n")
            begin = end
            yield from self._row(text, line)
        self._text = self._text[begin:]
        if len(self._text) > ROW_CHARACTERS_MAX:
            raise FileRefused(Problem.ROW_TOO_LONG, line=self._lines + 1)

    def _row(self, text: str, line: int) -> Iterator[Row]:
        fields = _fields(text, line)
        if not self._header:
            self._begin(fields)
        elif fields == self._header:
            raise FileRefused(Problem.HEADER_REPEATED, line=line)
        elif fields:
            yield Row(line, self._movement(fields, line))

    def _begin(self, header: Sequence[str]) -> None:
        places = {name: place for place, name in enumerate(header) if name in (*REQUIRED, *OPTIONAL)}
        if not places.keys() >= set(REQUIRED):
            raise FileRefused(Problem.COLUMNS_MISSING, line=1)
        if len(set(header)) < len(header):
            raise FileRefused(Problem.COLUMNS_REPEATED, line=1)
        self._header, self._places = header, places

    def _movement(self, fields: Sequence[str], line: int) -> Movement:
        if len(fields) != len(self._header):
            raise FileRefused(Problem.ROW_MALFORMED, line=line)
        given = {name: fields[place] for name, place in self._places.items()}
        try:
            movement = _movement(given)
            net = _units(given["net"], movement.amount.currency)
        except (ValueError, KeyError) as error:
            raise FileRefused(Problem.ROW_MALFORMED, line=line) from error
        if movement.net.minor_units != net:
            raise FileRefused(Problem.NET_DIFFERS, line=line)
        return movement


def _row_ends(text: str) -> Iterator[int]:
    """Where rows end: at line feeds that no quotes enclose, and quotes come in pairs."""
    begin, enclosed = 0, False
    while (found := text.find("\n", begin)) >= 0:
        enclosed ^= text.count('"', begin, found) % 2 == 1
        begin = found + 1
        if not enclosed:
            yield begin


def _fields(text: str, line: int) -> list[str]:
    """The fields of a row; none of a blank line."""
    try:
        rows = list(csv.reader([part + "\n" for part in text[:-1].split("\n")], strict=True))
    except csv.Error as error:
        raise FileRefused(Problem.NOT_CSV, line=line) from error
    if len(rows) != 1:
        raise FileRefused(Problem.NOT_CSV, line=line)
    return rows[0]


def _movement(given: Mapping[str, str]) -> Movement:
    currency = currency_from(given["currency"])
    available = given.get("available_on_utc")
    return Movement(
        id=named(given["balance_transaction_id"]),
        category=category_from(given["reporting_category"]),
        amount=Money(_units(given["gross"], currency), currency),
        fee=_units(given["fee"], currency),
        provider_time=_time(given["created_utc"]),
        available_time=_time(available) if available else None,
        source_id=_optional_id(given["source_id"]),
        charge_id=_optional_id(given.get("charge_id")),
        intent_id=_optional_id(given.get("payment_intent_id")),
        payout_id=_optional_id(given.get("automatic_payout_id")),
    )


def _optional_id(text: str | None) -> str:
    return named(text) if text else ""


def _time(text: str) -> datetime.datetime:
    if not _TIME.fullmatch(text):
        raise ValueError("no time of a report")
    time = datetime.datetime.fromisoformat(f"{text}+00:00")
    if not _YEAR_MIN <= time.year < _YEAR_END:
        raise ValueError("no time of the provider")
    return time


def _units(text: str, currency: str) -> int:
    """Minor units of an amount in major ones, digit by digit; decimals that the currency does not have must be zeros."""
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise ValueError("no amount of a report")
    exponent = EXPONENTS.get(currency, _EXPONENT_ELSEWHERE)
    decimals = (found[3] or "").ljust(exponent, "0")
    if decimals[exponent:].strip("0"):
        raise ValueError("more decimals than the currency has")
    units = int(found[2] + decimals[:exponent])
    if units > _UNITS_MAX:
        raise ValueError("no balance holds so many")
    return -units if found[1] else units
