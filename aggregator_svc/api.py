"""The gRPC edge: convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import grpc
from giving.aggregate.v1 import aggregate_service_pb2 as messages
from giving.aggregate.v1 import aggregate_service_pb2_grpc

from aggregator_svc import convert
from aggregator_svc.service.rebuilding import Rebuilds
from aggregator_svc.service.statistics import Statistics
from aggregator_svc.service.totals import Totals
from aggregator_svc.service.verification import Verification

Context = grpc.aio.ServicerContext[Any, Any]


class AggregateApi(aggregate_service_pb2_grpc.AggregateServiceServicer):
    """AggregateService."""

    def __init__(self, totals: Totals, statistics: Statistics, verification: Verification, rebuilds: Rebuilds) -> None:
        self._totals = totals
        self._statistics = statistics
        self._verification = verification
        self._rebuilds = rebuilds

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

    async def VerifyTotal(self, request: messages.VerifyTotalRequest, context: Context) -> messages.VerifyTotalResponse:
        drifts, donation_ids = await self._verification.verify_total(UUID(request.campaign_id))
        return messages.VerifyTotalResponse(drifts=map(convert.drift_message, drifts), donation_ids=map(str, donation_ids))

    async def RebuildTotals(
        self, request: messages.RebuildTotalsRequest, context: Context
    ) -> AsyncIterator[messages.RebuildTotalsResponse]:
        async with aclosing(self._rebuilds.rebuild_totals(request)) as course:
            async for progress in course:
                yield convert.progress_message(progress)

    async def GetStats(self, request: messages.GetStatsRequest, context: Context) -> messages.GetStatsResponse:
        points = await self._statistics.get_stats(request)
        return messages.GetStatsResponse(points=map(convert.point_message, points))

    async def ListLeaderboard(
        self, request: messages.ListLeaderboardRequest, context: Context
    ) -> messages.ListLeaderboardResponse:
        places, token = await self._statistics.list_leaderboard(request)
        return messages.ListLeaderboardResponse(places=map(convert.place_message, places), next_page_token=token)
