"""The demonstration's donations that are promised first and paid by the donor: planned and summed by the client."""

from __future__ import annotations

import enum
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from giving.donation.v1.donation_pb2 import Donation

from cli.books import Book, Line
from cli.gifts import CURRENCIES, MINOR_UNITS_MAX


class Course(enum.Enum):
    """What the donor does with his promise."""

    PAYS = "paid at once"
    PAYS_AFTER_DECLINE = "declined first"
    DECLINED = "declined for good"
    LEAVES = "never confirmed"


# In percent of all.
_SHARES = {Course.PAYS: 70, Course.PAYS_AFTER_DECLINE: 10, Course.DECLINED: 10, Course.LEAVES: 10}
DECLINED_CARD = "pm_card_chargeDeclined"
# The cards that the donor tries, one after the other.
CARDS: Mapping[Course, Sequence[str]] = {
    Course.PAYS: ("pm_card_visa",),
    Course.PAYS_AFTER_DECLINE: (DECLINED_CARD, "pm_card_mastercard"),
    Course.DECLINED: (DECLINED_CARD,),
    Course.LEAVES: (),
}
# Where the donation stands in the end.
ENDS: Mapping[Course, Donation.State.ValueType] = {
    Course.PAYS: Donation.STATE_SUCCEEDED,
    Course.PAYS_AFTER_DECLINE: Donation.STATE_SUCCEEDED,
    Course.DECLINED: Donation.STATE_FAILED,
    Course.LEAVES: Donation.STATE_AWAITING_PAYMENT,
}


@dataclass(frozen=True, slots=True)
class Promise:
    """One donation by a guest, who is known by his browser's `client_id` only."""

    request_id: str
    client_id: str
    currency: str
    minor_units: int
    course: Course

    @property
    def paid_units(self) -> int:
        """What arrives of it."""
        return self.minor_units if ENDS[self.course] == Donation.STATE_SUCCEEDED else 0


def plan(*, seed: str, count: int) -> list[Promise]:
    """The same promises for the same seed."""
    source = random.Random(f"promises {seed}")  # noqa: S311 - a demonstration, to be repeated
    return [_promise(source) for _ in range(count)]


def _promise(source: random.Random) -> Promise:
    return Promise(
        request_id=_uuid(source),
        client_id=_uuid(source),
        currency=source.choice(CURRENCIES),
        minor_units=source.randint(100, MINOR_UNITS_MAX),
        course=source.choices(list(_SHARES), weights=list(_SHARES.values()))[0],
    )


def _uuid(source: random.Random) -> str:
    return str(uuid.UUID(int=source.getrandbits(128), version=4))


def summary(promised: Iterable[Promise]) -> str:
    counts = Counter(promise.course for promise in promised)
    courses = ", ".join(f"{counts[course]} {course.value}" for course in Course)
    return f"{sum(counts.values()):,} promised and paid through the sandbox: {courses}"


def book(promised: Iterable[Promise]) -> Book:
    """What every book has to say of what was paid; guests are no known donors."""
    paid: dict[str, list[int]] = defaultdict(list)
    for promise in promised:
        if promise.paid_units:
            paid[promise.currency].append(promise.paid_units)
    return {
        currency: Line(net=sum(units), gross=sum(units), refunded=0, donations=len(units), donors=0)
        for currency, units in paid.items()
    }
