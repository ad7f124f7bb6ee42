"""One way in which a payment changes: facts, then row, ledger and event in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Protocol

from mesh.clock import Clock
from mesh.events.log import NewEvent, new_event
from mesh.ids import new_id
from mesh.postgres import Connection, Database
from payment_svc import convert
from payment_svc.domain.advance import advance
from payment_svc.domain.asking import due_time
from payment_svc.domain.facts import Fact
from payment_svc.domain.ledger import Posting, PostingKind
from payment_svc.domain.payments import Payment
from payment_svc.ledger import payment_posting
from payment_svc.store.payments import PaymentStore, Stamp

SOURCE = "giving/payment"
Wake = Callable[[], None]


class PaymentBook(Protocol):
    """Where payments are kept."""

    async def save(self, connection: Connection, before: Payment, after: Payment, stamp: Stamp) -> Payment:
        """Stores a change of a locked payment."""
        ...

    async def schedule(self, connection: Connection, payment: Payment) -> None:
        """Stores when the provider is asked next."""
        ...


class PostingBook(Protocol):
    """Where postings are kept."""

    async def insert(self, connection: Connection, postings: Sequence[Posting], *, source: str) -> None:
        """Writes whole postings."""
        ...


class Waiting(Protocol):
    """Webhooks that wait for something to become known."""

    async def hasten(self, connection: Connection, intent_id: str, *, now: datetime.datetime) -> None:
        """What waited for an intent is due at once."""
        ...


class Log(Protocol):
    """The event log."""

    async def append(self, connection: Connection, events: Sequence[NewEvent]) -> None:
        """Writes events in the caller's transaction."""
        ...


class Changes:
    """Applies facts to locked payments."""

    def __init__(self, *, payments: PaymentBook, postings: PostingBook, waiting: Waiting, log: Log, clock: Clock) -> None:
        self._payments = payments
        self._postings = postings
        self._waiting = waiting
        self._log = log
        self._clock = clock

    async def apply(
        self,
        connection: Connection,
        payment: Payment,
        facts: Sequence[Fact],
        *,
        actor: str,
        correlation_id: str,
        ask_at: datetime.datetime | None = None,
    ) -> Payment:
        """The payment after the facts, stored, posted and announced; `ask_at`: when the provider is asked next if it must.

        Raises:
            Contradiction: a fact cannot be true of this payment; nothing was written.
        """
        now = self._clock.now()
        after = reduce(advance, facts, payment)
        due = due_time(after, now=now, ask_at=ask_at)
        if after == payment:
            await self._payments.schedule(connection, replace(payment, next_attempt_time=due))
            return replace(payment, next_attempt_time=due)
        said = (payment.state, payment.failure_code)
        news = replace(after, progress=payment.progress) != payment or (after.state, after.failure_code) != said
        after = replace(after, version=payment.version + news, next_attempt_time=due)
        stored = await self._payments.save(connection, payment, after, Stamp(actor, correlation_id, now))
        await self._post(connection, stored, captured=stored.captured - payment.captured)
        if stored.provider_id != payment.provider_id:
            await self._waiting.hasten(connection, stored.provider_id, now=now)
        # That the provider said the same again in a later second is remembered and is no news.
        if news:
            await self.announce(connection, stored, before=payment)
        return stored

    async def announce(self, connection: Connection, payment: Payment, *, before: Payment) -> None:
        """Writes the event of a change that the caller has stored."""
        data = convert.payment_changed(payment, before=before)
        event = new_event(data, source=SOURCE, subject=payment.id, version=payment.version, time=self._clock.now())
        await self._log.append(connection, [event])

    async def _post(self, connection: Connection, payment: Payment, *, captured: int) -> None:
        if captured:
            posting_id = new_id(tenant_id=payment.charity_id)
            posting = payment_posting(posting_id, payment, kind=PostingKind.CAPTURED, minor_units=captured)
            await self._postings.insert(connection, [posting], source=SOURCE)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every use case of payments works with."""

    database: Database
    payments: PaymentStore
    changes: Changes
    clock: Clock
    wake: Wake
