"""An event log of one's own: a migrated database, a connection to NATS, and what was published of it."""

from __future__ import annotations

import asyncio
import datetime
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
from giving.common.v1.event_pb2 import Event, EventWindow
from giving.common.v1.page_pb2 import PageCursor
from nats.aio.client import Client

from mesh.events.log import EventLog, NewEvent, new_event
from mesh.events.relay import Position, Relay
from mesh.events.stream import connect, make_stream, stream_name
from mesh.ids import new_id, new_tenant_id
from mesh.postgres import Connection, Database, load_queries, open_database
from mesh.tasks import cancel
from tests.support.schemas import Schemas, make_database

QUERIES = load_queries("mesh.events")
TENANT = new_tenant_id()
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def fact(word: str = "", *, bucket: int | None = None) -> NewEvent:
    """An event whose correlation id is `word`."""
    event = new_event(
        PageCursor(filter_digest=1), source="giving/test", subject=new_id(tenant_id=TENANT), version=1, time=NOON
    )
    if not word and bucket is None:
        return event
    message = Event.FromString(event.payload)
    message.correlation_id = word
    return NewEvent(event.event_id, event.bucket if bucket is None else bucket, message.SerializeToString())


@dataclass
class Log:
    """A service's log and its stream; the stream's name is its own."""

    schemas: Schemas
    database: Database
    client: Client
    service: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}")

    @property
    def stream(self) -> str:
        return stream_name(self.service)

    def relay(self, *, holder: str = "first", client: Client | None = None, **more: Any) -> Relay:
        settings: dict[str, Any] = {
            "queries": QUERIES,
            "service": self.service,
            "holder": holder,
            "shards": 4,
            "replicas": 1,
        }
        return Relay(self.database, (client or self.client).jetstream(), **settings | more)

    async def begin(self, relay: Relay) -> Position:
        """The position of a relay that has just taken the lease."""
        await make_stream(self.client.jetstream(), service=self.service, replicas=1)
        position = await relay._take_lease()
        assert position is not None
        return position

    async def write(self, *events: NewEvent, connection: Connection | None = None) -> list[UUID]:
        """Appends in the transaction of `connection`, otherwise in one of its own."""
        if connection is None:
            async with self.database.transaction() as own:
                return await self.write(*events, connection=own)
        await EventLog(QUERIES).append(connection, events)
        return [event.event_id for event in events]

    async def messages(self) -> list[tuple[str, EventWindow]]:
        """Message id and window of everything on the stream, oldest first."""
        js = self.client.jetstream()
        state = (await js.stream_info(self.stream)).state
        raw = [await js.get_msg(self.stream, seq) for seq in range(max(1, state.first_seq), state.last_seq + 1)]
        return [((message.headers or {})["Nats-Msg-Id"], EventWindow.FromString(message.data or b"")) for message in raw]

    async def published(self) -> list[UUID]:
        """Ids of the events on the stream, with repetitions."""
        return [UUID(bytes=event.id) for _, window in await self.messages() for event in window.events]

    async def row(self, statement: str, *arguments: Any) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetchrow(statement, *arguments)

    async def as_admin(self, statement: str, *arguments: Any) -> None:
        """Runs a statement that the service's role may not."""
        connection = await asyncpg.connect(self.schemas.admin_dsn, server_settings={"search_path": "donation"})
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()


@asynccontextmanager
async def open_log(postgres_dsn: str, nats_url: str, *, pool_max: int = 10) -> AsyncIterator[Log]:
    """A fresh log."""
    schemas = await make_database(postgres_dsn, "donation_svc")
    async with (
        open_database(schemas.dsn("donation"), schema="donation", pool_max=pool_max, application="test") as database,
        connect(nats_url, name="test") as client,
    ):
        yield Log(schemas, database, client)


@asynccontextmanager
async def running(*works: Any) -> AsyncIterator[Sequence[asyncio.Task[Any]]]:
    """Coroutines as tasks that are cancelled at the end; a task that failed fails the test."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            await cancel(task)
    for task in tasks:
        if not task.cancelled():
            task.result()
