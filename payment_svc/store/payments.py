"""Payments and their attempts."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from mesh.ids import new_id
from mesh.money import Money
from mesh.postgres import Connection, Database
from payment_svc.domain.payments import Attempt, AttemptKind, IntentStatus, Outcome, Payment, Progress


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
        attempts = await self._attempts(connection, [row["id"]])
        return _payment(row, attempts), row["request_digest"]

    async def page(self, charity_id: UUID, *, before: UUID, limit: int) -> list[Payment]:
        """Payments of a charity, newest first, whose id is below `before`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["payments_of_charity"], charity_id, before, limit)
            attempts = await self._attempts(connection, [row["id"] for row in rows])
        return [_payment(row, attempts) for row in rows]

    async def save(self, connection: Connection, before: Payment, after: Payment, stamp: Stamp) -> Payment:
        """Stores a change of a locked payment and of its attempts; the payment as it stands then."""
        await self._update(connection, after, stamp)
        stored = [await self._save_attempt(connection, before, after, attempt, stamp) for attempt in after.attempts]
        return replace(after, attempts=tuple(stored), update_time=stamp.now)

    async def schedule(self, connection: Connection, payment: Payment) -> None:
        """Stores when the provider is asked next, and lets go of the payment."""
        await connection.execute(
            self._queries["schedule_payment"], payment.id, payment.charity_id, payment.next_attempt_time
        )

    async def claim(self, payment_id: UUID, *, now: datetime.datetime, until: datetime.datetime) -> bool:
        """Takes a payment for one asking of the provider; False where somebody else holds it."""
        async with self._database.connection() as connection:
            return await connection.fetchval(self._queries["claim_payment"], payment_id, now, until) is not None

    async def prolong(self, payment_id: UUID, *, until: datetime.datetime) -> None:
        """Keeps a payment that is held already."""
        async with self._database.connection() as connection:
            await connection.execute(self._queries["prolong_lease"], payment_id, until)

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
        return _payment(row, await self._attempts(connection, [row["id"]])) if row else None

    async def _attempts(self, connection: Connection, payment_ids: Sequence[UUID]) -> Mapping[UUID, list[Attempt]]:
        found: dict[UUID, list[Attempt]] = {payment_id: [] for payment_id in payment_ids}
        for row in await connection.fetch(self._queries["attempts"], payment_ids):
            found[row["payment_id"]].append(_attempt(row))
        return found

    async def _update(self, connection: Connection, payment: Payment, stamp: Stamp) -> None:
        progress = payment.progress
        await connection.execute(
            self._queries["update_payment"],
            payment.id,
            payment.charity_id,
            payment.state,
            payment.captured,
            payment.refunded,
            payment.disputed,
            payment.provider_id or None,
            payment.client_secret,
            progress.second if progress else None,
            progress.status if progress else None,
            progress.code if progress else "",
            payment.canceled,
            payment.refused,
            payment.unwanted,
            payment.next_attempt_time,
            payment.version,
            stamp.actor,
            stamp.correlation_id,
            stamp.now,
        )

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
            attempt.captured,
            attempt.second,
            attempt.code,
            attempt.saved,
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
            stored.charge_id or None,
            stored.captured,
            stored.second,
            stored.code,
            stored.create_time,
            stored.end_time,
            stamp.actor,
        )
        return stored


def _payment(row: Any, attempts: Mapping[UUID, Sequence[Attempt]]) -> Payment:
    seen = row["progress_second"] is not None
    return Payment(
        id=row["id"],
        charity_id=row["charity_id"],
        campaign_id=row["campaign_id"],
        donation_id=row["donation_id"],
        amount=Money(row["amount"], row["currency"]),
        manual_capture=row["manual_capture"],
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        attempts=tuple(attempts[row["id"]]),
        captured=row["captured"],
        refunded=row["refunded"],
        disputed=row["disputed"],
        provider_id=row["provider_id"] or "",
        client_secret=row["client_secret"],
        progress=Progress(row["progress_second"], IntentStatus(row["progress_status"]), row["progress_code"])
        if seen
        else None,
        canceled=row["canceled"],
        refused=row["refused"],
        unwanted=row["unwanted"],
        next_attempt_time=row["next_attempt_time"],
    )


def _attempt(row: Any) -> Attempt:
    return Attempt(
        id=row["id"],
        kind=AttemptKind(row["kind"]),
        outcome=Outcome(row["outcome"]),
        charge_id=row["charge_id"] or "",
        code=row["code"],
        captured=row["captured"],
        second=row["second"],
        calls=row["calls"],
        last_call_time=row["last_call_time"],
        saved=row["saved"],
        create_time=row["create_time"],
        end_time=row["end_time"],
    )
