"""The inbound side of the payment service put together by hand, over a real database, so that a test may swap a part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from mesh.clock import ManualClock
from mesh.events.log import EventLog
from mesh.pages import PageTokens
from mesh.postgres import BOUNDS, Database, load_queries
from mesh.seal import Seal, key_from
from payment_svc.domain.inbound import ProviderEvent
from payment_svc.poller import CHECKPOINT, EventList, Poller
from payment_svc.provider import EVENT_TYPES, WebhookReader
from payment_svc.service.changes import Changes, Desk
from payment_svc.service.inbound_operations import InboundOperations
from payment_svc.service.webhooks import Webhooks
from payment_svc.store.checkpoints import Checkpoints
from payment_svc.store.commands import CommandStore
from payment_svc.store.inbound_events import InboundEvents
from payment_svc.store.inbox import Inbox
from payment_svc.store.ledger import LedgerStore
from payment_svc.store.payments import PaymentStore
from payment_svc.store.settlement import SettlementStore
from tests.support.mesh import COMMON
from tests.support.sandbox import WEBHOOK_SECRETS
from tests.support.schemas import Schemas

Read = Callable[[ProviderEvent], ProviderEvent]


class OtherReader(WebhookReader):
    """One that reads events otherwise than today's, as an older version did."""

    def __init__(self, read: Read) -> None:
        super().__init__(secrets=WEBHOOK_SECRETS, live=False)
        self._read = read

    def read_stored(self, body: bytes) -> ProviderEvent:
        return self._read(super().read_stored(body))


def not_followed(event: ProviderEvent) -> ProviderEvent:
    """What a version says of an event that it does not follow yet."""
    return replace(event, fact=None, flaw="not followed yet")


@dataclass(frozen=True)
class Inbound:
    """Parts over one database. `rows`: the administrator's connection to it."""

    database: Database
    rows: asyncpg.Connection
    clock: ManualClock
    inbox: Inbox
    desk: Desk

    def webhooks(self, read: Read = lambda event: event) -> Webhooks:
        return Webhooks(self.desk, reader=OtherReader(read), inbox=self.inbox, types=EVENT_TYPES)

    def operations(self, webhooks: Webhooks) -> InboundOperations:
        queries = load_queries("payment_svc")
        events = InboundEvents(self.database, queries, _seal())
        return InboundOperations(
            self.desk,
            webhooks=webhooks,
            inbox=self.inbox,
            events=events,
            commands=CommandStore(queries),
            tokens=PageTokens(b"k" * 32),
        )

    def poller(self, provider: EventList, taking: Any) -> Poller:
        checkpoints = Checkpoints(self.database, load_queries("payment_svc"))
        return Poller(provider=provider, taking=taking, checkpoints=checkpoints, clock=self.clock, period_s=60)

    async def checkpoint(self) -> asyncpg.Record:
        return await self.rows.fetchrow("SELECT * FROM checkpoint WHERE name = $1", CHECKPOINT)

    async def stored(self) -> list[asyncpg.Record]:
        """Every inbound event, in the order of its coming."""
        return await self.rows.fetch("SELECT * FROM provider_event ORDER BY xmin::text::bigint, event_id")


@asynccontextmanager
async def inbound_parts(schemas: Schemas, *, clock: ManualClock, **bounds: str) -> AsyncIterator[Inbound]:
    """As the service would put them together; `bounds`: other ones than the service's own."""
    settings = {**BOUNDS, **bounds, "search_path": "payment"}
    queries = load_queries("payment_svc")
    rows = await asyncpg.connect(schemas.admin_dsn, server_settings={"search_path": "payment"})
    async with asyncpg.create_pool(schemas.dsn("payment"), min_size=1, max_size=8, server_settings=settings) as pool:
        database = Database(pool)
        payments, inbox = PaymentStore(database, queries), Inbox(queries, _seal())
        changes = Changes(
            payments=payments,
            postings=LedgerStore(database, queries),
            movements=SettlementStore(database, queries),
            waiting=inbox,
            log=EventLog(load_queries("mesh.events")),
            clock=clock,
        )
        yield Inbound(database, rows, clock, inbox, Desk(database, payments, changes, clock, lambda: None))
    await rows.close()


def _seal() -> Seal:
    return Seal(key_from(COMMON["data_key"]))
