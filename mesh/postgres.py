"""PostgreSQL: a pool whose every wait is bounded, transactions, named SQL, and driver errors turned into refusals."""

from __future__ import annotations

import asyncio
import importlib.resources
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias, TypeVar

import asyncpg

from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.process import StartRefused

ACQUIRE_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 5.0
# Deadlock and serialisation: the database asks for the same transaction again.
RETRIES_MAX = 3

ResultT = TypeVar("ResultT")
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]"

# What every role waits at most. The roles carry the same values; a session repeats them so that an external server whose
# roles were made by hand is bounded too.
BOUNDS = {
    "statement_timeout": "3s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "5s",
    "synchronous_commit": "on",
}

# Statements are few, prepared and take arrays: planning each execution anew costs as much as the execution.
PLANNING = {"plan_cache_mode": "force_generic_plan", "jit": "off"}

_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # how the driver reports a connection that broke between two of its steps
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DiskFullError,
)
_AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


def load_queries(package: str) -> Mapping[str, str]:
    """The statements of a package's `queries.sql` by name.

    Each begins with a line `-- name: record_donations`; the comment lines that follow describe it.
    """
    text = importlib.resources.files(package).joinpath("queries.sql").read_text()
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


async def fetch_one(connection: Connection, statement: str, *arguments: Any) -> asyncpg.Record:
    """The row of a statement that always returns one."""
    row = await connection.fetchrow(statement, *arguments)
    if row is None:
        raise LookupError("the statement returned no row")
    return row


class TransactionLost(RequestInFlight):
    """The database rolled the transaction back in favour of another one and asks for it again."""


@contextmanager
def refusing() -> Iterator[None]:
    """Turns the driver's errors into refusals; the one place that knows them.

    Raises:
        RequestInFlight: somebody else holds the row for longer than the lock timeout.
        DependencyUnavailable: the database does not answer, or not in time. What was sent may have been committed.
    """
    try:
        yield
    except _AGAIN as error:
        raise TransactionLost("the same object is being changed; repeat with the same key", retry_after_s=1) from error
    except asyncpg.LockNotAvailableError as error:
        raise RequestInFlight("the same object is being changed; repeat with the same key", retry_after_s=1) from error
    except _UNREACHABLE as error:
        raise DependencyUnavailable("the database does not answer", retry_after_s=1, dependency="postgres") from error


class Database:
    """A pool of connections with the service's schema on the search path."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside of transactions: each statement commits by itself."""
        with refusing():
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in one READ COMMITTED transaction."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def run(self, work: Callable[[Connection], Awaitable[ResultT]]) -> ResultT:
        """Runs `work` in one transaction, again where the database asks for it, at most three times more."""
        for _ in range(RETRIES_MAX):
            try:
                async with self.transaction() as connection:
                    return await work(connection)
            except TransactionLost:
                continue
        async with self.transaction() as connection:
            return await work(connection)

    async def ping(self) -> None:
        """Asks whether the database answers; for health."""
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            await connection.fetchval("SELECT 1")


@asynccontextmanager
async def open_database(dsn: str, *, schema: str, pool_max: int, application: str) -> AsyncIterator[Database]:
    """A pool that is closed, or cut where closing takes too long.

    Raises:
        StartRefused: the server is there and does not let this role into this database.
        DependencyUnavailable: it is not there.
    """
    with refusing(), _explaining():
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=pool_max,
            timeout=ACQUIRE_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            reset=_roll_back,
            server_settings={**BOUNDS, **PLANNING, "search_path": schema, "application_name": application},
        )
    try:
        yield Database(pool)
    finally:
        await _close(pool)


@contextmanager
def _explaining() -> Iterator[None]:
    try:
        yield
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise StartRefused(f"PostgreSQL: {error}; check DATABASE_URL, or run `mesh migrate` first") from error


async def _roll_back(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """What a connection needs before it is used again.

    Sessions are never changed, so the driver's own reset, a round trip after every use, would have nothing to do.
    """
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


async def _close(pool: asyncpg.Pool[Any]) -> None:
    try:
        async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()
