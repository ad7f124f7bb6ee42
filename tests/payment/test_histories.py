"""What webhooks say, said in any order, any number of times: the same rows, ledger and totals as said once and in order."""

from __future__ import annotations

import asyncio
import datetime
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from giving.common.v1.event_pb2 import Event
from giving.payment.v1.event_pb2 import PaymentChanged

from donation_svc.convert import word_from_event
from donation_svc.domain.donations import Donation, DonationState, Origin, Tally
from donation_svc.domain.payments import follow
from mesh.clock import ManualClock
from mesh.events.log import EventLog
from mesh.ids import bucket_of, new_id, new_tenant_id
from mesh.money import Money
from mesh.postgres import Database, load_queries
from mesh.seal import Seal
from payment_svc.domain.facts import IntentSeen
from payment_svc.domain.payments import IntentStatus, Payment, Progress
from payment_svc.provider import WebhookReader
from payment_svc.service.changes import Changes, Desk
from payment_svc.service.webhooks import Webhooks
from payment_svc.store.inbox import Inbox
from payment_svc.store.ledger import LedgerStore
from payment_svc.store.payments import PaymentStore, Stamp
from payment_svc.store.settlement import SettlementStore
from tests.support.provider_events import AMOUNT, SECRET, Life, confused, signed

SEEDS = 200
AT_ONCE = 16
FACTS = """
SELECT state, captured, refunded, refunding, disputed, lost, canceled, refused, manual_reason, progress_second,
       progress_status, progress_code, said_second, said_refunded, said_disputed, next_attempt_time IS NULL AS settled
FROM payment WHERE id = $1
"""
ATTEMPTS = """
SELECT kind, outcome, replace(coalesce(object_id, ''), $2, '') AS object, captured, amount, code, second
FROM attempt WHERE payment_id = $1 ORDER BY 1, 3
"""
DISPUTES = "SELECT state, amount, withdrawals, reinstatements, reason FROM dispute WHERE payment_id = $1"
# What the postings of a kind amount to where they take turns with their opposites: those of a whole figure are one sum.
ENTRIES = """
SELECT e.account, e.currency, sum(e.amount) AS total FROM posting p JOIN entry e ON e.day = p.day AND e.posting_id = p.id
WHERE p.payment_id = $1 GROUP BY e.account, e.currency HAVING sum(e.amount) <> 0 ORDER BY 1, 2
"""
LOG = "SELECT payload FROM event WHERE bucket = $1 ORDER BY seq"


FIGURES = ("gross", "refunded", "disputed", "donations")


def _promised(payment: Payment) -> Donation:
    """The promise that the payment pays for."""
    return Donation(
        id=payment.donation_id,
        charity_id=payment.charity_id,
        campaign_id=payment.campaign_id,
        donor_id=None,
        origin=Origin.INTENT,
        state=DonationState.AWAITING_PAYMENT,
        amount=payment.amount,
        tally=Tally(),
        anonymous=False,
        version=1,
        create_time=payment.create_time,
        update_time=payment.create_time,
        settle_time=None,
    )


