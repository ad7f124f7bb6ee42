"""The gRPC edge: convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
from giving.aggregate.v1 import aggregate_service_pb2 as messages
from giving.aggregate.v1 import aggregate_service_pb2_grpc

from aggregator_svc import convert
from aggregator_svc.service.totals import Totals

Context = grpc.aio.ServicerContext[Any, Any]


class AggregateApi(aggregate_service_pb2_grpc.AggregateServiceServicer):
    """AggregateService."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    async def GetTotals(self, request: messages.GetTotalsRequest, context: Context) -> messages.GetTotalsResponse:
        totals = await self._totals.get_totals(UUID(request.campaign_id))
        return messages.GetTotalsResponse(totals=convert.totals_message(totals))

    async def WatchTotals(
        self, request: messages.WatchTotalsRequest, context: Context
    ) -> AsyncIterator[messages.WatchTotalsResponse]:
        watched = self._totals.watch_totals(UUID(request.campaign_id), after_version=request.after_version)
        async for totals in watched:
            yield messages.WatchTotalsResponse(totals=convert.totals_message(totals))

    async def FollowTotals(
        self, request: messages.FollowTotalsRequest, context: Context
    ) -> AsyncIterator[messages.FollowTotalsResponse]:
        async for changed in self._totals.follow_totals():
            yield messages.FollowTotalsResponse(totals=[convert.totals_message(totals) for totals in changed])
