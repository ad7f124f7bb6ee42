"""What a rebuild reads: tallies of donations and what went back of them, summed up page by page.

Ids are texts here: most of them are only carried from one service's database to another's. Times are microseconds since
1970, amounts minor units.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

_SLOT_US = 900_000_000
# gross, refunded, disputed, donations.
Figures: TypeAlias = list[int]


@dataclass(frozen=True, slots=True)
class Base:
    """The state of the log that tallies are consistent with: its epoch, and a snapshot in PostgreSQL's text form."""

    epoch: int
    snapshot: str
    estimated: int


@dataclass(frozen=True, slots=True)
class Tally:
    """One donation that counts; `donor_id` is empty for a gift without a donor."""

    donation_id: str
    charity_id: str
    campaign_id: str
    donor_id: str
    currency: str
    gross: int
    refunded: int
    disputed: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Return:
    """One change of what went back of a donation."""

    campaign_id: str
    currency: str
    refunded: int
    disputed: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Complete:
    """Nothing is missing."""


Portion: TypeAlias = Base | Sequence[Tally] | Sequence[Return] | Complete


@dataclass(slots=True)
class Progress:
    """How far a rebuild is. `repaired`: None before its end."""

    done: int = 0
    estimated: int = 0
    repaired: int | None = None


def nothing() -> Figures:
    return [0, 0, 0, 0]


def add(to: Figures, gross: int, refunded: int, disputed: int, donations: int) -> None:
    to[0] += gross
    to[1] += refunded
    to[2] += disputed
    to[3] += donations


def _sums() -> defaultdict[tuple[str, int, str], Figures]:
    return defaultdict(nothing)


@dataclass(slots=True)
class Page:
    """What a portion adds: by campaign, slot and currency; and who gave, by campaign and currency."""

    course: defaultdict[tuple[str, int, str], Figures] = field(default_factory=_sums)
    donors: set[tuple[str, str, str]] = field(default_factory=set)


@dataclass(slots=True)
class Course:
    """Sums portions up into pages. Knows at the end what went back without anybody having said when."""

    charities: dict[str, str] = field(default_factory=dict)
    donations: int = 0
    _undated: defaultdict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def page(self, portion: Iterable[Tally | Return]) -> Page:
        """What a portion adds."""
        page = Page()
        for item in portion:
            if isinstance(item, Tally):
                self._take(page, item)
            else:
                self._take_back(page, item)
        return page

    def _take(self, page: Page, tally: Tally) -> None:
        self.donations += 1
        self.charities[tally.campaign_id] = tally.charity_id
        add(page.course[tally.campaign_id, _slot(tally.time_us), tally.currency], tally.gross, 0, 0, 1)
        if tally.refunded or tally.disputed:
            undated = self._undated[tally.campaign_id, tally.currency]
            undated[0] += tally.refunded
            undated[1] += tally.disputed
        if tally.donor_id:
            page.donors.add((tally.campaign_id, tally.currency, tally.donor_id))

    def _take_back(self, page: Page, change: Return) -> None:
        slot = change.campaign_id, _slot(change.time_us), change.currency
        add(page.course[slot], 0, change.refunded, change.disputed, 0)
        undated = self._undated[change.campaign_id, change.currency]
        undated[0] -= change.refunded
        undated[1] -= change.disputed

    def rest(self, now: datetime.datetime) -> Page:
        """What went back without a time, as of now: what a course sums to is what tallies say, whatever a trail lacks."""
        page, slot = Page(), _slot(int(now.timestamp()) * 1_000_000)
        for (campaign_id, currency), (refunded, disputed) in self._undated.items():
            if refunded or disputed:
                add(page.course[campaign_id, slot, currency], 0, refunded, disputed, 0)
        return page


@dataclass(slots=True)
class Sums:
    """Tallies summed up by a key of theirs."""

    key: Callable[[Tally], tuple[str, str] | None]
    found: defaultdict[tuple[str, str], Figures] = field(default_factory=lambda: defaultdict(nothing))
    donations: int = 0

    def take(self, portion: Iterable[Tally | Return]) -> None:
        for item in portion:
            if isinstance(item, Tally):
                self.donations += 1
                key = self.key(item)
                if key:
                    add(self.found[key], item.gross, item.refunded, item.disputed, 1)


def _slot(time_us: int) -> int:
    return time_us - time_us % _SLOT_US
