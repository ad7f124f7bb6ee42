"""What the provider's balance says moved, and what that is beside our own books."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from mesh.money import Money


class ItemClass(enum.StrEnum):
    """The classes of docs/reconciliation.md."""

    MATCHED = "matched"
    IMPORTED = "imported"
    DUPLICATE = "duplicate"
    AMOUNT_MISMATCH = "amount_mismatch"
    FEE_MISMATCH = "fee_mismatch"
    UNKNOWN_SOURCE = "unknown_source"
    MISSING_IN_BOOKS = "missing_in_books"
    MISSING_AT_PROVIDER = "missing_at_provider"


# What nobody has to look at.
AGREEING = (ItemClass.MATCHED, ItemClass.IMPORTED)


class Origin(enum.StrEnum):
    """Who said what a movement is."""

    API = "api"
    FILE = "file"


# The provider's reporting categories of what payments move. Every other one belongs to no payment.
OF_PAYMENTS = frozenset(
    {
        "charge",
        "charge_failure",
        "refund",
        "refund_failure",
        "partial_capture_reversal",
        "dispute",
        "dispute_reversal",
    }
)
# Movements that our books take as they come: nothing of ours speaks of them.
TAKEN_AS_THEY_COME = frozenset({"fee", "payout", "payout_reversal"})


@dataclass(frozen=True, slots=True)
class Movement:
    """A balance transaction of the provider: what moved on our balance there, positive towards us.

    `amount` less `fee` is what is left, all in the balance's currency. `source_id` is what moved it: a charge, a refund, a
    dispute, a payout. `converted` says whether it was exchanged on its way; None where that is not said. Ids are empty where
    there is none.
    """

    id: str
    category: str
    amount: Money
    fee: int
    provider_time: datetime.datetime
    source_id: str = ""
    charge_id: str = ""
    intent_id: str = ""
    payout_id: str = ""
    available_time: datetime.datetime | None = None
    converted: bool | None = None

    @property
    def net(self) -> Money:
        """What is left of it on the balance."""
        return Money(self.amount.minor_units - self.fee, self.amount.currency)


@dataclass(frozen=True, slots=True)
class MovementPage:
    """A page of the provider's list of movements, newest first; `time` by its own clock."""

    movements: tuple[Movement, ...]
    more: bool
    time: datetime.datetime


@dataclass(frozen=True, slots=True)
class Ours:
    """What our books say of a movement: whose payment it belongs to, and what moved there in the payment's currency.

    `minor_units` is None where the payment is ours and its books have no such movement (yet).
    """

    payment_id: UUID
    charity_id: UUID
    campaign_id: UUID
    currency: str
    minor_units: int | None


def classed(movement: Movement, ours: Ours | None) -> ItemClass:
    """What a movement is beside our books as they stand."""
    if movement.category in TAKEN_AS_THEY_COME:
        return ItemClass.MATCHED
    if ours is None or movement.category not in OF_PAYMENTS:
        return ItemClass.UNKNOWN_SOURCE
    if ours.minor_units is None:
        return ItemClass.MISSING_IN_BOOKS
    return ItemClass.MATCHED if _agree(movement, ours, ours.minor_units) else ItemClass.AMOUNT_MISMATCH


def _agree(movement: Movement, ours: Ours, minor_units: int) -> bool:
    if ours.currency == movement.amount.currency:
        return minor_units == movement.amount.minor_units
    # What was exchanged is another number; the direction is the same.
    return movement.converted is not False and (minor_units < 0) == (movement.amount.minor_units < 0)


# How long after a look what does not agree yet is looked at again; then it stays as it is, listed. A payment of ours may
# learn of it for a month. What belongs to nobody of ours is looked at again in case the payment was only late.
_DAY = datetime.timedelta(days=1)
_SOON = tuple(datetime.timedelta(seconds=seconds) for seconds in (30, 120, 600, 3600, 21600))
_LATER = (datetime.timedelta(minutes=10), datetime.timedelta(hours=1), _DAY)
LOOK_AGAIN: Mapping[ItemClass, tuple[datetime.timedelta, ...]] = {
    ItemClass.MISSING_IN_BOOKS: (*_SOON, *[_DAY] * 30),
    ItemClass.AMOUNT_MISMATCH: _LATER,
    ItemClass.UNKNOWN_SOURCE: _LATER,
}
# While the provider does not answer, or may not be asked.
ASK_AGAIN = datetime.timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Item:
    """A movement as it stands: how it was taken for, and whether it was posted like that.

    `looks` counts how often it was looked at. `file` and `line`: where it was read, if in a file.
    """

    movement: Movement
    item_class: ItemClass
    origin: Origin
    ours: Ours | None = None
    posted: bool = False
    looks: int = 0
    next_look_time: datetime.datetime | None = None
    file: bytes | None = None
    line: int | None = None


def looked_at(item: Item, ours: Ours | None, *, now: datetime.datetime, asked: bool = True) -> Item:
    """The item after a look into our books; what agrees only now was missing there before.

    What belongs to nobody of ours is posted on the provider's own word only: a file may say anything.

    `asked`: the provider has answered about what our books lack; a look without that does not count.
    """
    ours = ours if item.movement.category in OF_PAYMENTS else None
    found = classed(item.movement, ours)
    late = item.item_class not in (ItemClass.MATCHED, ItemClass.AMOUNT_MISMATCH)
    if found is ItemClass.MATCHED and late:
        found = ItemClass.IMPORTED
    posted = item.posted or ours is not None or item.origin is Origin.API
    after = replace(item, item_class=found, ours=ours, posted=posted)
    if found is ItemClass.MISSING_IN_BOOKS and not asked:
        return replace(after, next_look_time=now + ASK_AGAIN)
    waits = LOOK_AGAIN.get(found, ())
    again = now + waits[item.looks] if item.looks < len(waits) else None
    if again is None and not posted:
        # The provider may list it late; it costs one look a day.
        again = now + _DAY
    return replace(after, looks=item.looks + 1, next_look_time=again)


def owner(before: Item, after: Item) -> Ours | None:
    """Whose posting a look makes: what was posted for a payment before is taken back there."""
    return after.ours or (before.ours if before.posted else None)


def differing(known: Movement, said: Movement) -> ItemClass | None:
    """In what two sayings about the same movement differ; None where they agree."""
    if known.amount != said.amount:
        return ItemClass.AMOUNT_MISMATCH
    return ItemClass.FEE_MISMATCH if known.fee != said.fee else None
