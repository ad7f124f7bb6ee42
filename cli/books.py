"""What each of the mesh's books says about one campaign: REST, gRPC, Redis, both databases, the ledger's accounts."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import asyncpg
import grpc
from giving.aggregate.v1.aggregate_service_pb2 import GetTotalsRequest
from giving.aggregate.v1.aggregate_service_pb2_grpc import AggregateServiceStub
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from giving.donation.v1.donation_pb2 import Donation
from giving.payment.v1.ledger_service_pb2 import GetBalanceRequest
from giving.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cli.places import Places

READ_S_MAX = 5.0
_INTENT, _RECORDED = Donation.ORIGIN_INTENT, Donation.ORIGIN_RECORDED
_DONATIONS = """
SELECT currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
       sum(gross - refunded - disputed)::bigint AS net, count(*) AS donations, count(DISTINCT donor_id) AS donors
FROM donation.donation WHERE campaign_id = $1 AND gross > 0 AND origin = ANY ($2::smallint[]) GROUP BY currency
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


class Part(enum.Enum):
    """Which gifts a book is about."""

    ALL = "sent"
    RECORDED = "sent as charged"
    PAID = "paid by donors"


Expected = Mapping[Part, Book]
ReadT = TypeVar("ReadT")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A book that could not be opened, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a book about a part says."""

    part: Part
    book: Book | Unreadable

    def agrees(self, expected: Expected) -> bool:
        return agrees(self.book, expected[self.part])


def agrees(book: Book | Unreadable, expected: Book) -> bool:
    if isinstance(book, Unreadable):
        return False
    return book.keys() == expected.keys() and all(line.agrees_with(expected[code]) for code, line in book.items())


def total(one: Book, other: Book) -> Book:
    """Both together; of donors that nobody is in both."""
    return {code: _sum(one.get(code), other.get(code)) for code in {**one, **other}}


def _sum(one: Line | None, other: Line | None) -> Line:
    lines = [line for line in (one, other) if line is not None]
    return Line(**{name: sum(getattr(line, name) or 0 for line in lines) for name in Line.__slots__})


async def read_all(places: Places, campaign_id: str) -> dict[str, Reading]:
    """Displays first, then the databases behind them: money that moves in between cannot look like a contradiction."""
    return {name: Reading(part, await readable(read(places, campaign_id))) for name, (part, read) in _readers().items()}


Reader = Callable[[Places, str], Awaitable[Book]]


def _readers() -> Mapping[str, tuple[Part, Reader]]:
    return {
        "REST totals": (Part.ALL, _rest),
        "gRPC totals": (Part.ALL, _grpc),
        "Redis value": (Part.ALL, _redis),
        "aggregator SQL": (Part.ALL, _aggregator_sql),
        "donation SQL": (Part.ALL, _donation_sql(_INTENT, _RECORDED)),
        "ledger, owed": (Part.ALL, _ledger("campaign_payable", "refunds", "disputes_held", sign=-1)),
        "recorded in SQL": (Part.RECORDED, _donation_sql(_RECORDED)),
        "ledger, external": (Part.RECORDED, _ledger("external_clearing", sign=1)),
        "intents in SQL": (Part.PAID, _donation_sql(_INTENT)),
        # What the provider took, on its way to the balance or there, and what it kept for its work.
        "ledger, provider": (Part.PAID, _ledger("provider_clearing", "provider_balance", "fees", sign=1)),
    }


async def readable(reading: Awaitable[ReadT]) -> ReadT | Unreadable:
    """What was read, or why it was not."""
    try:
        return await reading
    except grpc.aio.AioRpcError as error:
        return Unreadable(f"{error.code().name}: {error.details()}")
    except (OSError, LookupError, aiohttp.ClientError, RedisError, asyncpg.PostgresError) as error:
        return Unreadable(f"{type(error).__name__}: {error}")


async def _rest(places: Places, campaign_id: str) -> Book:
    url = f"{places.rest_url}/v1/campaigns/{campaign_id}/totals"
    timeout = aiohttp.ClientTimeout(total=READ_S_MAX)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session, session.get(url) as answer:
        currencies = (await answer.json())["totals"]["currencies"]
    # int64 travels as a string in JSON.
    numbers = {item["currency"]: {name: int(item[name]) for name in Line.__slots__} for item in currencies}
    return {code: Line(**values) for code, values in numbers.items()}


async def _grpc(places: Places, campaign_id: str) -> Book:
    async with grpc.aio.insecure_channel(places.aggregator) as channel:
        request = GetTotalsRequest(campaign_id=campaign_id)
        answer = await AggregateServiceStub(channel).GetTotals(request, timeout=READ_S_MAX)
    return _from_totals(answer.totals)


async def _redis(places: Places, campaign_id: str) -> Book:
    retry = Retry(NoBackoff(), 0)
    async with Redis.from_url(places.redis_url, retry=retry, socket_timeout=READ_S_MAX) as client:
        stored = await client.hget(f"giving:totals:{campaign_id}", "p")
    if not isinstance(stored, bytes):
        raise LookupError("no value for this campaign")  # noqa: TRY004 - it is absent, not of another type
    return _from_totals(CampaignTotals.FromString(stored))


async def _aggregator_sql(places: Places, campaign_id: str) -> Book:
    return await _sql(places.databases["aggregator"], _TOTALS, campaign_id)


def _donation_sql(*origins: int) -> Reader:
    async def read(places: Places, campaign_id: str) -> Book:
        return await _sql(places.databases["donation"], _DONATIONS, campaign_id, list(origins))

    return read


def _ledger(*accounts: str, sign: int) -> Reader:
    """What accounts hold together. What a campaign is owed is a credit: negative in the ledger."""

    async def read(places: Places, campaign_id: str) -> Book:
        sums: Counter[str] = Counter()
        async with grpc.aio.insecure_channel(places.payment) as channel:
            for account in accounts:
                request = GetBalanceRequest(account=account, campaign_id=campaign_id)
                for money in (await LedgerServiceStub(channel).GetBalance(request, timeout=READ_S_MAX)).balances:
                    sums[money.currency] += sign * money.minor_units
        return {currency: Line(net=total) for currency, total in sums.items()}

    return read


def _from_totals(totals: CampaignTotals) -> Book:
    return {
        item.currency: Line(
            net=item.net, gross=item.gross, refunded=item.refunded, donations=item.donations, donors=item.donors
        )
        for item in totals.currencies
    }


async def _sql(dsn: str, query: str, *given: object) -> Book:
    connection = await asyncpg.connect(dsn, timeout=READ_S_MAX, command_timeout=READ_S_MAX)
    try:
        rows = await connection.fetch(query, *given)
    finally:
        await connection.close(timeout=READ_S_MAX)
    return {row["currency"]: Line(**{name: row[name] for name in Line.__slots__}) for row in rows}
