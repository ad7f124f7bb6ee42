"""The demonstration's donations: planned by the client, delivered until acknowledged, summed by the client."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from giving_client import AsyncMeshClient, MeshError, RetryPolicy

from cli.books import Book, Line
from cli.refusal import CommandRefused

CURRENCIES = ("EUR", "USD")
MINOR_UNITS_MAX = 50_000
_DUPLICATE_SHARE = 0.05
_REVERSAL_SHARE = 0.05
_GIFTS_PER_DONOR = 4
# A killed server is back within seconds; one that is away for longer than these pauses, a minute at least, needs a person.
PATIENCE = RetryPolicy(attempts_max=120, pause_s_first=0.05, pause_s_max=1.0)


@dataclass(frozen=True, slots=True)
class Gift:
    """One donation. `reversed_units` of it go back; `copies` is how often it is sent."""

    payment_ref: str
    donor_id: str
    currency: str
    minor_units: int
    reversed_units: int
    copies: int


@dataclass(frozen=True, slots=True)
class Errand:
    charity_id: str
    campaign_id: str


def plan(*, seed: str, count: int) -> list[Gift]:
    """The same gifts for the same seed."""
    source = random.Random(seed)  # noqa: S311 - a demonstration, to be repeated
    donors = [str(uuid.UUID(int=source.getrandbits(128), version=4)) for _ in range(max(count // _GIFTS_PER_DONOR, 1))]
    return [_gift(source, payment_ref=f"demo-{seed}-{number}", donors=donors) for number in range(count)]


def _gift(source: random.Random, *, payment_ref: str, donors: list[str]) -> Gift:
    minor_units = source.randint(100, MINOR_UNITS_MAX)
    return Gift(
        payment_ref=payment_ref,
        donor_id=source.choice(donors),
        currency=source.choice(CURRENCIES),
        minor_units=minor_units,
        reversed_units=source.randint(1, minor_units) if source.random() < _REVERSAL_SHARE else 0,
        copies=2 if source.random() < _DUPLICATE_SHARE else 1,
    )


def summary(sent: list[Gift]) -> str:
    duplicates = sum(gift.copies > 1 for gift in sent)
    reversals = sum(gift.reversed_units > 0 for gift in sent)
    return f"{len(sent):,} donations in {' and '.join(CURRENCIES)}, {duplicates} sent twice, {reversals} taken back"


def book(sent: Iterable[Gift]) -> Book:
    """What every book has to say in the end."""
    by_currency: dict[str, list[Gift]] = defaultdict(list)
    for gift in sent:
        by_currency[gift.currency].append(gift)
    return {currency: _line(gifts) for currency, gifts in by_currency.items()}


def _line(gifts: list[Gift]) -> Line:
    gross = sum(gift.minor_units for gift in gifts)
    refunded = sum(gift.reversed_units for gift in gifts)
    return Line(
        net=gross - refunded,
        gross=gross,
        refunded=refunded,
        donations=len(gifts),
        donors=len({gift.donor_id for gift in gifts}),
    )


class Courier:
    """Delivers gifts by gRPC, each until it is acknowledged."""

    def __init__(self, mesh: AsyncMeshClient, errand: Errand) -> None:
        self._mesh = mesh
        self._errand = errand

    async def deliver(self, gift: Gift) -> None:
        """Raises CommandRefused when the mesh refuses it or does not take it within the bound."""
        try:
            await asyncio.gather(*(self._record(gift) for _ in range(gift.copies)))
            if gift.reversed_units:
                await self._reverse(gift)
        except MeshError as error:
            raise CommandRefused(f"a donation was not taken: {error}") from error

    async def _record(self, gift: Gift) -> None:
        await self._mesh.record_donation(
            payment_ref=gift.payment_ref,
            campaign_id=self._errand.campaign_id,
            minor_units=gift.minor_units,
            currency=gift.currency,
            donor_id=gift.donor_id,
        )

    async def _reverse(self, gift: Gift) -> None:
        await self._mesh.reverse_recorded_donation(
            refund_ref=f"back-{gift.payment_ref}",
            charity_id=self._errand.charity_id,
            payment_ref=gift.payment_ref,
            minor_units=gift.reversed_units,
            currency=gift.currency,
        )
