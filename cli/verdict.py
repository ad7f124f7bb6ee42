"""What the demonstration found, as tables and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from cli.books import Book, Expected, Part, Reading, Unreadable

_COLUMNS = ("donations", "gross", "refunded", "net", "donors")
# More would only push the first ones off the screen.
_WORDS_MAX = 10


@dataclass(frozen=True, slots=True)
class Found:
    """What the books say, and what does not hold between single charges and donations."""

    readings: Mapping[str, Reading]
    contradictions: Sequence[str]

    def agrees(self, expected: Expected) -> bool:
        return not self.contradictions and all(reading.agrees(expected) for reading in self.readings.values())


def show(console: Console, expected: Expected, found: Found) -> None:
    """A table for each currency, then what is wrong."""
    for currency in sorted(expected[Part.ALL]):
        console.print(_table(currency, expected, found))
    for name, reading in found.readings.items():
        if not reading.agrees(expected):
            reason = reading.book.reason if isinstance(reading.book, Unreadable) else "differs from what was sent"
            console.print(f"{name}: {reason}", style="red", markup=False, soft_wrap=True)
    for words in found.contradictions[:_WORDS_MAX]:
        console.print(words, style="red", markup=False, soft_wrap=True)
    agreed = found.agrees(expected)
    console.print("all books agree" if agreed else "the books do not agree", style="bold green" if agreed else "red")


def _table(currency: str, expected: Expected, found: Found) -> Table:
    table = Table("book", *_COLUMNS, title=f"{currency}, in minor units")
    for part in Part:
        if currency not in expected[part]:
            continue
        table.add_row(part.value, *_cells(expected[part], expected[part], currency), style="bold")
        for name, reading in found.readings.items():
            if reading.part is part:
                table.add_row(name, *_cells(reading.book, expected[part], currency))
        table.add_section()
    return table


def _cells(book: Book | Unreadable, expected: Book, currency: str) -> list[str]:
    line = None if isinstance(book, Unreadable) else book.get(currency)
    if line is None:
        return ["[red]missing[/]"] * len(_COLUMNS)
    return [_cell(getattr(line, name), getattr(expected[currency], name)) for name in _COLUMNS]


def _cell(value: int | None, wanted: int) -> str:
    if value is None:
        return "·"
    return f"{value:,}" if value == wanted else f"[red]{value:,} ({value - wanted:+,})[/]"
