"""Courses and leaderboards in PostgreSQL."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from aggregator_svc.domain.course import Point
from aggregator_svc.domain.totals import CurrencyTotals, Place
from aggregator_svc.store.totals import share
from mesh.postgres import Database


class StatisticsStore:
    """What happened when, and who leads."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def course(self, campaign_id: UUID, bounds: Sequence[datetime.datetime]) -> list[Point] | None:
        """What happened between neighbouring bounds, without those between which nothing did; None: no such campaign."""
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries["course"], campaign_id, bounds)
            known = bool(records) or await connection.fetchval(self._queries["campaign_known"], campaign_id)
        if not known:
            return None
        buckets = groupby(records, key=lambda record: record["bucket"])
        return [Point(bounds[bucket], tuple(map(_happened, group))) for bucket, group in buckets]

    async def leaders(self, *, currency: str, charity_id: UUID | None, after: tuple[int, UUID], limit: int) -> list[Place]:
        """Campaigns by net, largest first, after a net and a campaign; of one charity only, where it is given."""
        arguments = [currency, *after, limit]
        name = "leaders"
        if charity_id:
            name, arguments = "leaders_of_charity", [*arguments, charity_id]
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries[name], *arguments)
        return [Place(record["campaign_id"], share(record)) for record in records]


def _happened(record: Any) -> CurrencyTotals:
    return CurrencyTotals(record["currency"], record["gross"], record["refunded"], record["disputed"], record["donations"])
