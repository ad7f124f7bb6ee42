"""Verifying a campaign's totals against the donations themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Protocol
from uuid import UUID

from aggregator_svc.domain.rebuilding import Base, Complete, Figures, Portion, Sums, Tally, nothing
from aggregator_svc.domain.totals import Drift
from aggregator_svc.refusals import CampaignNotFound
from aggregator_svc.store.verification import Books, Key, VerificationStore

# What is under way arrives within a second; a consumer that was restarted needs some.
PATIENCE_S = 10.0
DONATIONS_MAX = 100
# Parts of the ids, out of 256, that are looked into: a part of the donations is enough to see what is wrong.
PARTS_MAX = 8
_LOOK_AGAIN_S = 0.2


class Tallies(Protocol):
    """The donation service."""

    def tallies(self, campaign_id: UUID | None) -> AsyncGenerator[Portion, None]:
        """The base, then tallies, then returns.

        Raises:
            Refusal: it does not answer, or stopped before it had sent everything.
        """
        ...


class Verification:
    """Totals beside donations."""

    def __init__(self, *, store: VerificationStore, donations: Tallies, patience_s: float = PATIENCE_S) -> None:
        self._store = store
        self._donations = donations
        self._patience_s = patience_s

    async def verify_total(self, campaign_id: UUID) -> tuple[list[Drift], list[UUID]]:
        """By how much totals differ from donations in each currency, and donations behind that; nothing where they agree.

        Raises:
            CampaignNotFound: nothing is known of the campaign.
            Refusal: the donation service does not answer.
        """
        if not await self._store.knows(campaign_id):
            raise CampaignNotFound("no such campaign", campaign_id=campaign_id)
        drifts = await self._drifts(campaign_id)
        return drifts, await self._behind(campaign_id) if drifts else []

    async def _drifts(self, campaign_id: UUID) -> list[Drift]:
        sums = Sums(lambda tally: (tally.campaign_id, tally.currency))
        base = await self._read(campaign_id, sums)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while True:
            found = differing(await self._store.books(base, campaign_id), sums.found)
            if not found or loop.time() >= deadline:
                return [Drift(currency, *figures) for (_, currency), figures in sorted(found.items())]
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _behind(self, campaign_id: UUID) -> list[UUID]:
        """Donations that count otherwise than their events did, at most a hundred.

        Of a campaign that stands on a base, those that were settled since: of the others not every event was applied.
        """
        since = await self._store.base_time(campaign_id)
        settled_since = int(since.timestamp() * 1_000_000) if since else 0
        old: set[str] = set()

        def part(tally: Tally) -> Key | None:
            return (tally.currency, tally.donation_id[-2:]) if tally.time_us >= settled_since else None

        by_part = Sums(part)
        base = await self._read(campaign_id, by_part)
        counted = await self._store.counted_parts(campaign_id, base)
        parts = sorted({part for _, part in _unlike(counted, by_part.found)})[:PARTS_MAX]

        def one(tally: Tally) -> Key | None:
            if tally.donation_id[-2:] not in parts:
                return None
            if tally.time_us < settled_since:
                old.add(tally.donation_id)
                return None
            return tally.currency, tally.donation_id

        by_donation = Sums(one)
        base = await self._read(campaign_id, by_donation)
        counted = await self._store.counted_donations(campaign_id, base, parts)
        behind = {donation for _, donation in _unlike(counted, by_donation.found)} - old
        return [UUID(donation) for donation in sorted(behind)[:DONATIONS_MAX]]

    async def _read(self, campaign_id: UUID, sums: Sums) -> Base:
        base = Base(0, "", 0)
        async with aclosing(self._donations.tallies(campaign_id)) as portions:
            async for portion in portions:
                if isinstance(portion, Base):
                    base = portion
                elif not isinstance(portion, Complete):
                    sums.take(portion)
        return base


def differing(books: Books, tallies: Mapping[Key, Figures]) -> dict[Key, Figures]:
    """By how much totals differ from tallies and what was applied since, by campaign and currency; only where they do."""
    found = {}
    for key in books.totals.keys() | books.later.keys() | tallies.keys():
        rows = (books.totals.get(key), tallies.get(key), books.later.get(key))
        total, tally, later = (row or nothing() for row in rows)
        drift = [shown - known - new for shown, known, new in zip(total, tally, later, strict=True)]
        if any(drift):
            found[key] = drift
    return found


def _unlike(counted: Mapping[Key, Figures], tallies: Mapping[Key, Figures]) -> set[Key]:
    keys = counted.keys() | tallies.keys()
    return {key for key in keys if counted.get(key, nothing()) != tallies.get(key, nothing())}
