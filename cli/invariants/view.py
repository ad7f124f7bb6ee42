"""One look at a mesh: its databases in read-only snapshots, and what several invariants need, read once."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from cli.places import SCHEMAS, Places
from mesh.postgres import Connection, load_queries

CONNECT_S_MAX = 5.0
# The batch role's own bound, repeated for roles that were made by hand; the driver's a little above it.
_STATEMENT_S_MAX = 120
_SESSION: Mapping[str, str] = {
    "statement_timeout": f"{_STATEMENT_S_MAX}s",
    "lock_timeout": "2s",
    "default_transaction_read_only": "on",
    "application_name": "mesh check",
    "jit": "off",
}
_CONNECTIONS_MAX = 2
# Rows that are fetched at once, and rows of a table that one statement looks at: neither may become large.
_FETCHED = 2_000
PAGE = 10_000
# What is on its way between two books has arrived by then: displays follow within two seconds.
MOMENT_S = 2.0
FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Ids:
    """Below and above all ids of a kind. `last` None: none is known, and nothing has a higher id than the last row."""

    first: object
    last: object | None


OURS = Ids(FIRST, LAST)
# Of the provider, in the order of the database's language, and byte by byte.
THEIRS, BYTEWISE = Ids("", None), Ids("", "\U0010ffff")

Record: TypeAlias = "asyncpg.Record"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Sleep = Callable[[float], Awaitable[None]]
ResultT = TypeVar("ResultT")


class NotHere(Exception):  # noqa: N818 - an answer, not an error
    """Something cannot be checked on this mesh, or not from here; the text says why."""


class Reading:
    """A database that is read: named statements on one connection."""

    def __init__(self, connection: Connection, queries: Mapping[str, str]) -> None:
        self._connection = connection
        self._queries = queries

    async def rows(self, name: str, *arguments: object) -> AsyncIterator[Record]:
        """Rows as they come, a bounded number of them in memory; only in a snapshot."""
        async for record in self._connection.cursor(self._queries[name], *arguments, prefetch=_FETCHED):
            yield record

    async def all(self, name: str, *arguments: object) -> list[Record]:
        """Every row of a statement that returns few."""
        return await self._connection.fetch(self._queries[name], *arguments)

    async def value(self, name: str, *arguments: object) -> Any:
        """The one value of a statement."""
        return await self._connection.fetchval(self._queries[name], *arguments)

    async def pages(self, bound: str, ids: Ids) -> AsyncIterator[tuple[Any, Any]]:
        """Ranges of ids (above the first, up to the second) that cover every id; `bound` says where a page ends."""
        above = ids.first
        while (upto := await self.value(bound, above, PAGE)) is not None:
            yield above, upto
            above = upto
        if ids.last is not None:
            yield above, ids.last

    async def days(self, ends: str) -> AsyncIterator[datetime.date]:
        """The days from the first to the last that `ends` returns."""
        ((day, last),) = await self.all(ends)
        while day is not None and day <= last:
            yield day
            day += datetime.timedelta(days=1)


class View:
    """A look at the mesh of `places`. `wait_s`: how long it may wait for the mesh to become quiet; None: not at all."""

    def __init__(self, places: Places, pools: Mapping[str, Pool], *, wait_s: float | None, sleep: Sleep) -> None:
        self.places = places
        self.wait_s = wait_s
        self.sleep = sleep
        self._pools = pools
        self._queries = load_queries("cli.invariants")
        self._read: dict[str, Any] = {}

    async def moment(self) -> None:
        """Lets what is on its way arrive, before it is looked at for the second time."""
        await self.sleep(MOMENT_S)

    async def once(self, read: Callable[[View], Awaitable[ResultT]]) -> ResultT:
        """What `read` returned when it was asked for first."""
        name = f"{read.__module__}.{read.__qualname__}"
        if name not in self._read:
            self._read[name] = await read(self)
        found: ResultT = self._read[name]
        return found

    @property
    def services(self) -> tuple[str, ...]:
        """The services whose databases are known."""
        return tuple(self._pools)

    @asynccontextmanager
    async def snapshot(self, service: str) -> AsyncIterator[Reading]:
        """A service's database as it is at one instant.

        Raises:
            NotHere: it is not known.
        """
        async with (
            self._connection(service) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield Reading(connection, self._queries)

    @asynccontextmanager
    async def present(self, service: str) -> AsyncIterator[Reading]:
        """A service's database, each statement as of its own instant.

        Raises:
            NotHere: it is not known.
        """
        async with self._connection(service) as connection:
            yield Reading(connection, self._queries)

    @asynccontextmanager
    async def _connection(self, service: str) -> AsyncIterator[Connection]:
        if service not in self._pools:
            raise NotHere(f"{service.upper()}_DATABASE_URL is not set")
        async with self._pools[service].acquire(timeout=CONNECT_S_MAX) as connection:
            yield connection


@asynccontextmanager
async def open_view(places: Places, *, wait_s: float | None = None, sleep: Sleep = asyncio.sleep) -> AsyncIterator[View]:
    """A new look; it connects to a database when it is read first."""
    async with AsyncExitStack() as stack:
        pools = {
            service: await stack.enter_async_context(_pool(places.databases[service], schema=schema))
            for service, schema in SCHEMAS.items()
            if service in places.databases
        }
        yield View(places, pools, wait_s=wait_s, sleep=sleep)


@asynccontextmanager
async def _pool(dsn: str, *, schema: str) -> AsyncIterator[Pool]:
    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=_CONNECTIONS_MAX,
        timeout=CONNECT_S_MAX,
        command_timeout=_STATEMENT_S_MAX + CONNECT_S_MAX,
        server_settings={**_SESSION, "search_path": schema},
    )
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await pool.close()
        except TimeoutError:
            pool.terminate()
