"""A range of time divided into hours, days or months of a time zone."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from zoneinfo import ZoneInfo

from aggregator_svc.domain.totals import CurrencyTotals

# An answer stays below a megabyte: a month and a half of hours, three years of days.
BUCKETS_MAX = 1000
_HOUR = datetime.timedelta(hours=1)
# Offsets change by half an hour somewhere; no change lies closer to another one.
_STEP = datetime.timedelta(minutes=15)


class Width(enum.Enum):
    """How wide a bucket is."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class TooMany(Exception):  # noqa: N818 - the caller turns it into a refusal
    """The range has more buckets than an answer holds."""


@dataclass(frozen=True, slots=True)
class Point:
    """What happened in one bucket; donors are not counted."""

    start_time: datetime.datetime
    currencies: tuple[CurrencyTotals, ...]


def bounds(start: datetime.datetime, end: datetime.datetime, *, width: Width, zone: ZoneInfo) -> list[datetime.datetime]:
    """The bounds of every bucket that the range from `start` to `end` touches, one more than there are buckets.

    An hour begins when the clock of the zone shows a full hour, and where a change of the clock makes it show another one;
    a day when its date does, also where its midnight does not exist. `start` and `end` are in UTC.

    Raises:
        TooMany: there are more than an answer holds.
    """
    found: list[datetime.datetime] = []
    for moment in islice(_beginnings(start, width, zone), BUCKETS_MAX + 1):
        found.append(moment)
        if moment >= end:
            return found
    raise TooMany


def _beginnings(start: datetime.datetime, width: Width, zone: ZoneInfo) -> Iterator[datetime.datetime]:
    if width is Width.HOUR:
        return _hours(start, zone)
    return _dates(start.astimezone(zone).date(), width, zone)


def _hours(start: datetime.datetime, zone: ZoneInfo) -> Iterator[datetime.datetime]:
    moment = _hour_of(start, zone)
    while True:
        yield moment
        moment = _next_hour(moment, zone)


def _hour_of(moment: datetime.datetime, zone: ZoneInfo) -> datetime.datetime:
    """The beginning of the hour that a moment lies in."""
    local = moment.astimezone(zone)
    hour = moment - datetime.timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    # Where the clock was changed within this hour it began at the change.
    while _offset(hour, zone) != local.utcoffset():
        hour += _STEP
    return hour


def _next_hour(hour: datetime.datetime, zone: ZoneInfo) -> datetime.datetime:
    """The next full hour on the clock, or the change of the clock before it."""
    local = hour.astimezone(zone)
    following = hour + _HOUR - datetime.timedelta(minutes=local.minute)
    if _offset(following, zone) == _offset(hour, zone):
        return following
    change = hour + _STEP
    while change < following and _offset(change, zone) == _offset(hour, zone):
        change += _STEP
    return change


def _offset(moment: datetime.datetime, zone: ZoneInfo) -> datetime.timedelta | None:
    return moment.astimezone(zone).utcoffset()


def _dates(date: datetime.date, width: Width, zone: ZoneInfo) -> Iterator[datetime.datetime]:
    date = date.replace(day=1) if width is Width.MONTH else date
    while True:
        yield _midnight(date, zone)
        date = _next_month(date) if width is Width.MONTH else date + datetime.timedelta(days=1)


def _next_month(date: datetime.date) -> datetime.date:
    return date.replace(year=date.year + date.month // 12, month=date.month % 12 + 1)


def _midnight(date: datetime.date, zone: ZoneInfo) -> datetime.datetime:
    """The first moment at which the zone has this date, or a later one: a few dates were skipped."""
    moment = datetime.datetime.combine(date, datetime.time(), zone).astimezone(datetime.UTC)
    # Where midnight does not exist this is after the change; the date may have begun before.
    while (moment - _STEP).astimezone(zone).date() >= date:
        moment -= _STEP
    while moment.astimezone(zone).date() < date:
        moment += _STEP
    return moment
