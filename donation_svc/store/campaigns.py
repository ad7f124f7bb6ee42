"""Campaigns and what they take."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from itertools import groupby
from uuid import UUID

from donation_svc.domain.causes import Campaign, CampaignState, CharityState
from donation_svc.store import rows
from mesh.events.log import EventLog, NewEvent
from mesh.fence import Fence
from mesh.postgres import Connection, Database


class CampaignStore:
    """Campaigns in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str], log: EventLog) -> None:
        self._database = database
        self._queries = queries
        self._log = log

    async def insert(self, campaign: Campaign, fence: Fence, event: NewEvent) -> tuple[UUID, int] | None:
        """Stores and announces a new campaign; otherwise the earlier one's id and the digest of its request."""
        async with self._database.transaction() as connection:
            if await self._insert_row(connection, campaign, fence):
                await self._insert_rules(connection, campaign)
                await self._log.append(connection, [event])
                return None
        return await self.by_fence(campaign.charity_id, fence)

    async def by_fence(self, charity_id: UUID, fence: Fence) -> tuple[UUID, int] | None:
        """The id of what an earlier request created, and the digest of that request."""
        async with self._database.connection() as connection:
            earlier = await connection.fetchrow(self._queries["campaign_by_request"], charity_id, fence.key)
        return (earlier["id"], earlier["request_digest"]) if earlier else None

    async def _insert_row(self, connection: Connection, campaign: Campaign, fence: Fence) -> bool:
        created = await connection.fetchval(
            self._queries["insert_campaign"],
            campaign.id,
            campaign.charity_id,
            campaign.display_name,
            campaign.description,
            campaign.state,
            campaign.start_time,
            campaign.end_time,
            fence.key,
            fence.digest,
            fence.caller,
            fence.correlation_id,
            campaign.create_time,
            campaign.accepts_deferred,
        )
        return created is not None

    async def _insert_rules(self, connection: Connection, campaign: Campaign) -> None:
        await connection.executemany(
            self._queries["insert_currency_rules"],
            [
                (
                    campaign.id,
                    campaign.charity_id,
                    rule.currency,
                    rule.minor_units_min,
                    rule.minor_units_max,
                    rule.presets,
                    rule.goal,
                )
                for rule in campaign.rules.values()
            ],
        )

    async def get_many(self, campaign_ids: Iterable[UUID]) -> dict[UUID, tuple[Campaign, CharityState]]:
        """Campaigns by id, each with the state of its charity; unknown ids are missing."""
        async with self._database.connection() as connection:
            return await self.get_in(connection, campaign_ids)

    async def get_in(
        self, connection: Connection, campaign_ids: Iterable[UUID]
    ) -> dict[UUID, tuple[Campaign, CharityState]]:
        """The same inside a transaction."""
        records = await connection.fetch(self._queries["campaigns"], list(campaign_ids))
        records.sort(key=lambda record: record["id"])
        return {
            campaign_id: (rows.campaign(group), CharityState(group[0]["charity_state"]))
            for campaign_id, grouped in groupby(records, key=lambda record: record["id"])
            if (group := list(grouped))
        }

    async def lock(self, connection: Connection, campaign_id: UUID) -> Campaign | None:
        """The campaign, locked until the transaction ends."""
        if await connection.fetchval(self._queries["lock_campaign"], campaign_id) is None:
            return None
        return (await self.get_in(connection, [campaign_id]))[campaign_id][0]

    async def set_state(
        self, connection: Connection, campaign_id: UUID, state: CampaignState, fence: Fence, *, now: datetime.datetime
    ) -> None:
        await connection.execute(
            self._queries["set_campaign_state"], campaign_id, state, fence.caller, fence.correlation_id, now
        )

    async def page(self, charity_id: UUID, *, before: UUID, limit: int) -> list[Campaign]:
        """Campaigns of a charity, newest first, whose id is below `before`."""
        async with self._database.connection() as connection:
            records = await connection.fetch(self._queries["campaign_ids_of_charity"], charity_id, before, limit)
            found = await self.get_in(connection, [record["id"] for record in records])
        return [found[record["id"]][0] for record in records]
