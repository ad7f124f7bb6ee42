"""Days of the log: made ahead, dropped when neither a relay nor a fence needs them, and never before."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator

import asyncpg
import pytest

from mesh.events.consumer import HORIZON_DAYS
from mesh.events.partitions import drop_expired
from tests.support.log import QUERIES, Log, fact

TODAY = datetime.datetime.now(datetime.UTC).date()


@pytest.fixture
async def owner(log: Log) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(log.schemas.admin_dsn, server_settings={"search_path": "donation"})
    yield connection
    await connection.close()


def ago(days: int) -> datetime.date:
    return TODAY - datetime.timedelta(days=days)


async def write_on(owner: asyncpg.Connection[asyncpg.Record], log: Log, *days: datetime.date) -> None:
    for day in days:
        await owner.execute("SELECT make_partition('event', $1)", day)
        await log.write(fact())
        await owner.execute("UPDATE event SET day = $1 WHERE day >= current_date - 1", day)


async def days_with_events(log: Log) -> list[datetime.date]:
    async with log.database.connection() as connection:
        return [row["day"] for row in await connection.fetch("SELECT DISTINCT day FROM event ORDER BY day")]


@pytest.mark.requirement("EVT-6")
async def test_days_beyond_the_horizon_are_dropped_and_younger_ones_stay(
    log: Log, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    kept, dropped = [ago(HORIZON_DAYS), ago(30)], [ago(HORIZON_DAYS + 40), ago(HORIZON_DAYS + 1)]
    await write_on(owner, log, *dropped, *kept)
    await owner.execute("UPDATE relay SET day = current_date")

    assert await drop_expired(owner, QUERIES, today=TODAY) == dropped

    assert await days_with_events(log) == kept
    assert await drop_expired(owner, QUERIES, today=TODAY) == []


@pytest.mark.requirement("EVT-1", "EVT-4")
@pytest.mark.parametrize(
    "needed",
    [
        "UPDATE relay SET day = current_date - 440",
        "UPDATE relay SET day = current_date - 439",
        "INSERT INTO epoch SELECT 2, system_identifier, 'test' FROM epoch",
    ],
    ids=["the relay stands there", "the relay reads a day back", "a new epoch publishes everything again"],
)
async def test_a_day_that_the_relay_has_still_to_read_is_not_dropped(
    log: Log, owner: asyncpg.Connection[asyncpg.Record], needed: str
) -> None:
    day = ago(HORIZON_DAYS + 40)
    await write_on(owner, log, day)
    await owner.execute("UPDATE relay SET day = current_date")
    await owner.execute(needed)

    with pytest.raises(asyncpg.RestrictViolationError, match="is not published yet"):
        await drop_expired(owner, QUERIES, today=TODAY)

    assert await days_with_events(log) == [day]


@pytest.mark.requirement("EVT-6")
async def test_a_day_that_may_be_delivered_again_is_dropped_by_nobody(
    log: Log, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    await write_on(owner, log, ago(9))
    await owner.execute("UPDATE relay SET day = current_date")
    with pytest.raises(asyncpg.RestrictViolationError, match="too young"):
        await owner.execute(QUERIES["drop_event_day"], ago(9))
    async with log.database.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(QUERIES["drop_event_day"], ago(9))