class Office:
    """The payment service's webhook desk, without servers around it."""

    def __init__(self, database: Database) -> None:
        queries = load_queries("payment_svc")
        self.database = database
        self.clock = ManualClock()
        self.payments = PaymentStore(database, queries)
        inbox = Inbox(queries, Seal(bytes(32)))
        log = EventLog(load_queries("mesh.events"))
        changes = Changes(
            payments=self.payments,
            postings=LedgerStore(database, queries),
            movements=SettlementStore(database, queries),
            waiting=inbox,
            log=log,
            clock=self.clock,
        )
        desk = Desk(database, self.payments, changes, self.clock, wake=lambda: None)
        self.webhooks = Webhooks(desk, reader=WebhookReader(secrets=[SECRET], live=False), inbox=inbox)
        self.changes = changes

    async def open(self, name: str) -> Payment:
        """A payment whose intent the provider has made a moment ago."""
        charity = new_tenant_id()
        now = self.clock.now()
        drawn = Payment(
            id=new_id(tenant_id=charity),
            charity_id=charity,
            campaign_id=new_id(tenant_id=charity),
            donation_id=new_id(tenant_id=charity),
            amount=Money(AMOUNT, "USD"),
            manual_capture=False,
            version=1,
            create_time=now,
            update_time=now,
        )
        made = IntentSeen(f"pi_{name}", drawn.amount, Progress(1, IntentStatus.REQUIRES_PAYMENT_METHOD), 0, "")
        async with self.database.connection() as connection, connection.transaction():
            await self.payments.insert(connection, drawn, digest=0, leased_until=None, stamp=Stamp("test", "", now))
            locked = await self.payments.lock(connection, drawn.id)
            assert locked
            await self.changes.apply(connection, locked, [made], actor="test", correlation_id="")
        return drawn

    async def take(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            await self.webhooks.handle(*signed(event))

    async def counted(self, payment: Payment, draw: random.Random) -> Tally:
        """What the donation and its total count for, after all events of the payment came in disorder, some twice."""
        async with self.database.connection() as connection:
            logged = [Event.FromString(row["payload"]) for row in await connection.fetch(LOG, bucket_of(payment.id))]
        words = [
            word_from_event(event.version, PaymentChanged.FromString(event.data))
            for event in logged
            if event.subject == str(payment.id)
        ]
        words += draw.choices(words, k=2)
        draw.shuffle(words)
        donation, total = _promised(payment), Counter[str]()
        for word in words:
            donation, steps = follow(donation, word, now=payment.create_time, confirm_within=datetime.timedelta(days=1))
            for step in steps:
                total.update({figure: getattr(step.donation.tally, figure) for figure in FIGURES})
                total.subtract({figure: getattr(step.before, figure) for figure in FIGURES})
        assert total == Counter({figure: getattr(donation.tally, figure) for figure in FIGURES})
        return donation.tally

    async def books(self, payment: Payment, name: str) -> dict[str, Any]:
        """Everything that is known of the payment, without ids and times of ours."""
        async with self.database.connection() as connection:
            return {
                "payment": dict(await connection.fetchrow(FACTS, payment.id)),
                "attempts": [tuple(row) for row in await connection.fetch(ATTEMPTS, payment.id, name)],
                "disputes": [tuple(row) for row in await connection.fetch(DISPUTES, payment.id)],
                "ledger": [tuple(row) for row in await connection.fetch(ENTRIES, payment.id)],
            }


def _tally(life: Life) -> Tally:
    """What a donation counts for whose payment lived like this."""
    return Tally(life.captured, life.refunded, life.disputed, donations=int(life.captured > 0))


async def _history(office: Office, seed: int) -> None:
    """One life in order and once, and the same life on a bad day."""
    books = []
    for turn in ("clean", "confused"):
        name = f"{turn}{seed}x{random.randrange(2**32)}"
        payment = await office.open(name)
        life = Life(name, str(payment.donation_id), random.Random(f"{seed}:life")).live()
        events = life.events if turn == "clean" else confused(life.events, random.Random(f"{seed}:day"))
        await office.take(events)
        books.append(await office.books(payment, name))
        row = books[-1]["payment"]
        assert (row["captured"], row["refunded"], row["disputed"]) == (life.captured, life.refunded, life.disputed), seed
        assert await office.counted(payment, random.Random(f"{seed}:log")) == _tally(life), f"seed {seed}"
    assert books[0] == books[1], f"seed {seed}"


@pytest.mark.requirement("HKI-3", "TOT-6", "PAY-2", "PAY-5", "PAY-6", "LED-2")
async def test_a_bad_day_of_webhooks_ends_where_a_good_one_does(database: Database) -> None:
    office = Office(database)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> None:
        async with turns:
            await _history(office, seed)

    await asyncio.gather(*map(one, range(SEEDS)))
