"""Settlement files: what is wrong with one as a whole, and what became of its rows."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from payment_svc.domain.settlement import Movement


class Problem(enum.StrEnum):
    """Why a file is refused: the words of docs/reconciliation.md."""

    NOT_UTF8 = "not_utf8"
    NOT_CSV = "not_csv"
    COLUMNS_MISSING = "columns_missing"
    COLUMNS_REPEATED = "columns_repeated"
    HEADER_REPEATED = "header_repeated"
    ROW_MALFORMED = "row_malformed"
    ROW_TOO_LONG = "row_too_long"
    NET_DIFFERS = "net_differs"
    TRUNCATED = "truncated"
    SIZE_DIFFERS = "size_differs"
    HASH_DIFFERS = "hash_differs"
    TOTALS_DIFFER = "totals_differ"


class FileRefused(Exception):  # noqa: N818 - named for the fact
    """The file is of no use as a whole; `line` is where that shows, 0 where it shows nowhere."""

    def __init__(self, problem: Problem, *, line: int = 0) -> None:
        super().__init__(problem.value)
        self.problem = problem
        self.line = line


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file, by the number of its first line."""

    line: int
    movement: Movement


@dataclass(frozen=True, slots=True)
class SettlementFile:
    """What is known of a file before it is read: the hash and size that it has to have."""

    sha256: bytes
    name: str
    size_bytes: int
