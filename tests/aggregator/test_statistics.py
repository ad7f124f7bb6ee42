"""Statistics over time, as SQL says them, and leaderboards."""

from __future__ import annotations

import datetime
import itertools
import random
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as messages

from aggregator_svc.domain.course import BUCKETS_MAX, TooMany, Width, bounds
from aggregator_svc.refusals import CampaignNotFound
from aggregator_svc.service.statistics import Statistics
from aggregator_svc.store.statistics import StatisticsStore
from mesh.errors import InvalidArgument, PageTokenInvalid
from mesh.pages import PageTokens
from mesh.postgres import load_queries
from tests.support.books import reading
from tests.support.counting import Counting, delta
from tests.support.giving import Cause, gift, reversal, totals_of
from tests.support.mesh import Mesh
from tests.support.waiting import until

WIDTHS = {"hour": "BUCKET_HOUR", "day": "BUCKET_DAY", "month": "BUCKET_MONTH"}
# Around each of them a clock is changed somewhere: by an hour, by half an hour; some never change, and stand odd.
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Asia/Kolkata", "UTC", "Africa/Cairo", "Pacific/Chatham")
FIRST = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)
# date_trunc knows zones too, from PostgreSQL's own tables: nothing of it is ours.
REFERENCE = """
SELECT date_trunc($2, time, $3) AS start, currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
       sum(disputed)::bigint AS disputed, sum(donations)::bigint AS donations
FROM applied
WHERE campaign_id = $1 AND date_trunc($2, time, $3) >= date_trunc($2, $4::timestamptz, $3) AND
      date_trunc($2, time, $3) < $5
GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Desk:
    counting: Counting
    statistics: Statistics

    async def course(self, campaign_id: UUID, **more: Any) -> list[tuple[Any, ...]]:
        """Rows as the reference has them."""
        points = await self.statistics.get_stats(asking(campaign_id, **more))
        return [
            (point.start_time, share.currency, share.gross, share.refunded, share.disputed, share.donations)
            for point in points
            for share in point.currencies
        ]


@pytest.fixture
def desk(parts: Counting) -> Desk:
    store = StatisticsStore(parts.database, load_queries("aggregator_svc"))
    return Desk(parts, Statistics(store=store, tokens=PageTokens(b"k" * 32)))


def asking(
    campaign_id: UUID,
    start: datetime.datetime = FIRST,
    end: datetime.datetime = FIRST + datetime.timedelta(days=30),
    width: str = "day",
    zone: str = "UTC",
) -> messages.GetStatsRequest:
    request = messages.GetStatsRequest(campaign_id=str(campaign_id), bucket=WIDTHS[width], time_zone=zone)
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    return request


@pytest.mark.requirement("TOT-9")
async def test_statistics_are_what_sql_says_over_clock_changes_and_with_what_went_back(desk: Desk) -> None:
    for seed in range(2):
        draw, campaign = random.Random(seed), uuid4()
        deltas = [
            delta(
                campaign,
                gross := draw.choice([0, draw.randint(1, 1000)]),
                time=FIRST + datetime.timedelta(seconds=draw.randrange(86400 * 400)),
                currency=draw.choice(["USD", "EUR"]),
                refunded=draw.choice([0, 0, 7, -7]),
                disputed=draw.choice([0, 0, 5, -5]),
                donations=int(gross > 0),
            )
            for _ in range(1500)
        ]
        # More of them where clocks change: spring and autumn in Europe, America and on the Chathams.
        for day in ("2025-03-09", "2025-03-30", "2025-04-05", "2025-04-25", "2025-09-27", "2025-10-26", "2025-10-31"):
            night = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC) - datetime.timedelta(hours=12)
            times = [night + datetime.timedelta(seconds=draw.randrange(86400 * 2)) for _ in range(60)]
            deltas += [delta(campaign, draw.randint(1, 1000), time=time) for time in times]
        for first in range(0, len(deltas), 400):
            await desk.counting.totals.apply(deltas[first : first + 400], [])
        async with reading(desk.counting.schemas, "aggregator") as connection:
            for zone in ZONES:
                for width, days in (("hour", 40), ("day", 400), ("month", 400)):
                    start = FIRST + datetime.timedelta(seconds=draw.randrange(86400 * (401 - days)))
                    end = start + datetime.timedelta(days=days)
                    rows = await connection.fetch(REFERENCE, campaign, width, zone, start, end)
                    found = await desk.course(campaign, start=start, end=end, width=width, zone=zone)
                    assert rows
                    assert found == [tuple(row) for row in rows], f"seed {seed}, {zone}, {width}, {start}"


@pytest.mark.requirement("TOT-9")
def test_a_day_on_which_the_clock_is_changed_has_23_or_25_hours_each_of_them_once() -> None:
    zone = ZoneInfo("Europe/Berlin")
    for day, hours in (("2025-03-30", 23), ("2025-10-26", 25), ("2025-10-27", 24)):
        start = datetime.datetime.fromisoformat(day).replace(tzinfo=zone).astimezone(datetime.UTC)
        end = bounds(start, start + datetime.timedelta(hours=1), width=Width.DAY, zone=zone)[-1]
        found = bounds(start, end, width=Width.HOUR, zone=zone)
        assert len(found) == hours + 1
        assert {later - sooner for sooner, later in itertools.pairwise(found)} == {datetime.timedelta(hours=1)}


@pytest.mark.requirement("TOT-9")
@pytest.mark.parametrize("zone", ["Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Asia/Kathmandu"])
def test_bounds_go_on_where_half_an_hour_a_day_or_a_midnight_is_missing(zone: str) -> None:
    """Lord Howe turns by half an hour, Samoa skipped a date, São Paulo had days that began at one."""
    for start in (
        datetime.datetime(2011, 12, 20, tzinfo=datetime.UTC),
        datetime.datetime(2018, 10, 20, tzinfo=datetime.UTC),
    ):
        for width, days in ((Width.HOUR, 30), (Width.DAY, 400), (Width.MONTH, 400)):
            end = start + datetime.timedelta(days=days)
            found = bounds(start, end, width=width, zone=ZoneInfo(zone))
            assert found[0] <= start < found[1]
            assert found[-2] < end <= found[-1]
            assert found == sorted(found)
            assert all(bound.minute % 15 == bound.second == bound.microsecond == 0 for bound in found)


@pytest.mark.requirement("TOT-9")
@pytest.mark.parametrize(
    ("zone", "hours"),
    [
        # Turned back by half an hour at two, so that half past one came twice.
        ("Australia/Lord_Howe", ["2025-04-05T14:00", "2025-04-05T15:00", "2025-04-05T15:30", "2025-04-05T16:30"]),
        # Turned forward by half an hour at half past two.
        ("America/Caracas", ["2016-05-01T05:30", "2016-05-01T06:30", "2016-05-01T07:00", "2016-05-01T08:00"]),
    ],
)
def test_an_hour_in_which_the_clock_is_changed_begins_or_ends_there(zone: str, hours: list[str]) -> None:
    expected = [datetime.datetime.fromisoformat(hour).replace(tzinfo=datetime.UTC) for hour in hours]
    minute = datetime.timedelta(minutes=1)
    for start in (expected[0], expected[1] - minute):
        assert bounds(start, expected[2] + minute, width=Width.HOUR, zone=ZoneInfo(zone)) == expected
    assert bounds(expected[2] - minute, expected[2], width=Width.HOUR, zone=ZoneInfo(zone)) == expected[1:3]


@pytest.mark.requirement("TOT-9", "SEC-6")
@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"zone": "Mars/Olympus"}, "time_zone"),
        ({"zone": "../../etc/passwd"}, "time_zone"),
        ({"end": FIRST}, "end_time"),
        ({"start": FIRST.replace(year=1969)}, "start_time"),
        ({"end": FIRST.replace(year=9999)}, "end_time"),
        ({"width": "hour", "end": FIRST + datetime.timedelta(hours=BUCKETS_MAX, seconds=1)}, "end_time"),
    ],
)
async def test_a_range_that_is_none_or_too_long_and_an_unknown_zone_are_named(desk: Desk, more: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await desk.statistics.get_stats(asking(uuid4(), **more))
    assert [violation.field for violation in caught.value.fields] == [field]


@pytest.mark.requirement("TOT-9")
def test_a_range_has_as_many_buckets_as_an_answer_holds_and_not_one_more() -> None:
    utc, hour = ZoneInfo("UTC"), datetime.timedelta(hours=1)
    assert len(bounds(FIRST, FIRST + BUCKETS_MAX * hour, width=Width.HOUR, zone=utc)) == BUCKETS_MAX + 1
    with pytest.raises(TooMany):
        bounds(FIRST, FIRST + (BUCKETS_MAX + 1) * hour, width=Width.HOUR, zone=utc)


@pytest.mark.requirement("TOT-9")
async def test_an_unknown_campaign_has_no_statistics_and_a_quiet_one_no_points(desk: Desk) -> None:
    campaign = uuid4()
    with pytest.raises(CampaignNotFound):
        await desk.statistics.get_stats(asking(campaign))
    await desk.counting.totals.apply([delta(campaign)], [])
    assert await desk.course(campaign) == []


@pytest.mark.requirement("TOT-9")
async def test_a_leaderboard_goes_from_the_largest_net_to_the_smallest_page_by_page(desk: Desk) -> None:
    draw, charity = random.Random(5), uuid4()
    nets = {uuid4(): draw.choice([100, 200, 300, -5]) for _ in range(23)}
    deltas = [delta(campaign, 500, refunded=500 - net, charity_id=charity) for campaign, net in nets.items()]
    deltas += [delta(next(iter(nets)), 10_000, currency="EUR", charity_id=charity), delta(uuid4(), 250)]
    await desk.counting.totals.apply(deltas, [])
    for charity_id, expected in ((str(charity), 23), ("", 24)):
        request = messages.ListLeaderboardRequest(charity_id=charity_id, currency="USD", page_size=4)
        places = []
        while True:
            page, request.page_token = await desk.statistics.list_leaderboard(request)
            places += page
            if not request.page_token:
                break
        assert len({place.campaign_id for place in places}) == len(places) == expected
        assert [place.totals.net for place in places] == sorted((place.totals.net for place in places), reverse=True)
        for place in places:
            assert place.totals.net == nets.get(place.campaign_id, 250)


async def test_a_token_of_another_leaderboard_is_refused(desk: Desk) -> None:
    await desk.counting.totals.apply([delta(uuid4(), currency="CHF") for _ in range(2)], [])
    request = messages.ListLeaderboardRequest(currency="CHF", page_size=1)
    _, token = await desk.statistics.list_leaderboard(request)
    with pytest.raises(PageTokenInvalid):
        await desk.statistics.list_leaderboard(messages.ListLeaderboardRequest(currency="USD", page_token=token))


@pytest.mark.requirement("TOT-9", "WEB-1")
async def test_statistics_and_leaderboard_are_served_over_rest(mesh: Mesh, cause: Cause) -> None:
    given = gift(cause.campaign_id, 700)
    await mesh.donations.RecordDonation(given)
    await mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, given.payment_ref, 50))

    async def net() -> int:
        return sum(share.net for share in (await totals_of(mesh, cause.campaign_id)).currencies)

    await until(net, holds=lambda net: net == 650)
    now = datetime.datetime.now(datetime.UTC)
    query = {
        "start_time": (now - datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "end_time": (now + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "bucket": "BUCKET_MONTH",
        "time_zone": "Asia/Kolkata",
    }
    path = f"/v1/campaigns/{cause.campaign_id}/stats"
    async with mesh.rest.get(path, params=query) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=5")
        shares = [share for point in (await answer.json())["points"] for share in point["currencies"]]
    figures = [sum(int(share.get(name, 0)) for share in shares) for name in ("gross", "refunded", "net", "donations")]
    assert figures == [700, 50, 650, 1]
    async with mesh.rest.get(path, params=query | {"time_zone": "Nowhere"}) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (400, "INVALID_ARGUMENT")
    async with mesh.rest.get("/v1/leaderboard", params={"charity_id": cause.charity_id, "currency": "USD"}) as answer:
        (place,) = (await answer.json())["places"]
    assert (place["campaign_id"], place["totals"]["net"]) == (cause.campaign_id, "650")
