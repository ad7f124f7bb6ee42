"""The relay: carries the log to JetStream without holes, without stalls, at least once.

Its position is a pair of snapshots. Everything that `from` does not see and `to` does is read by sequence in pages and
published; each page is stored as done when the broker has acknowledged it; then `to` becomes `from`. A transaction that took
an early sequence and committed late is not visible in `from` whenever it commits, so it is never skipped; one that stays
open is in `to`'s list of those in progress and holds nothing up.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError, NotFoundError

from mesh import crashpoints, metrics
from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.events.pace import Pace
from mesh.events.stream import LogRow, windows
from mesh.events.transport import Loss, Memory, StreamLost, Transport
from mesh.postgres import Connection, Database, fetch_one

# Small, because packing one keeps everything else in the process from being done.
PAGE = 500
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
        page: int = PAGE,
        lease_s: float = LEASE_S,
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._stream = Transport(js, service=service, replicas=replicas, publish_timeout_s=publish_timeout_s)
        self._queries = queries
        self._service = service
        self._holder = holder
        self._shards = shards
        self._page = page
        self._lease_s = lease_s
        self._monotonic = monotonic
        self._lease = 0
        self._pace = Pace()
        self._looked_at = 0.0
        self._checkpoint_seq = 0
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
        except (StreamLost, NotFoundError, NoStreamResponseError):
            _log.warning("the stream is gone or older than it was", service=self._service)
        except (DependencyUnavailable, RequestInFlight, NatsError, TimeoutError) as error:
            _log.warning("relay waits", service=self._service, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a relay that ends silently is worse than one that fails aloud
            _log.error("relay failed", service=self._service, exc_info=error)
            self.failure = type(error).__name__

    async def _work(self) -> None:
        """Takes the lease and publishes until something fails."""
        position = await self._take_lease()
        if position is None:
            self.failure = ""
            return
        await self._stream.make()
        position = await self._heal(position)
        while True:
            self._wake.clear()
            position = await self.drain(position)
            self.failure = ""
            await self._beat(position)
            await self._rest()

    async def _beat(self, position: Position) -> None:
        """Every second: looks at the stream, prolongs the lease where no page has done so, and sets a checkpoint.

        Others' transactions move the position without a page. The position is no drain's middle.
        """
        if self._monotonic() - self._looked_at <= HEARTBEAT_S:
            return
        if await self._stream.look() is not Loss.NOTHING:
            raise StreamLost
        self._looked_at = self._monotonic()
        await self._store_all(position)
        if self._stream.memory.face.last_seq != self._checkpoint_seq:
            async with self._database.connection() as connection:
                await connection.execute(self._queries["add_checkpoint"], self._holder, self._lease)
            self._checkpoint_seq = self._stream.memory.face.last_seq

    async def _heal(self, position: Position) -> Position:
        """Publishes again what somebody may miss of a stream that has lost messages; the position after that.

        The stream's old face stays stored until everything is there, so that a crash in between begins again.
        """
        loss = await self._stream.look()
        if loss is Loss.NOTHING:
            await self._stream.know_face()
            await self._store_all(position)
            return position
        start = await self._checkpoint(position) if loss is Loss.MESSAGES else None
        _log.error("the stream has lost messages; publishing again", service=self._service, whole=start is None)
        suffix = f":r{position.epoch}.{await self._stream.begin_anew()}"
        if start is None:
            await self._republish(position, before=position.epoch + 1, suffix=suffix)
        else:
            position = await self._republish_since(start, position, suffix=suffix)
        await self._stream.know_healed(whole=start is None)
        await self._store_healed(position, start)
        return position

    async def _checkpoint(self, position: Position) -> Position | None:
        """From where to publish again, up to where the position has come; None: everything, because nothing is sure.

        Raises:
            XidsRestarted: the position belongs to another cluster, so no snapshot of it says anything.
        """
        async with self._database.connection() as connection:
            look = await fetch_one(connection, self._queries["look"])
            self._demand_same_cluster(look, position)
            if look["epoch"] != position.epoch:
                return None
            created, safe_seq = self._stream.memory.face.created, self._stream.safe_seq()
            row = await connection.fetchrow(self._queries["find_checkpoint"], created, position.epoch, safe_seq)
        return None if row is None else Position(position.epoch, row["snapshot"], position.to_snapshot, 0, row["day"])

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _take_lease(self) -> Position | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["take_lease"], self._holder, self._lease_s)
        if row is None:
            return None
        self._lease = row["lease"]
        self._stream.memory = Memory.of(row)
        self._looked_at = self._monotonic()
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
            # After a restore nobody knows what the broker has seen. It would swallow ids of the last minutes.
            await self._republish(position, before=look["epoch"], suffix=f":r{look['epoch']}")
            position = await self._enter_epoch(look["epoch"], look["epoch_day"])
        if position.to_snapshot != position.from_snapshot:
            # A drain that is resumed: `to` is as old as the position, and so is the day up to which it reads.
            return await self._drain_pages(position, position.day)
        if look["snapshot"] == position.from_snapshot:
            return position
        return await self._drain_pages(replace(position, to_snapshot=look["snapshot"], last_seq=0), look["day"])

    async def _drain_pages(self, position: Position, day: datetime.date) -> Position:
        events = 0
        while True:
            rows = await self._read(position)
            if rows:
                events += len(rows)
                await self._publish(rows)
                position = replace(position, last_seq=rows[-1].seq)
            if len(rows) < self._page:
                break
            await self._store_all(position)
        self._pace.note(events // self._page)
        position = replace(position, from_snapshot=position.to_snapshot, last_seq=0, day=day)
        if events:
            await self._store_all(position)
        return position

    async def _read(self, position: Position) -> list[LogRow]:
        query = self._queries["read_on" if position.last_seq else "read_page"]
        async with self._database.connection() as connection:
            records = await connection.fetch(
                query,
                position.from_snapshot,
                position.to_snapshot,
                position.day,
                position.last_seq,
                position.epoch,
                self._page,
            )
        return [log_row(record) for record in records]

    async def _republish(self, position: Position, *, before: int, suffix: str) -> None:
        """Publishes everything of the epochs before one again; what commits meanwhile is the position's matter."""
        day, last_seq = _EPOCH_DAY, 0
        while True:
            async with self._database.connection() as connection:
                records = await connection.fetch(self._queries["read_older_epochs"], before, day, last_seq, self._page)
            if not records:
                return
            await self._publish([log_row(record) for record in records], suffix=suffix)
            metrics.RELAY_REPUBLISHED.labels(self._service).inc(len(records))
            day, last_seq = records[-1]["day"], records[-1]["seq"]
            await self._store(position)

    async def _republish_since(self, start: Position, position: Position, *, suffix: str) -> Position:
        """Publishes again what `start` does not see and the position's drain does; the position at that drain's end."""
        while True:
            rows = await self._read(start)
            if rows:
                await self._publish(rows, suffix=suffix)
                metrics.RELAY_REPUBLISHED.labels(self._service).inc(len(rows))
                start = replace(start, last_seq=rows[-1].seq)
                await self._store(position)
            if len(rows) < self._page:
                return replace(position, from_snapshot=position.to_snapshot, last_seq=0)

    async def _enter_epoch(self, epoch: int, day: datetime.date) -> Position:
        """The epoch's beginning: nothing of it has been published, however long ago it was opened."""
        position = Position(epoch, "3:3:", "3:3:", 0, day)
        await self._store_all(position)
        return position

    async def _publish(self, rows: Sequence[LogRow], *, suffix: str = "") -> None:
        """Publishes a page and waits for every acknowledgement; rests after a full one, because there is more to come."""
        began = self._monotonic()
        packed = list(windows(rows, shards=self._shards, suffix=suffix))
        crashpoints.reach("relay.publishing")
        await self._stream.publish(packed)
        crashpoints.reach("relay.published")
        if len(rows) == self._page:
            await asyncio.sleep(self._pace.rest_s(self._monotonic() - began))
        metrics.RELAY_PUBLISHED.labels(self._service).inc(len(rows))

    async def _store_all(self, position: Position) -> None:
        """Stores the position, and the stream's face as it is with everything published up to there."""
        self._stream.know_end()
        await self._store(position)

    async def _store_healed(self, position: Position, start: Position | None) -> None:
        """Stores the healed stream in the old one's place, with the checkpoint from which it was healed as its beginning."""
        self._checkpoint_seq = 0
        async with self._database.transaction() as connection:
            await self._store_by(connection, position)
            await connection.execute(self._queries["forget_checkpoints"])
            if start is not None:
                created = self._stream.memory.face.created
                beginning = (created, start.epoch, start.from_snapshot, start.day)
                await connection.execute(self._queries["begin_checkpoints"], *beginning)

    async def _store(self, position: Position) -> None:
        async with self._database.connection() as connection:
            await self._store_by(connection, position)

    async def _store_by(self, connection: Connection, position: Position) -> None:
        kept = await connection.fetchval(
            self._queries["store_position"],
            self._holder,
            self._lease,
            position.epoch,
            position.from_snapshot,
            position.to_snapshot,
            position.last_seq,
            position.day,
            self._lease_s,
            *self._stream.memory.columns(),
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
    """Begins an epoch after a restore; the relay then publishes everything again, and consumers drop what they know.

    Waits for the transactions that are writing events, so that none writes into the old epoch after this one has begun.
    """
    async with connection.transaction():
        await connection.execute(queries["stop_writers"])
        return int(await connection.fetchval(queries["open_epoch"], reason))
