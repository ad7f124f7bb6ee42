"""Settlement: movements on our balance at the provider are taken once, posted, and held against our books until both agree.

Taking stores what the provider said; a look posts it, or what was learned since. Both are safe to repeat, in any order and
by any replica: a movement is stored once, and posted as the difference to what was posted before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

import structlog

from mesh import crashpoints
from mesh.errors import Refusal
from mesh.ids import new_id
from mesh.postgres import Connection
from payment_svc.domain.ledger import NOBODY, Posting
from payment_svc.domain.settlement import Item, ItemClass, Movement, Origin, Ours, classed, differing, looked_at, owner
from payment_svc.ledger import settlement_posting
from payment_svc.service.changes import SOURCE, Desk, PostingBook
from payment_svc.store.settlement import SettlementStore

# Looks of one transaction: some tens of milliseconds of work.
LOOKS_MAX = 500
# Payments that the provider is asked about at once, and how long their askings are waited for.
_ASKED_AT_ONCE = 10
_PATIENCE_S = 6.0
_LOOK_S = 0.25
_log = structlog.get_logger()


class Asking(Protocol):
    """Asks the provider."""

    async def ask(self, payment_id: UUID, *, patience_s: float) -> None:
        """Asks what has to be asked about a payment; waits at most `patience_s`."""
        ...


class Settlement:
    """The provider's balance beside our books."""

    def __init__(self, desk: Desk, *, store: SettlementStore, postings: PostingBook, asking: Asking) -> None:
        self._desk = desk
        self._store = store
        self._postings = postings
        self._asking = asking

    async def take(self, movements: Collection[Movement]) -> int:
        """Stores movements as the provider itself tells of them; how many were new. A known one changes nothing.

        What a file had said otherwise is corrected, and kept as a finding.
        """
        return await self._desk.database.run(lambda connection: self._take(connection, movements))

    async def _take(self, connection: Connection, movements: Collection[Movement]) -> int:
        now = self._desk.clock.now()
        ours = await self._store.ours(connection, movements)
        items = [
            Item(movement, classed(movement, ours.get(movement.id)), Origin.API, ours.get(movement.id))
            for movement in movements
        ]
        taken = await self._store.take(connection, items, now=now)
        crashpoints.reach("settlement.taken")
        known = {movement.id: movement for movement in movements if movement.id not in taken}
        for item in await self._store.lock_told_by_files(connection, known) if known else ():
            await self._overrule(connection, item, known[item.movement.id], ours.get(item.movement.id))
        return len(taken)

    async def _overrule(self, connection: Connection, told: Item, said: Movement, ours: Ours | None) -> None:
        difference = differing(told.movement, said)
        if difference is None and told.posted and told.item_class is not ItemClass.UNKNOWN_SOURCE:
            return
        now = self._desk.clock.now()
        if difference:
            await self._store.keep_finding(connection, told, difference, now=now)
        await self._store.overrule(connection, said, now=now)
        if told.posted:
            corrected = Item(said, told.item_class, Origin.API, told.ours, posted=True, looks=told.looks)
            await self._post(connection, [(told, looked_at(corrected, ours, now=now, asked=False))])

    async def settle(self) -> bool:
        """Looks once at movements that are due, and posts what is to be posted; whether there were any.

        The provider is asked first about payments whose books lack what its balance shows.
        """
        now = self._desk.clock.now()
        answered = await self._ask(await self._store.missing_in_books(now=now, limit=LOOKS_MAX))
        return await self._desk.database.run(lambda connection: self._look(connection, answered))

    async def _ask(self, payments: Sequence[UUID]) -> set[UUID]:
        """Those of some payments that the provider has answered about; while calls are paused it is none."""
        answered: set[UUID] = set()
        for begin in range(0, len(payments), _ASKED_AT_ONCE):
            asked = payments[begin : begin + _ASKED_AT_ONCE]
            await self._desk.database.run(partial(self._demand, payments=asked))
            await asyncio.gather(*(self._asking.ask(payment_id, patience_s=_PATIENCE_S) for payment_id in asked))
            answered.update([payment_id for payment_id in asked if await self._is_answered(payment_id)])
        return answered

    async def _demand(self, connection: Connection, payments: Sequence[UUID]) -> None:
        for payment_id in sorted(payments):
            if payment := await self._desk.payments.lock(connection, payment_id):
                await self._desk.changes.demand_look(connection, payment, actor=SOURCE)

    async def _is_answered(self, payment_id: UUID) -> bool:
        payment = await self._desk.payments.get(payment_id)
        return payment is not None and not payment.look_demanded and not payment.is_due(now=self._desk.clock.now())

    async def _look(self, connection: Connection, answered: Collection[UUID]) -> bool:
        now = self._desk.clock.now()
        due = await self._store.lock_due(connection, now=now, limit=LOOKS_MAX)
        ours = await self._store.ours(connection, [item.movement for item in due])
        looks = []
        for item in due:
            known = ours.get(item.movement.id)
            asked = known is not None and known.payment_id in answered
            looks.append((item, looked_at(item, known, now=now, asked=asked)))
        await self._post(connection, looks)
        return bool(due)

    async def _post(self, connection: Connection, looks: Sequence[tuple[Item, Item]]) -> None:
        """Stores what looks found, each item before and after it, and posts what is not posted."""
        if not looks:
            return
        found = [(after, _posting(before, after)) for before, after in looks]
        await self._store.look(
            connection,
            [(after, posting.id if posting else None) for after, posting in found],
            now=self._desk.clock.now(),
        )
        postings = [posting for _, posting in found if posting]
        if postings:
            await self._postings.insert(connection, postings, source=SOURCE)
            crashpoints.reach("settlement.posted")

    async def run(self) -> None:
        """Looks at what is due, until it is cancelled."""
        while True:
            try:
                looked = await self.settle()
            except Refusal as error:
                # Whoever looks next goes on: what was not posted is still due.
                _log.warning("settling was interrupted", error=error.reason_name)
                looked = False
            if not looked:
                await asyncio.sleep(_LOOK_S)


def _posting(before: Item, after: Item) -> Posting | None:
    ours = owner(before, after)
    return settlement_posting(new_id(tenant_id=ours.charity_id if ours else NOBODY), before, after)
