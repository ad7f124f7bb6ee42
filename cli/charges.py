"""What the provider really took, held against what was promised and against the donations: charge by charge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg

from cli.books import READ_S_MAX, Book, Line
from cli.promises import ENDS, Promise

_PROMISED = """
SELECT id::text AS donation_id, currency, amount, gross, state FROM donation.donation
WHERE campaign_id = $1 AND origin = 1
"""


@dataclass(frozen=True, slots=True)
class Charged:
    """One intent of the provider with what became of it, in minor units."""

    donation_id: str
    currency: str
    amount: int
    captured: int
    successful_charges: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A promise as the donation service holds it."""

    donation_id: str
    currency: str
    amount: int
    gross: int
    state: int


async def read_charges(sandbox_url: str, *, key: str, campaign_id: str) -> list[Charged]:
    """What the sandbox's own book holds of a campaign."""
    headers = {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=READ_S_MAX)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout, raise_for_status=True) as session,
        session.get(f"{sandbox_url}/sandbox/book") as answer,
    ):
        entries = (await answer.json())["payment_intents"]
    return [_charged(entry) for entry in entries if entry["metadata"].get("campaign_id") == campaign_id]


def _charged(entry: Mapping[str, Any]) -> Charged:
    return Charged(
        donation_id=entry["metadata"]["donation_id"],
        currency=entry["currency"].upper(),
        amount=entry["amount"],
        captured=entry["captured"] - entry["refunded"] - entry["disputed"],
        successful_charges=entry["successful_charges"],
    )


async def read_promised(dsn: str, *, campaign_id: str) -> list[Stored]:
    """The campaign's promises in the donation service's database."""
    connection = await asyncpg.connect(dsn, timeout=READ_S_MAX, command_timeout=READ_S_MAX)
    try:
        rows = await connection.fetch(_PROMISED, campaign_id)
    finally:
        await connection.close(timeout=READ_S_MAX)
    return [Stored(**row) for row in rows]


def book(charges: Iterable[Charged]) -> Book:
    """What was taken, as a book."""
    taken: dict[str, list[int]] = defaultdict(list)
    for charge in charges:
        if charge.successful_charges:
            taken[charge.currency].append(charge.captured)
    return {currency: Line(net=sum(units), donations=len(units)) for currency, units in taken.items()}


def contradictions(promised: Mapping[str, Promise], charges: Sequence[Charged], stored: Sequence[Stored]) -> Iterator[str]:
    """What does not hold, in words. `promised`: by the donation's id."""
    for name, found in (("the sandbox", charges), ("the donation service", stored)):
        ids = [one.donation_id for one in found]
        yield from (f"{name} has {one}, which nobody promised" for one in set(ids) - promised.keys())
        yield from (f"{name} has {one} {ids.count(one)} times" for one in promised if ids.count(one) != 1)
    for charge in charges:
        if promise := promised.get(charge.donation_id):
            yield from _wrong_charge(promise, charge)
    for donation in stored:
        if promise := promised.get(donation.donation_id):
            yield from _wrong_donation(promise, donation)


def _wrong_charge(promise: Promise, charge: Charged) -> Iterator[str]:
    wanted = (promise.currency, promise.minor_units, promise.paid_units, int(promise.paid_units > 0))
    found = (charge.currency, charge.amount, charge.captured, charge.successful_charges)
    if found != wanted:
        names = "currency, amount, captured and successful charges"
        yield f"{charge.donation_id} ({promise.course.value}) has {names} {found} at the sandbox, not {wanted}"


def _wrong_donation(promise: Promise, donation: Stored) -> Iterator[str]:
    wanted = (promise.currency, promise.minor_units, promise.paid_units, ENDS[promise.course])
    found = (donation.currency, donation.amount, donation.gross, donation.state)
    if found != wanted:
        names = "currency, amount, gross and state"
        yield f"{donation.donation_id} ({promise.course.value}) has {names} {found}, not {wanted}"
