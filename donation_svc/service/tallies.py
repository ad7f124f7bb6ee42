"""What totals are rebuilt from and verified against."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from giving.donation.v1 import donation_operations_service_pb2 as messages

from donation_svc import convert
from donation_svc.store.tallies import TallyStore

PAGE_DEFAULT = 1_000


class Tallies:
    """Tallies and changes for services that sum them up."""

    def __init__(self, store: TallyStore) -> None:
        self._store = store

    async def stream_tallies(self, campaign_id: UUID | None) -> AsyncGenerator[messages.StreamTalliesResponse, None]:
        """The snapshot, then every tally, then every return, all of one moment."""
        async with aclosing(self._store.stream(campaign_id)) as portions:
            async for portion in portions:
                yield convert.tallies_message(portion)
        yield messages.StreamTalliesResponse(complete=True)

    async def list_changes(self, request: messages.ListChangesRequest) -> messages.ListChangesResponse:
        """A page of changes after a position."""
        limit = min(request.page_size or PAGE_DEFAULT, PAGE_DEFAULT)
        position = convert.log_position(request.position) if request.HasField("position") else None
        rows, position, more = await self._store.changes(position, limit=limit)
        changes = [change for row in rows if (change := convert.moving_change(row, with_event=request.with_events))]
        return messages.ListChangesResponse(changes=changes, position=convert.log_position_message(position), more=more)
