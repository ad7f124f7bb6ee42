"""One way in which a payment changes: facts, then row, ledger and event in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Protocol
from uuid import UUID

from mesh.clock import Clock
from mesh.events.log import NewEvent, new_event
from mesh.ids import new_id
from mesh.postgres import Connection, Database
from payment_svc import convert
from payment_svc.domain.advance import advance
from payment_svc.domain.asking import due_time, manual_reason, next_step
from payment_svc.domain.facts import Fact
from payment_svc.domain.ledger import Posting
from payment_svc.domain.payments import Payment
from payment_svc.ledger import moves, payment_posting
from payment_svc.store.payments import PaymentStore, Stamp

SOURCE = "giving/payment"
Wake = Callable[[], None]


class PaymentBook(Protocol):
    """Where payments are kept."""

    async def save(self, connection: Connection, before: Payment, after: Payment, stamp: Stamp, *, release: bool) -> Payment:
        """Stores a change of a locked payment."""
        ...

    async def schedule(
        self, connection: Connection, payment: Payment, *, actor: str, release: bool, now: datetime.datetime
    ) -> None:
        """Stores when the provider is asked next, and whether an operator has to look."""
        ...


class PostingBook(Protocol):
    """Where postings are kept."""

    async def insert(self, connection: Connection, postings: Sequence[Posting], *, source: str) -> None:
        """Writes whole postings."""
        ...

    async def captured_posting(self, connection: Connection, payment_id: UUID) -> UUID | None:
        """The posting of what a payment took."""
        ...


class Waiting(Protocol):
    """Webhooks that wait for something to become known."""

    async def hasten(self, connection: Connection, intent_id: str, *, now: datetime.datetime) -> None:
        """What waited for an intent is due at once."""
        ...


class Movements(Protocol):
    """What the provider's balance says moved."""

    async def hasten(self, connection: Connection, payment: Payment, *, now: datetime.datetime) -> None:
        """What does not agree with a payment's books is due to be looked at."""
        ...


class Log(Protocol):
    """The event log."""

    async def append(self, connection: Connection, events: Sequence[NewEvent]) -> None:
        """Writes events in the caller's transaction."""
        ...


class Changes:
    """Applies facts to locked payments."""

    def __init__(
        self,
        *,
        payments: PaymentBook,
        postings: PostingBook,
        movements: Movements,
        waiting: Waiting,
        log: Log,
        clock: Clock,
    ) -> None:
        self._payments = payments
        self._postings = postings
        self._movements = movements
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
        holder: bool = False,
    ) -> Payment:
        """The payment after the facts, stored, posted and announced.

        `ask_at`: when the provider is asked next if it must; None: as is planned for what is open. `holder`: the caller
        holds the payment for asking, and lets go of it unless something is due at once.

        Raises:
            Contradiction: a fact cannot be true of this payment; nothing was written.
            ReturnsExceeded: more is asked to go back than is left; the transaction is lost.
        """
        now = self._clock.now()
        advanced = reduce(advance, facts, payment)
        kept = None if holder else payment.next_attempt_time
        planned = self._planned(payment, advanced, ask_at=ask_at, kept=kept)
        release = holder and not planned.is_due(now=now)
        if advanced == payment:
            await self._payments.schedule(connection, planned, actor=actor, release=release, now=now)
            return planned
        said = (payment.state, payment.failure_code)
        quiet = replace(advanced, progress=payment.progress, returns_said=payment.returns_said)
        news = quiet != payment or (advanced.state, advanced.failure_code) != said
        after = replace(planned, version=payment.version + news)
        stored = await self._payments.save(connection, payment, after, Stamp(actor, correlation_id, now), release=release)
        if news:
            # Before the posting: whoever settles holds a movement first, and then what stands on clearing.
            await self._movements.hasten(connection, stored, now=now)
        await self._post(connection, payment, stored)
        if stored.provider_id != payment.provider_id:
            await self._waiting.hasten(connection, stored.provider_id, now=now)
        # That the provider said the same again in a later second is remembered and is no news.
        if news:
            await self.announce(connection, stored, before=payment)
        return stored

    async def demand_look(self, connection: Connection, payment: Payment, *, actor: str) -> Payment:
        """Has the provider asked at once about a locked payment: for what is open of it, otherwise how it stands there."""
        now = self._clock.now()
        is_open = next_step(payment, now=now) is not None
        demanded = payment if is_open or not payment.provider_id else replace(payment, look_demanded=True)
        planned = self._planned(payment, demanded, ask_at=now, kept=None)
        await self._payments.schedule(connection, planned, actor=actor, release=False, now=now)
        return planned

    def _planned(
        self, before: Payment, after: Payment, *, ask_at: datetime.datetime | None, kept: datetime.datetime | None
    ) -> Payment:
        """When the provider is asked next; `kept`: when it was to be, which stays where the same is still to be asked."""
        now = self._clock.now()
        same = next_step(before, now=now) is next_step(after, now=now)
        due = due_time(after, now=now, ask_at=ask_at or (kept if same else None))
        return replace(after, next_attempt_time=due, manual_reason=manual_reason(after, now=now))

    async def announce(self, connection: Connection, payment: Payment, *, before: Payment) -> None:
        """Writes the event of a change that the caller has stored."""
        data = convert.payment_changed(payment, before=before)
        event = new_event(data, source=SOURCE, subject=payment.id, version=payment.version, time=self._clock.now())
        await self._log.append(connection, [event])

    async def _post(self, connection: Connection, before: Payment, after: Payment) -> None:
        found = moves(before, after)
        if not found:
            return
        reverses = await self._postings.captured_posting(connection, after.id) if before.captured else None
        postings: list[Posting] = []
        for kind, minor_units in found:
            posting_id = new_id(tenant_id=after.charity_id)
            reverses = reverses or posting_id
            postings.append(payment_posting(posting_id, after, kind=kind, minor_units=minor_units, reverses=reverses))
        await self._postings.insert(connection, postings, source=SOURCE)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every use case of payments works with."""

    database: Database
    payments: PaymentStore
    changes: Changes
    clock: Clock
    wake: Wake
