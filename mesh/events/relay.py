"""The relay: carries the log to JetStream without holes, without stalls, at least once.

Its position is a pair of snapshots. Everything that `from` does not see and `to` does is read by sequence in pages and
published; each page is stored as done when the broker has acknowledged it; then `to` becomes `from`. A transaction that took
an early sequence and committed late is not visible in `from` whenever it commits, so it is never skipped; one that stays
open is in `to`'s list of those in progress and holds nothing up.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError

from mesh import metrics
from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.events.stream import LogRow, Window, make_stream, subject, windows
from mesh.postgres import Connection, Database, fetch_one

PAGE = 5_000
POLL_S = 0.05
LEASE_S = 5.0
# A pause between attempts while a part is away; short, because everything waits for the relay.
PAUSE_S = 0.5
PUBLISH_TIMEOUT_S = 5.0
HEARTBEAT_S = 1.0
_EPOCH_DAY = datetime.date(1970, 1, 1)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Position:
    """How far the log is published. Snapshots in PostgreSQL's text form."""

    epoch: int
    from_snapshot: str
    to_snapshot: str
    last_seq: int
    day: datetime.date


class LeaseLost(Exception):  # noqa: N818 - normal at a takeover
    """Another relay has taken over."""


class XidsRestarted(Exception):  # noqa: N818 - an operator's matter
    """This cluster's transaction ids are not those of the position: it was dumped and restored."""


