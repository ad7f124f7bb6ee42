"""Totals in PostgreSQL: the truth behind every other copy."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import astuple
from itertools import groupby
from typing import Any
from uuid import UUID

from aggregator_svc.domain.totals import CampaignTotals, CampaignWord, CurrencyTotals, Delta
from mesh.postgres import Connection, Database

PAGE = 500


class TotalsStore:
    """Totals, donors and applied events."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def apply(self, deltas: Sequence[Delta], words: Sequence[CampaignWord]) -> list[CampaignTotals]:
        """Counts events and learns campaigns in one transaction; returns the totals of every campaign named.

        Events that were counted before change nothing, but their campaigns are returned too: whoever was killed between
        this commit and Redis is repaired by the redelivery.
        """
        named = {delta.campaign_id for delta in deltas} | {word.campaign_id for word in words}
        return await self._database.run(lambda connection: self._apply(connection, deltas, words, named))

    async def _apply(
        self, connection: Connection, deltas: Sequence[Delta], words: Sequence[CampaignWord], named: Iterable[UUID]
    ) -> list[CampaignTotals]:
        await connection.execute(self._queries["join_writers"])
        if words:
            await connection.execute(self._queries["learn_campaigns"], *_word_columns(words))
        if deltas:
            await connection.execute(self._queries["apply_deltas"], *zip(*map(astuple, deltas), strict=True))
        return await self._read(connection, named)

    async def read(self, campaign_ids: Iterable[UUID]) -> list[CampaignTotals]:
        """Totals of campaigns; unknown ids are missing."""
        async with self._database.connection() as connection:
            return await self._read(connection, campaign_ids)

    async def _read(self, connection: Connection, campaign_ids: Iterable[UUID]) -> list[CampaignTotals]:
        return await read_totals(connection, self._queries, campaign_ids)

    async def changed_since(self, moment: datetime.datetime) -> AsyncIterator[list[CampaignTotals]]:
        """Totals of campaigns that changed since `moment`, in pages, the oldest change first."""
        last = moment, UUID(int=0)
        while True:
            async with self._database.connection() as connection:
                records = await connection.fetch(self._queries["changed_since"], *last, PAGE)
                totals = await self._read(connection, [record["id"] for record in records])
            if totals:
                yield totals
            if len(records) < PAGE:
                return
            last = records[-1]["as_of"], records[-1]["id"]

    async def page_after(self, campaign_id: UUID) -> list[CampaignTotals]:
        """A page of all totals by campaign id."""
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries["campaigns_after"], campaign_id)
            return await self._read(connection, [record["id"] for record in records])


async def read_totals(
    connection: Connection, queries: Mapping[str, str], campaign_ids: Iterable[UUID]
) -> list[CampaignTotals]:
    """Totals of campaigns in the caller's transaction; unknown ids are missing."""
    records = await connection.fetch(queries["totals"], list(campaign_ids))
    return [_totals(list(group)) for _, group in groupby(records, key=lambda record: record["id"])]


def _word_columns(words: Sequence[CampaignWord]) -> tuple[list[Any], ...]:
    """Columns of `learn_campaigns`; of several words about one campaign the newest."""
    newest = {word.campaign_id: word for word in sorted(words, key=lambda word: word.version)}
    listed = list(newest.values())
    return (
        [word.campaign_id for word in listed],
        [word.charity_id for word in listed],
        [",".join(word.currencies) for word in listed],
        [word.version for word in listed],
    )


def _totals(records: Sequence[Any]) -> CampaignTotals:
    first = records[0]
    moved = {record["currency"]: share(record) for record in records if record["currency"]}
    currencies = sorted({*moved, *first["currencies"]})
    shares = tuple(moved.get(currency) or CurrencyTotals(currency) for currency in currencies)
    return CampaignTotals(first["id"], shares, first["version"], first["as_of"])


def share(record: Any) -> CurrencyTotals:
    """One currency's figures of a row."""
    return CurrencyTotals(
        record["currency"],
        record["gross"],
        record["refunded"],
        record["disputed"],
        record["donations"],
        record["donors"],
    )
