"""What every service with a database and events is made of."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from nats.aio.client import Client

from mesh.audit import AuditTrail
from mesh.clock import Clock
from mesh.config import ServiceSettings
from mesh.events.backlog import Backlog, keeping_up
from mesh.events.consumer import Consumer, Handler
from mesh.events.dead_letters import DeadLetters
from mesh.events.partitions import Partitions
from mesh.events.relay import Relay
from mesh.events.stream import ask, connect
from mesh.migrate import demand_current
from mesh.pages import PageTokens
from mesh.postgres import Database, load_queries, open_database
from mesh.rpc.health import Probe


@dataclass(frozen=True, slots=True)
class Parts:
    """Open connections, and the plumbing over them."""

    service: str
    database: Database
    client: Client
    event_queries: Mapping[str, str]
    partitions: Partitions
    tokens: PageTokens

    def relay(self, settings: ServiceSettings) -> Relay:
        """The relay of this service's log; run it, and wake it after a commit."""
        return Relay(
            self.database,
            self.client.jetstream(),
            queries=self.event_queries,
            service=self.service,
            holder=secrets.token_hex(8),
            shards=settings.event_shards,
            replicas=settings.stream_replicas,
        )

    def consumer(self, handler: Handler, *, of: str, durable: str, clock: Clock) -> Consumer:
        """A consumer of another service's log; run it."""
        return Consumer(
            self.client, self.database, handler, queries=self.event_queries, service=of, durable=durable, clock=clock
        )

    def letters(self, handlers: Mapping[str, Handler], *, clock: Clock) -> DeadLetters:
        """What the consumers of this service could not apply."""
        return DeadLetters(self.database, handlers, queries=self.event_queries, tokens=self.tokens, clock=clock)

    def backlog(self) -> Backlog:
        """How much of this service's log waits for its relay; run it."""
        return Backlog(self.database, self.event_queries, service=self.service)

    def trail(self, statement: str) -> AuditTrail:
        """The audit trail of this service, read by its own statement."""
        return AuditTrail(self.database, statement=statement, tokens=self.tokens)

    def probes(self) -> dict[str, Probe]:
        """Health of what every service depends on. Without the broker it works: events wait in the log."""
        return {
            "postgres": Probe(self.database.ping, required=True),
            "nats": Probe(partial(ask, self.client), required=False),
        }

    def event_probes(
        self, *, relay: Relay | None = None, backlog: Backlog | None = None, consumers: Mapping[str, Consumer]
    ) -> dict[str, Probe]:
        """Health of what carries events. Whoever is behind still takes what is new: it waits in the log."""
        asked: dict[str, Callable[[], Awaitable[object]]] = {
            name: partial(keeping_up, consumer) for name, consumer in consumers.items()
        }
        if relay is not None:
            asked["relay"] = relay.healthy
        if backlog is not None:
            asked["backlog"] = backlog.within_bounds
        return {name: Probe(ask, required=False) for name, ask in asked.items()}


@asynccontextmanager
async def open_parts(settings: ServiceSettings, *, service: str, package: str) -> AsyncIterator[Parts]:
    """Connects, and refuses to go on with a schema that is not today's.

    Raises:
        StartRefused, DependencyUnavailable, OSError: it says what to do.
    """
    async with (
        open_database(
            settings.database_url.get_secret_value(),
            schema=settings.database_schema,
            pool_max=settings.database_pool,
            application=service,
        ) as database,
        connect(settings.nats_url.get_secret_value(), name=service) as client,
    ):
        async with database.connection() as connection:
            await demand_current(connection, service=package)
        event_queries = load_queries("mesh.events")
        tokens = PageTokens(settings.page_token_key.get_secret_value().encode())
        yield Parts(service, database, client, event_queries, Partitions(database, event_queries), tokens)
