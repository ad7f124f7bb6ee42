"""A campaign's course by hour, day or month of a time zone, and who leads."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping
from functools import cache
from uuid import UUID

from giving.aggregate.v1 import aggregate_service_pb2 as messages

from aggregator_svc.domain.course import BUCKETS_MAX, Point, TooMany, Width, bounds
from aggregator_svc.domain.totals import Place
from aggregator_svc.refusals import CampaignNotFound
from aggregator_svc.store.statistics import StatisticsStore
from mesh import pages
from mesh.errors import InvalidArgument

PLACES_DEFAULT = 10
# Of calendars only what clocks have known since they are ours, and as far as anybody plans.
_YEARS = range(1970, 2200)
_WIDTHS: Mapping[int, Width] = {
    messages.GetStatsRequest.BUCKET_UNSPECIFIED: Width.DAY,
    messages.GetStatsRequest.BUCKET_HOUR: Width.HOUR,
    messages.GetStatsRequest.BUCKET_DAY: Width.DAY,
    messages.GetStatsRequest.BUCKET_MONTH: Width.MONTH,
}
_ABOVE_ALL = (2**63 - 1, pages.LAST)


class Statistics:
    """What happened when, and who leads."""

    def __init__(self, *, store: StatisticsStore, tokens: pages.PageTokens) -> None:
        self._store = store
        self._tokens = tokens

    async def get_stats(self, request: messages.GetStatsRequest) -> list[Point]:
        """Every bucket that the range touches and in which something happened, in order of time.

        Raises:
            CampaignNotFound: nothing is known of the campaign.
            InvalidArgument: the zone is unknown, or the range is none or has too many buckets.
        """
        campaign_id = UUID(request.campaign_id)
        points = await self._store.course(campaign_id, _bounds(request))
        if points is None:
            raise CampaignNotFound("no such campaign", campaign_id=campaign_id)
        return points

    async def list_leaderboard(self, request: messages.ListLeaderboardRequest) -> tuple[list[Place], str]:
        """A page of campaigns by net, largest first, and the token of the next.

        Raises:
            PageTokenInvalid: the token is foreign.
        """
        list_name = f"leaderboard {request.currency} {request.charity_id}"
        size = pages.page_size(request.page_size or PLACES_DEFAULT)
        after = self._tokens.read_ranked(request.page_token, list_name=list_name, start=_ABOVE_ALL)
        charity_id = UUID(request.charity_id) if request.charity_id else None
        found = await self._store.leaders(currency=request.currency, charity_id=charity_id, after=after, limit=size + 1)
        if len(found) <= size:
            return found, ""
        last = found[size - 1]
        return found[:size], self._tokens.make_ranked((last.totals.net, last.campaign_id), list_name=list_name)


def _bounds(request: messages.GetStatsRequest) -> list[datetime.datetime]:
    zone = request.time_zone or "UTC"
    if zone not in _zones():
        raise InvalidArgument.of("time_zone", "is not an IANA time zone")
    start = request.start_time.ToDatetime(tzinfo=datetime.UTC)
    end = request.end_time.ToDatetime(tzinfo=datetime.UTC)
    for field, moment in (("start_time", start), ("end_time", end)):
        if moment.year not in _YEARS:
            raise InvalidArgument.of(field, f"must lie in the years {_YEARS[0]} to {_YEARS[-1]}")
    if end <= start:
        raise InvalidArgument.of("end_time", "must be later than start_time")
    try:
        return bounds(start, end, width=_WIDTHS[request.bucket], zone=zoneinfo.ZoneInfo(zone))
    except TooMany:
        raise InvalidArgument.of("end_time", f"must not be more than {BUCKETS_MAX} buckets after start_time") from None


@cache
def _zones() -> frozenset[str]:
    """Every zone; finding them reads a folder."""
    return frozenset(zoneinfo.available_timezones())
