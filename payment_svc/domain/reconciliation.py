"""How the provider's balance stands beside our books: what does not match, and what a day comes to."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from mesh.money import Money
from payment_svc.domain.settlement import ItemClass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that matches, or does not.

    `time` is when the provider booked it, or where it did not, since when we have; `name` tells findings of one time apart.
    Amounts are None where a side has none.
    """

    item_class: ItemClass
    time: datetime.datetime
    name: str
    movement_id: str
    source_id: str
    payment_id: str
    provider_amount: Money | None
    our_amount: Money | None


# What an operator may do, as names of RPCs.
ACTIONS: Mapping[ItemClass, tuple[str, ...]] = {
    ItemClass.MISSING_IN_BOOKS: ("AskProvider",),
    ItemClass.AMOUNT_MISMATCH: ("AskProvider",),
    ItemClass.MISSING_AT_PROVIDER: ("AskProvider", "UploadSettlement"),
    ItemClass.FEE_MISMATCH: ("UploadSettlement",),
}


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a class there are in a currency, and what they leave on the balance together."""

    item_class: ItemClass
    count: int
    net: Money


@dataclass(frozen=True, slots=True)
class Footing:
    """A currency's day: what the provider's balance says moved, what was posted for that, what stands on the clearing."""

    currency: str
    provider_net: int
    ledger_net: int
    outstanding: int


@dataclass(frozen=True, slots=True)
class Report:
    """A day. `unposted`: movements that wait for their posting."""

    tallies: tuple[Tally, ...]
    footings: tuple[Footing, ...]
    unposted: int

    @property
    def foots(self) -> bool:
        """Whether everything is posted, and to the cent what it moved."""
        return not self.unposted and all(one.provider_net == one.ledger_net for one in self.footings)
