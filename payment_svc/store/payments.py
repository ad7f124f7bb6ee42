"""Payments and their attempts."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg

from mesh.ids import new_id
from mesh.postgres import Connection, Database
from payment_svc.domain.payments import Attempt, Dispute, Outcome, Payment
from payment_svc.store.rows import payment_from


class ReturnsExceeded(Exception):  # noqa: N818 - named for the fact
    """More would go back than was taken; the database said so."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who changes a row, in which call, and when."""

    actor: str
    correlation_id: str
    now: datetime.datetime


class PaymentStore:
    """Payments in PostgreSQL."""

    def __init__(self, database: Database, queries: Mapping[str, str]) -> None:
        self._database = database
        self._queries = queries

    async def insert(
        self, connection: Connection, payment: Payment, *, digest: int, leased_until: datetime.datetime | None, stamp: Stamp
    ) -> bool:
        """Records a payment with its first call; False where its donation has one already."""
        inserted = await connection.fetchval(
            self._queries["insert_payment"],
            payment.id,
            payment.charity_id,
            payment.campaign_id,
            payment.donation_id,
            payment.canceled,
            digest,
            payment.state,
            payment.amount.currency,
            payment.amount.minor_units,
            payment.manual_capture,
            payment.next_attempt_time,
            leased_until,
            stamp.actor,
            stamp.correlation_id,
            stamp.now,
            new_id(tenant_id=payment.charity_id),
        )
        return inserted is not None

    async def get(self, payment_id: UUID) -> Payment | None:
        async with self._database.connection() as connection:
            return await self.read(connection, payment_id)

    async def read(self, connection: Connection, payment_id: UUID) -> Payment | None:
        """The payment, as the caller's transaction sees it."""
        return await self._one(connection, "payment", payment_id)

    async def lock(self, connection: Connection, payment_id: UUID) -> Payment | None:
        """The payment, locked until the transaction ends."""
        return await self._one(connection, "payment_for_update", payment_id)

    async def lock_by_intent(self, connection: Connection, provider_id: str) -> Payment | None:
        """The payment of the provider's intent, locked until the transaction ends."""
        return await self._one(connection, "payment_of_intent", provider_id)

    async def lock_unproven(self, connection: Connection, donation_id: UUID) -> Payment | None:
        """The payment of a donation, where its intent may exist without our knowing its id; locked."""
        return await self._one(connection, "unproven_payment_of_donation", donation_id)

    async def of_donation(
        self, connection: Connection, *, donation_id: UUID, charity_id: UUID
    ) -> tuple[Payment, int] | None:
        """The payment of a donation, and the digest of the request that made it."""
        row = await connection.fetchrow(self._queries["payment_of_donation"], donation_id, charity_id)
        if row is None:
            return None
        (payment,) = await self._whole(connection, [row])
        return payment, row["request_digest"]

    async def page(self, charity_id: UUID, *, before: UUID, limit: int) -> list[Payment]:
        """Payments of a charity, newest first, whose id is below `before`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["payments_of_charity"], charity_id, before, limit)
            return await self._whole(connection, rows)

    async def open_page(self, *, after: UUID, before: datetime.datetime, limit: int, manual: bool) -> list[Payment]:
        """Payments that are not proven to have ended, older than `before`, oldest first, whose id is above `after`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["open_payments"], after, before, limit, manual)
            return await self._whole(connection, rows)

    async def save(self, connection: Connection, before: Payment, after: Payment, stamp: Stamp, *, release: bool) -> Payment:
        """Stores a change of a locked payment, of its attempts and its disputes; the payment as it stands then.

        `release`: whoever stores it holds it, and lets go of it.

        Raises:
            ReturnsExceeded: more would go back than was taken; the transaction is lost.
        """
        await self._update(connection, after, stamp, release=release)
        stored = [await self._save_attempt(connection, before, after, attempt, stamp) for attempt in after.attempts]
        for dispute in after.disputes:
            if dispute not in before.disputes:
                await self._save_dispute(connection, after, dispute, stamp)
        return replace(after, attempts=tuple(stored), update_time=stamp.now)

    async def schedule(
        self, connection: Connection, payment: Payment, *, actor: str, release: bool, now: datetime.datetime
    ) -> None:
        """Stores when the provider is asked next; `release`: whoever stores it lets go of the payment."""
        await connection.execute(
            self._queries["schedule_payment"],
            payment.id,
            payment.charity_id,
            payment.next_attempt_time,
            payment.manual_reason,
            actor,
            release,
            now,
            payment.contradiction,
            payment.look_demanded,
        )

    async def claim(self, payment_id: UUID, *, now: datetime.datetime, until: datetime.datetime) -> bool:
        """Takes a payment for one asking of the provider; False where somebody else holds it."""
        async with self._database.connection() as connection:
            return await connection.fetchval(self._queries["claim_payment"], payment_id, now, until) is not None

    async def prolong(self, payment_id: UUID, *, until: datetime.datetime) -> None:
        """Keeps a payment that is held already."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["prolong_lease"], payment_id, until)

    async def release(self, payment_id: UUID) -> None:
        """Lets go of a payment."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["release_payment"], payment_id)

    async def claim_due(self, *, now: datetime.datetime, until: datetime.datetime, limit: int) -> list[UUID]:
        """Takes payments that are due."""
        async with self._database.connection() as connection:
            return [row["id"] for row in await connection.fetch(self._queries["claim_due"], now, until, limit)]

    async def count_call(self, payment: Payment, attempt: Attempt, *, actor: str, now: datetime.datetime) -> None:
        """Notes, before it happens, that the provider is asked."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["count_call"], attempt.id, payment.charity_id, now, actor)

    async def _one(self, connection: Connection, query: str, key: object) -> Payment | None:
        row = await connection.fetchrow(self._queries[query], key)
        return (await self._whole(connection, [row]))[0] if row else None

    async def _whole(self, connection: Connection, rows: Sequence[asyncpg.Record]) -> list[Payment]:
        """Payments with what belongs to them."""
        ids = [row["id"] for row in rows]
        attempts = await connection.fetch(self._queries["attempts"], ids)
        disputes = await connection.fetch(self._queries["disputes"], ids)
        return [payment_from(row, attempts, disputes) for row in rows]

    async def _update(self, connection: Connection, payment: Payment, stamp: Stamp, *, release: bool) -> None:
        progress, said = payment.progress, payment.returns_said
        try:
            await connection.execute(
                self._queries["update_payment"],
                payment.id,
                payment.charity_id,
                payment.state,
                payment.captured,
                payment.refunded,
                payment.refunding,
                payment.disputed,
                payment.lost,
                payment.provider_id or None,
                payment.client_secret,
                progress.second if progress else None,
                progress.status if progress else None,
                progress.code if progress else "",
                said.second if said else None,
                said.refunded if said else None,
                said.disputed if said else None,
                payment.canceled,
                payment.refused,
                payment.unwanted,
                payment.manual_reason,
                payment.next_attempt_time,
                payment.version,
                stamp.actor,
                stamp.correlation_id,
                stamp.now,
                release,
                payment.contradiction,
                payment.look_demanded,
            )
        except asyncpg.CheckViolationError as error:
            if error.constraint_name != "payment_returns_bounded":
                raise
            raise ReturnsExceeded from error

    async def _save_attempt(
        self, connection: Connection, before: Payment, after: Payment, attempt: Attempt, stamp: Stamp
    ) -> Attempt:
        if attempt in before.attempts:
            return attempt
        over = attempt.outcome in (Outcome.SUCCEEDED, Outcome.REFUSED)
        ended = attempt.end_time or (stamp.now if over else None)
        if attempt.id is None:
            new = replace(attempt, create_time=stamp.now, end_time=ended)
            return await self._insert_attempt(connection, after, new, stamp)
        await connection.execute(
            self._queries["update_attempt"],
            attempt.id,
            after.charity_id,
            attempt.outcome,
            attempt.object_id or None,
            attempt.captured,
            attempt.second,
            attempt.code,
            attempt.refusals,
            attempt.saved,
            attempt.doubt_time,
            attempt.key_time,
            ended,
            stamp.actor,
            stamp.correlation_id,
        )
        return replace(attempt, end_time=ended)

    async def _insert_attempt(self, connection: Connection, payment: Payment, attempt: Attempt, stamp: Stamp) -> Attempt:
        stored = replace(attempt, id=new_id(tenant_id=payment.charity_id))
        await connection.execute(
            self._queries["insert_attempt"],
            stored.id,
            payment.charity_id,
            payment.id,
            stored.kind,
            stored.outcome,
            stored.object_id or None,
            stored.captured,
            stored.second,
            stored.code,
            stored.amount,
            stored.reason,
            stored.request_key,
            stored.create_time,
            stored.end_time,
            stamp.actor,
        )
        return stored

    async def _save_dispute(self, connection: Connection, payment: Payment, dispute: Dispute, stamp: Stamp) -> None:
        await connection.execute(
            self._queries["upsert_dispute"],
            dispute.provider_id,
            payment.charity_id,
            payment.id,
            dispute.state,
            dispute.amount,
            dispute.withdrawals,
            dispute.reinstatements,
            dispute.reason,
            stamp.actor,
            stamp.now,
        )