class Relay:
    """One of possibly several relays of a service; the one that holds the lease works."""

    def __init__(
        self,
        database: Database,
        js: JetStreamContext,
        *,
        queries: Mapping[str, str],
        service: str,
        holder: str,
        shards: int,
        replicas: int,
    ) -> None:
        self._database = database
        self._js = js
        self._queries = queries
        self._service = service
        self._holder = holder
        self._shards = shards
        self._replicas = replicas
        self._lease = 0
        self._wake = asyncio.Event()
        self.failure = ""

    def wake(self) -> None:
        """Says that something was committed; the poll would find it a little later."""
        self._wake.set()

    async def healthy(self) -> None:
        """For health.

        Raises:
            RuntimeError: the relay has stopped and needs an operator.
        """
        if self.failure:
            raise RuntimeError(self.failure)

    async def run(self) -> None:
        """Works until it is cancelled; gives the lease up at the end."""
        try:
            while True:
                await self._attempt()
                await asyncio.sleep(PAUSE_S)
        finally:
            await self._give_up()

    async def _attempt(self) -> None:
        try:
            await self._work()
        except XidsRestarted as error:
            if not self.failure:
                _log.error("relay stopped: transaction ids restarted; run `mesh epoch`", service=self._service)
            self.failure = str(error)
        except LeaseLost:
            _log.info("relay lost its lease", service=self._service)
        except NoStreamResponseError:
            _log.warning("the stream is gone; making it again", service=self._service)
        except (DependencyUnavailable, RequestInFlight, NatsError, TimeoutError) as error:
            _log.warning("relay waits", service=self._service, error=type(error).__name__)

    async def _work(self) -> None:
        """Takes the lease and publishes until something fails."""
        position = await self._take_lease()
        if position is None:
            return
        await make_stream(self._js, service=self._service, replicas=self._replicas)
        self.failure = ""
        stored_at = asyncio.get_running_loop().time()
        while True:
            self._wake.clear()
            moved = await self.drain(position)
            now = asyncio.get_running_loop().time()
            if moved == position and now - stored_at > HEARTBEAT_S:
                await self._store(position)
                stored_at = now
            position = moved
            await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _take_lease(self) -> Position | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["take_lease"], self._holder, LEASE_S)
        if row is None:
            return None
        self._lease = row["lease"]
        return Position(row["epoch"], row["from_snapshot"], row["to_snapshot"], row["last_seq"], row["day"])

    async def drain(self, position: Position) -> Position:
        """Publishes everything that is committed now; returns the position after it.

        Raises:
            XidsRestarted: the position belongs to another cluster, or to this one before a restore.
            LeaseLost: another relay has taken over.
        """
        async with self._database.connection() as connection:
            look = await fetch_one(connection, self._queries["look"])
        self._demand_same_cluster(look, position)
        if look["epoch"] != position.epoch:
            position = await self._republish_older(look["epoch"], look["day"])
        if position.to_snapshot == position.from_snapshot:
            if look["snapshot"] == position.from_snapshot:
                return position
            position = replace(position, to_snapshot=look["snapshot"], last_seq=0)
        return await self._drain_pages(position, look["day"])

    async def _drain_pages(self, position: Position, day: datetime.date) -> Position:
        found = False
        while True:
            rows = await self._read(position)
            if rows:
                found = True
                await self._publish(rows)
                position = replace(position, last_seq=rows[-1].seq)
            if len(rows) < PAGE:
                break
            await self._store(position)
        position = replace(position, from_snapshot=position.to_snapshot, last_seq=0, day=day)
        if found:
            await self._store(position)
        return position

    async def _read(self, position: Position) -> list[LogRow]:
        async with self._database.connection() as connection:
            records = await connection.fetch(
                self._queries["read_page"],
                position.from_snapshot,
                position.to_snapshot,
                position.day,
                position.last_seq,
                position.epoch,
                PAGE,
            )
        rows = [log_row(record) for record in records]
        metrics.RELAY_PENDING.labels(self._service).set(len(rows))
        return rows

    async def _republish_older(self, epoch: int, day: datetime.date) -> Position:
        """After a restore nobody knows what the broker has seen: everything older is published again."""
        last_seq = 0
        while True:
            async with self._database.connection() as connection:
                records = await connection.fetch(self._queries["read_older_epochs"], epoch, last_seq, PAGE)
            if not records:
                break
            await self._publish([log_row(record) for record in records])
            last_seq = records[-1]["seq"]
        position = Position(epoch, "3:3:", "3:3:", 0, day - datetime.timedelta(days=1))
        await self._store(position)
        return position

    async def _publish(self, rows: Sequence[LogRow]) -> None:
        """Publishes rows and waits for every acknowledgement; `duplicate` is one."""
        packed = list(windows(rows, shards=self._shards))
        async with asyncio.timeout(PUBLISH_TIMEOUT_S):
            for acknowledgement in [await self._send(window) for window in packed]:
                await acknowledgement
        metrics.RELAY_PUBLISHED.labels(self._service).inc(len(rows))

    async def _send(self, window: Window) -> asyncio.Future[Any]:
        return await self._js.publish_async(
            subject(self._service, window.shard),
            window.data,
            headers={"Nats-Msg-Id": window.message_id, "content-type": "application/protobuf"},
        )

    async def _store(self, position: Position) -> None:
        async with self._database.connection() as connection:
            kept = await connection.fetchval(
                self._queries["store_position"],
                self._holder,
                self._lease,
                position.epoch,
                position.from_snapshot,
                position.to_snapshot,
                position.last_seq,
                position.day,
                LEASE_S,
            )
        if kept is None:
            raise LeaseLost

    async def _give_up(self) -> None:
        try:
            async with asyncio.timeout(1), self._database.connection() as connection:
                await connection.execute(self._queries["give_lease_up"], self._holder, self._lease)
        except (DependencyUnavailable, RequestInFlight, TimeoutError):
            return  # it expires by itself

    @staticmethod
    def _demand_same_cluster(look: Any, position: Position) -> None:
        if look["system_identifier"] != look["cluster"]:
            raise XidsRestarted("the log was restored on another cluster; run `mesh epoch`")
        if look["epoch"] == position.epoch and _xmax(look["snapshot"]) < _xmax(position.from_snapshot):
            raise XidsRestarted("transaction ids lie below the relay's position; run `mesh epoch`")


def _xmax(snapshot: str) -> int:
    return int(snapshot.split(":")[1])


def log_row(record: Any) -> LogRow:
    """A row as SQL returns it."""
    day = (record["day"] - _EPOCH_DAY).days
    return LogRow(
        record["seq"], record["tx"], record["epoch"], day, record["bucket"], record["id"], bytes(record["payload"])
    )


async def open_epoch(connection: Connection, queries: Mapping[str, str], *, reason: str) -> int:
    """Begins an epoch after a restore; the relay then publishes everything again, and consumers drop what they know."""
    return int(await connection.fetchval(queries["open_epoch"], reason))
