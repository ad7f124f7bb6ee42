"""Use cases of the ledger: post what was recorded, verify, read."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from mesh.ids import new_id
from mesh.money import Money
from mesh.postgres import Connection, Database
from payment_svc.domain.ledger import Batch, DonationChange, Entry, Posting, Verification
from payment_svc.ledger import batch_of, batch_postings
from payment_svc.refusals import AccountNotFound

# How many violations an answer holds; one is already too many.
VIOLATIONS_MAX = 100


class LedgerBook(Protocol):
    """Where postings are kept."""

    async def apply(
        self, connection: Connection, changes: Collection[DonationChange], ids: Mapping[Batch, UUID]
    ) -> set[UUID]:
        """Takes events for posted under these posting ids; the ids of those that were new."""
        ...

    async def insert(self, connection: Connection, postings: Sequence[Posting], *, source: str) -> None:
        """Writes whole postings."""
        ...

    async def verify(self, *, violations_max: int) -> Verification:
        """Reads everything."""
        ...

    async def has_account(self, account: str) -> bool: ...

    async def balances(self, account: str, *, campaign_id: UUID | None, as_of: datetime.datetime | None) -> list[Money]:
        """One amount per currency."""
        ...

    async def entries_of(self, reference_id: UUID) -> list[Entry]:
        """Oldest first."""
        ...


class Ledger:
    """The double-entry ledger."""

    def __init__(self, *, database: Database, book: LedgerBook) -> None:
        self._database = database
        self._book = book

    async def post_recorded(self, changes: Sequence[DonationChange], *, source: str) -> None:
        """Posts what was not posted before, in one transaction, one posting per campaign, currency and kind.

        Raises:
            AmountOutOfRange: together they are more than a posting holds.
        """
        # A message may be delivered twice within one batch.
        distinct = {change.event_id: change for change in changes}.values()
        await self._database.run(lambda connection: self._post(connection, distinct, source))

    async def _post(self, connection: Connection, changes: Collection[DonationChange], source: str) -> None:
        # Links are written before it is known what is new: a row that was applied is never changed afterwards.
        ids = {batch: new_id(tenant_id=batch.charity_id) for batch in map(batch_of, changes)}
        fresh = await self._book.apply(connection, changes, ids)
        postings = batch_postings((change for change in changes if change.event_id in fresh), ids=ids)
        if postings:
            await self._book.insert(connection, postings, source=source)

    async def verify_ledger(self) -> Verification:
        """Whether every posting balances, over everything that was ever posted."""
        return await self._book.verify(violations_max=VIOLATIONS_MAX)

    async def get_balance(self, account: str, *, campaign_id: UUID | None, as_of: datetime.datetime | None) -> list[Money]:
        """The balance per currency, debit positive.

        Time is that of the posting's transaction: what began before `as_of` and commits after it is added when it commits.

        Raises:
            AccountNotFound: there is no such account.
        """
        if not await self._book.has_account(account):
            raise AccountNotFound("no such account", account=account)
        return await self._book.balances(account, campaign_id=campaign_id, as_of=as_of)

    async def list_entries(self, reference_id: UUID) -> list[Entry]:
        """Entries of the postings of a donation or payment.

        Recorded donations are posted in batches, one posting for all gifts to a campaign that arrived together: the amounts
        are the batch's. Which part of them is the donation's own stands in the column `delta` of `applied`.
        """
        return await self._book.entries_of(reference_id)
