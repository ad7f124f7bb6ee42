"""Payments whose first answers were all lost, and a provider that has them: what it takes until each is proven."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from mesh.clock import ManualClock
from mesh.events.log import EventLog
from mesh.ids import new_id, new_tenant_id
from mesh.money import Money
from mesh.postgres import Database, load_queries
from mesh.seal import Seal
from payment_svc.domain.answers import Absent, Answer, Found, NotReached, Refused, Seen, Unproven
from payment_svc.domain.facts import IntentSeen
from payment_svc.domain.payments import Attempt, IntentStatus, Payment, Progress
from payment_svc.provider import CircuitBreaker
from payment_svc.reconciler import Reconciler
from payment_svc.service.changes import Changes, Desk
from payment_svc.store.inbox import Inbox
from payment_svc.store.ledger import LedgerStore
from payment_svc.store.payments import PaymentStore, Stamp
from payment_svc.store.settlement import SettlementStore


class ForgetfulStripe:
    """Makes every intent, and loses the first `losses` answers to each; `made`: intents by payment.

    `refusing`: the code with which it refuses to make any, as long as it is set.
    """

    def __init__(self, *, losses: int) -> None:
        self.refusing = ""
        self._losses = losses
        self._asked: Counter[UUID] = Counter()
        self._keys: dict[UUID, IntentSeen] = {}
        self.made: Counter[UUID] = Counter()

    async def create_intent(self, payment: Payment, *, attempt_id: UUID, again: int = 0) -> Answer:
        if self.refusing:
            return Refused(self.refusing)
        if attempt_id not in self._keys:
            self.made[payment.id] += 1
            progress = Progress(1, IntentStatus.REQUIRES_PAYMENT_METHOD)
            self._keys[attempt_id] = IntentSeen(
                f"pi_{attempt_id.hex}", payment.amount, progress, 0, str(payment.donation_id), "a secret"
            )
        self._asked[attempt_id] += 1
        return Unproven() if self._asked[attempt_id] <= self._losses else Seen(self._keys[attempt_id])

    @property
    def asked(self) -> int:
        """How often it was asked for an intent."""
        return self._asked.total()

    async def cancel_intent(self, provider_id: str, *, attempt_id: UUID, again: int = 0) -> Answer:
        return NotReached()

    async def capture_intent(self, payment: Payment, *, call: Attempt) -> Answer:
        return NotReached()

    async def create_refund(self, payment: Payment, *, call: Attempt) -> Answer:
        return NotReached()

    async def list_returns(self, provider_id: str) -> Answer:
        return NotReached()

    async def get_intent(self, provider_id: str) -> Answer:
        return NotReached()

    async def find_intent(self, payment: Payment) -> Found:
        return Absent()


class Flood:
    """`count` payments, recorded at once, whose calls all end without an answer."""

    def __init__(self, database: Database, *, losses: int) -> None:
        queries = load_queries("payment_svc")
        self.clock = ManualClock()
        self.stripe = ForgetfulStripe(losses=losses)
        self._database = database
        self._payments = PaymentStore(database, queries)
        changes = Changes(
            payments=self._payments,
            postings=LedgerStore(database, queries),
            movements=SettlementStore(database, queries),
            waiting=Inbox(queries, Seal(bytes(32))),
            log=EventLog(load_queries("mesh.events")),
            clock=self.clock,
        )
        desk = Desk(database, self._payments, changes, self.clock, wake=lambda: None)
        self._reconciler = Reconciler(desk, provider=self.stripe, breaker=CircuitBreaker(self.clock), lease_s=60)

    async def record(self, count: int) -> set[UUID]:
        """Records the payments; they are due at once."""
        charity, now = new_tenant_id(), self.clock.now()
        ids = set()
        async with self._database.connection() as connection, connection.transaction():
            for _ in range(count):
                payment = Payment(
                    id=new_id(tenant_id=charity),
                    charity_id=charity,
                    campaign_id=charity,
                    donation_id=new_id(tenant_id=charity),
                    amount=Money(2500, "USD"),
                    manual_capture=False,
                    version=1,
                    create_time=now,
                    update_time=now,
                    next_attempt_time=now,
                )
                await self._payments.insert(connection, payment, digest=0, leased_until=None, stamp=Stamp("test", "", now))
                ids.add(payment.id)
        return ids

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """The reconciler at work, as in the service."""
        loop = asyncio.ensure_future(self._reconciler.run())
        try:
            yield
        finally:
            loop.cancel()
            await self._reconciler.close(timeout_s=10)

    async def states(self, ids: set[UUID]) -> Counter[int]:
        """How many of the payments stand where."""
        query = "SELECT state, count(*) FROM payment WHERE id = ANY ($1) GROUP BY state"
        async with self._database.connection() as connection:
            return Counter({row["state"]: row["count"] for row in await connection.fetch(query, list(ids))})

    async def manual_reasons(self, ids: set[UUID]) -> set[str]:
        """Why an operator has to look at the payments."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT manual_reason FROM payment WHERE id = ANY ($1)", list(ids))
            return {row["manual_reason"] for row in rows}

    def wait(self, seconds: int) -> None:
        self.clock.advance(datetime.timedelta(seconds=seconds))
