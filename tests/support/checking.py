"""The books of a mesh after mixed traffic, what a check says of them, and a superuser who corrupts them for a while."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.donation_pb2 import Donation
from giving.payment.v1.payment_operations_service_pb2 import AskProviderRequest
from giving.payment.v1.payment_service_pb2 import CapturePaymentRequest
from google.protobuf.message import Message

from cli.check import Line, Verdict, check, examine
from cli.invariants.catalogue import INVARIANTS
from cli.invariants.view import View
from cli.places import SCHEMAS, Places
from cli.stripe import Stripe
from mesh.events.log import new_event
from tests.support.giving import Cause, gift, open_cause, reversal
from tests.support.mesh import Mesh, fresh_key
from tests.support.sandbox import Sandbox
from tests.support.schemas import Schemas
from tests.support.till import confirm
from tests.support.waiting import until

DONOR = "0190b4a2-0000-7000-8000-00000000d0a1"


def places_of(schemas: Schemas, **more: Any) -> Places:
    """The databases as the batch roles read them, and what else a check is to know."""
    return Places(databases={name: schemas.dsn(schema, "batch") for name, schema in SCHEMAS.items()}, **more)


def places_of_mesh(mesh: Mesh) -> Places:
    """Everything that a mesh has."""
    return places_of(
        mesh.schemas,
        nats_url=mesh.nats_url,
        redis_url=mesh.redis_url,
        rest_url=mesh.base,
        aggregator=f"127.0.0.1:{mesh.aggregator_port}",
        sandbox=stripe_of(mesh.sandbox),
    )


def stripe_of(sandbox: Sandbox) -> Stripe:
    return Stripe(api_key=sandbox.secret, publishable_key="", webhook_secrets="", sandbox_url=sandbox.url)


async def checked(places: Places, **more: Any) -> dict[str, Line]:
    """What a check says, by number."""
    return {line.invariant.number: line async for line in check(places, **more)}


def violated(lines: dict[str, Line]) -> dict[str, list[str]]:
    """Which invariants do not hold, and of what."""
    return {
        number: [violation.key for violation in line.findings.violations]
        for number, line in lines.items()
        if line.verdict is Verdict.VIOLATED
    }


async def at_once(_: float) -> None:
    """What stands still need not be waited for."""
    await asyncio.sleep(0)


@dataclass(frozen=True)
class _Lent:
    """A connection of the superuser as if it were one of a pool: it sees what is not committed. `path`: its search path."""

    admin: asyncpg.Connection
    schema: str
    path: list[str]

    @asynccontextmanager
    async def acquire(self, **_: float) -> AsyncIterator[_Lent]:
        yield self

    def transaction(self, **modes: Any) -> Any:
        return self.admin.transaction()

    async def cursor(self, query: str, *arguments: Any, prefetch: int) -> AsyncIterator[Any]:
        for row in await self.fetch(query, *arguments):
            yield row

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        if self.path[-1] != self.schema:
            await self.admin.execute(f"SET LOCAL search_path = {self.schema}")
            self.path[:] = [self.schema]
        return await self.admin.fetch(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        rows = await self.fetch(query, *arguments)
        return rows[0][0] if rows else None


@dataclass(frozen=True)
class Forgery:
    """The books in the hands of a superuser, in a transaction that is never committed. Nothing is on its search path."""

    admin: asyncpg.Connection

    async def do(self, *statements: str) -> None:
        for statement in statements:
            await self.admin.execute(statement)

    async def find(self, query: str, *arguments: Any) -> Any:
        return await self.admin.fetchval(query, *arguments)

    async def past_triggers(self, statement: str) -> None:
        """As a superuser who replicates: only the audit sees it."""
        await self.do(
            "SET LOCAL session_replication_role = replica", statement, "SET LOCAL session_replication_role = origin"
        )

    async def unseen(self, table: str, statement: str) -> None:
        """As a superuser who switches triggers off for a while."""
        named = "SELECT tgname FROM pg_trigger WHERE tgrelid = $1::text::regclass AND tgenabled = 'A'"
        always = [row["tgname"] for row in await self.admin.fetch(named, table)]
        await self.do(f"ALTER TABLE {table} DISABLE TRIGGER USER", statement, f"ALTER TABLE {table} ENABLE TRIGGER USER")
        await self.do(*(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}" for trigger in always))

    async def announce(self, schema: str, data: Message, subject: UUID) -> None:
        """An event as if the service had written it."""
        event = new_event(
            data, source=f"giving/{schema}", subject=subject, version=1, time=datetime.datetime.now(datetime.UTC)
        )
        statement = f"INSERT INTO {schema}.event (epoch, id, bucket, payload) VALUES (1, $1, $2, $3)"
        await self.admin.execute(statement, event.event_id, event.bucket, event.payload)

    async def checked(self, *, wait_s: float | None = None, **places: Any) -> dict[str, Line]:
        """What a check of the books says now; besides the databases it knows `places`."""
        path = [""]
        pools: Any = {name: _Lent(self.admin, schema, path) for name, schema in SCHEMAS.items()}
        view = View(Places(**places), pools, wait_s=wait_s, sleep=at_once)
        return {invariant.number: await examine(invariant, view) for invariant in INVARIANTS}


@asynccontextmanager
async def superuser(schemas: Schemas) -> AsyncIterator[asyncpg.Connection]:
    """One connection for all forgeries: what it has prepared once need not be prepared again."""
    admin = await asyncpg.connect(schemas.admin_dsn, statement_cache_size=1000)
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def forging(admin: asyncpg.Connection) -> AsyncIterator[Forgery]:
    """Whatever is done is undone."""
    doing = admin.transaction(isolation="repeatable_read")
    await doing.start()
    try:
        yield Forgery(admin)
    finally:
        await doing.rollback()


@dataclass(frozen=True)
class Day:
    """Mixed traffic to one campaign."""

    mesh: Mesh
    cause: Cause

    async def record(self) -> None:
        """Gifts that a checkout has charged, one sent twice, one taken back in part, one as a whole."""
        gifts = [gift(self.cause.campaign_id, 100 + number, donor_id=DONOR) for number in range(4)]
        gifts += [gift(self.cause.campaign_id, 700, "EUR"), gift(self.cause.campaign_id, 900)]
        await asyncio.gather(*(self.mesh.donations.RecordDonation(each) for each in (*gifts, gifts[0])))
        for each, back in ((gifts[0], 30), (gifts[5], 900)):
            request = reversal(self.cause.charity_id, each.payment_ref, back)
            await self.mesh.donations.ReverseRecordedDonation(request)

    async def promise(self, card: str = "", **more: Any) -> tuple[str, str]:
        """The ids of a promise and of its intent, once the donor has tried a card."""
        amount = Money(minor_units=2500, currency="USD")
        request = messages.CreateDonationRequest(
            request_id=fresh_key(), campaign_id=self.cause.campaign_id, amount=amount, **more
        )
        answer = await self.mesh.donations.CreateDonation(request)
        if card:
            await confirm(self.mesh.sandbox, answer.client_secret, card)
        return answer.donation.donation_id, answer.client_secret.partition("_secret_")[0]

    async def come(self, donation_id: str, holds: Callable[[Donation], bool]) -> Donation:
        async def donation() -> Donation:
            answer = await self.mesh.donations.GetDonation(messages.GetDonationRequest(donation_id=donation_id))
            return answer.donation

        return await until(donation, holds=holds)

    async def reach(self, donation_id: str, state: Any) -> None:
        await self.come(donation_id, lambda found: found.state == state)

    async def paid(self, **more: Any) -> tuple[str, str]:
        donation_id, intent = await self.promise("pm_card_visa", **more)
        await self.reach(donation_id, Donation.STATE_SUCCEEDED)
        return donation_id, intent

    async def refunded(self) -> None:
        """By us in part, and from the dashboard."""
        (ours, _), (theirs, intent) = await asyncio.gather(self.paid(), self.paid())
        amount = Money(minor_units=800, currency="USD")
        request = messages.RefundDonationRequest(request_id=fresh_key(), donation_id=ours, amount=amount, reason="asked")
        await self.mesh.donations.RefundDonation(request)
        await self.mesh.sandbox.ask("POST", "refunds", payment_intent=intent, amount=2500)
        await self.reach(ours, Donation.STATE_PARTIALLY_REFUNDED)
        await self.reach(theirs, Donation.STATE_REFUNDED)

    async def disputed(self) -> None:
        """One open, one won, one lost."""
        paid = await asyncio.gather(*(self.paid() for _ in range(3)))
        opened = [await self.mesh.sandbox.dispute(payment_intent=intent, amount=1700) for _, intent in paid]
        for donation_id, _ in paid:
            await self.reach(donation_id, Donation.STATE_DISPUTED)
        ends = {"win": Donation.STATE_SUCCEEDED, "lose": Donation.STATE_DISPUTE_LOST}
        for (donation_id, _), dispute, verdict in zip(paid[1:], opened[1:], ends, strict=True):
            await self.mesh.sandbox.ask("POST", f"disputes/{dispute['id']}/{verdict}")
            await self.reach(donation_id, ends[verdict])

    async def captured_in_part(self) -> None:
        donation_id, _ = await self.promise("pm_card_visa", manual_capture=True)
        held = await self.come(donation_id, lambda found: found.HasField("hold_end_time"))
        request = CapturePaymentRequest(request_id=fresh_key(), payment_id=held.payment_id)
        request.amount.CopyFrom(Money(minor_units=1500, currency="USD"))
        await self.mesh.payments.CapturePayment(request)
        await self.reach(donation_id, Donation.STATE_SUCCEEDED)
        # A look at it learns what the capture left of the authorisation, which Stripe lists as a refund.
        look = AskProviderRequest(request_id=fresh_key(), payment_id=held.payment_id, reason="asked")
        await self.mesh.payment_operations.AskProvider(look)


async def mixed_traffic(mesh: Mesh) -> Cause:
    """Recorded gifts and reversals, promises that are paid, declined, left, refunded, disputed and captured in part."""
    day = Day(mesh, await open_cause(mesh))
    courses: Sequence[Any] = (
        day.record(),
        day.promise("pm_card_chargeDeclined"),
        day.promise(),
        day.refunded(),
        day.disputed(),
        day.captured_in_part(),
    )
    await asyncio.gather(*courses)
    return day.cause
