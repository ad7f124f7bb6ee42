"""What each book says about one campaign: REST, gRPC, Redis, both databases, the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import aiohttp
import asyncpg
import grpc
from giving.aggregate.v1.aggregate_service_pb2 import GetTotalsRequest
from giving.aggregate.v1.aggregate_service_pb2_grpc import AggregateServiceStub
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from giving.payment.v1.ledger_service_pb2 import GetBalanceRequest
from giving.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

_READ_S_MAX = 5.0
_DONATIONS = """
SELECT currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
       sum(gross - refunded - disputed)::bigint AS net, count(*) AS donations, count(DISTINCT donor_id) AS donors
FROM donation.donation WHERE campaign_id = $1 AND gross > 0 GROUP BY currency
"""
_TOTALS = """
SELECT currency, gross, refunded, gross - refunded - disputed AS net, donations, donors
FROM aggregator.totals WHERE campaign_id = $1
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One currency of a book, in minor units; None is what the book does not hold."""

    net: int
    gross: int | None = None
    refunded: int | None = None
    donations: int | None = None
    donors: int | None = None

    def agrees_with(self, other: Line) -> bool:
        """Equal in everything that both hold."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in self.__slots__]
        return all(mine == theirs for mine, theirs in pairs if mine is not None and theirs is not None)


Book = Mapping[str, Line]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A book that could not be opened, and why."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the books are."""

    rest_url: str
    aggregator: str
    payment: str
    redis_url: str
    donation_dsn: str
    aggregator_dsn: str


def agrees(book: Book | Unreadable, expected: Book) -> bool:
    if isinstance(book, Unreadable):
        return False
    return book.keys() == expected.keys() and all(line.agrees_with(expected[code]) for code, line in book.items())


async def read_all(places: Places, campaign_id: str) -> dict[str, Book | Unreadable]:
    """Displays first, then the databases behind them: money that moves in between cannot look like a contradiction."""
    readers: Mapping[str, Callable[[Places, str], Awaitable[Book]]] = {
        "REST totals": _rest,
        "gRPC totals": _grpc,
        "Redis value": _redis,
        "aggregator SQL": _aggregator_sql,
        "donation SQL": _donation_sql,
        "ledger": _ledger,
    }
    return {name: await _readable(read(places, campaign_id)) for name, read in readers.items()}


async def _readable(reading: Awaitable[Book]) -> Book | Unreadable:
    try:
        return await reading
    except grpc.aio.AioRpcError as error:
        return Unreadable(f"{error.code().name}: {error.details()}")
    except (OSError, LookupError, aiohttp.ClientError, RedisError, asyncpg.PostgresError) as error:
        return Unreadable(f"{type(error).__name__}: {error}")


async def _rest(places: Places, campaign_id: str) -> Book:
    url = f"{places.rest_url}/v1/campaigns/{campaign_id}/totals"
    timeout = aiohttp.ClientTimeout(total=_READ_S_MAX)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session, session.get(url) as answer:
        currencies = (await answer.json())["totals"]["currencies"]
    # int64 travels as a string in JSON.
    numbers = {item["currency"]: {name: int(item[name]) for name in Line.__slots__} for item in currencies}
    return {code: Line(**values) for code, values in numbers.items()}


async def _grpc(places: Places, campaign_id: str) -> Book:
    async with grpc.aio.insecure_channel(places.aggregator) as channel:
        request = GetTotalsRequest(campaign_id=campaign_id)
        answer = await AggregateServiceStub(channel).GetTotals(request, timeout=_READ_S_MAX)
    return _from_totals(answer.totals)


async def _redis(places: Places, campaign_id: str) -> Book:
    retry = Retry(NoBackoff(), 0)
    async with Redis.from_url(places.redis_url, retry=retry, socket_timeout=_READ_S_MAX) as client:
        stored = await client.hget(f"giving:totals:{campaign_id}", "p")
    if not isinstance(stored, bytes):
        raise LookupError("no value for this campaign")  # noqa: TRY004 - it is absent, not of another type
    return _from_totals(CampaignTotals.FromString(stored))


async def _aggregator_sql(places: Places, campaign_id: str) -> Book:
    return await _sql(places.aggregator_dsn, _TOTALS, campaign_id)


async def _donation_sql(places: Places, campaign_id: str) -> Book:
    return await _sql(places.donation_dsn, _DONATIONS, campaign_id)


async def _ledger(places: Places, campaign_id: str) -> Book:
    """What the charity is owed is a credit: negative in the ledger."""
    async with grpc.aio.insecure_channel(places.payment) as channel:
        request = GetBalanceRequest(account="campaign_payable", campaign_id=campaign_id)
        answer = await LedgerServiceStub(channel).GetBalance(request, timeout=_READ_S_MAX)
    return {money.currency: Line(net=-money.minor_units) for money in answer.balances}


def _from_totals(totals: CampaignTotals) -> Book:
    return {
        item.currency: Line(
            net=item.net, gross=item.gross, refunded=item.refunded, donations=item.donations, donors=item.donors
        )
        for item in totals.currencies
    }


async def _sql(dsn: str, query: str, campaign_id: str) -> Book:
    connection = await asyncpg.connect(dsn, timeout=_READ_S_MAX, command_timeout=_READ_S_MAX)
    try:
        rows = await connection.fetch(query, campaign_id)
    finally:
        await connection.close(timeout=_READ_S_MAX)
    return {row["currency"]: Line(**{name: row[name] for name in Line.__slots__}) for row in rows}
