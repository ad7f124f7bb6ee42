"""Workers that are killed between reading, applying and acknowledging: whatever comes again counts once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from giving.common.v1.event_pb2 import Event

from aggregator_svc.consumer import DonationEvents
from aggregator_svc.domain.totals import CurrencyTotals
from mesh.events.partitions import Partitions
from mesh.postgres import load_queries
from mesh.tasks import cancel
from tests.support.books import reading
from tests.support.counting import Counting
from tests.support.donation_events import Giver

WORKERS, WINDOWS, SEEDS = 4, 10, 8
KILLED = 0.3


class Stream:
    """Windows that are delivered again, to anybody, until somebody acknowledges them."""

    def __init__(self, windows: Sequence[Sequence[Event]], handler: DonationEvents) -> None:
        self._waiting = list(windows)
        self._handler = handler
        self.killed: Counter[str] = Counter()

    async def work(self, draw: random.Random) -> None:
        """A worker, and after each of its deaths the next one."""
        while self._waiting:
            window = draw.choice(self._waiting)
            if draw.random() < KILLED:
                self.killed["between read and apply"] += 1
                continue
            if not await self._apply(window, draw):
                self.killed["while applying"] += 1
            elif draw.random() < KILLED:
                self.killed["between apply and ack"] += 1
            elif window in self._waiting:
                self._waiting.remove(window)

    async def _apply(self, window: Sequence[Event], draw: random.Random) -> bool:
        task = asyncio.create_task(self._handler.apply(window))
        if draw.random() < KILLED:
            await asyncio.wait({task}, timeout=draw.uniform(0, 0.005))
            await cancel(task)
        else:
            await task
        return not task.cancelled()


def windows_of(giver: Giver, draw: random.Random) -> tuple[list[list[Event]], CurrencyTotals]:
    """Gifts and what goes back of them, in any order; and what they amount to."""
    donors = [str(uuid4()) for _ in range(3)]
    events, gross, refunded, given = [], 0, 0, set()
    for _ in range(40):
        amount, back, donor = draw.randint(100, 999), draw.randint(1, 99), draw.choice([*donors, ""])
        events.append(giver.succeeded(amount, donor_id=donor))
        gross += amount
        given.add(donor)
        if draw.random() < 0.4:
            events.append(giver.refunded(back, of=amount, donor_id=donor))
            refunded += back
    draw.shuffle(events)
    size = len(events) // WINDOWS + 1
    windows = [events[first : first + size] for first in range(0, len(events), size)]
    return windows, CurrencyTotals("USD", gross, refunded, 0, 40, len(given - {""}))


@pytest.mark.requirement("TOT-3")
async def test_totals_are_exact_wherever_workers_are_killed_over_many_seeds(parts: Counting) -> None:
    handler = DonationEvents(parts.totals, Partitions(parts.database, load_queries("mesh.events")))
    killed: Counter[str] = Counter()
    for seed in range(SEEDS):
        draw, giver = random.Random(seed), Giver()
        windows, expected = windows_of(giver, draw)
        stream = Stream(windows, handler)
        await asyncio.gather(*(stream.work(random.Random(f"{seed}:{worker}")) for worker in range(WORKERS)))
        killed += stream.killed

        found = await parts.totals.get_totals(UUID(str(giver.campaign_id)))
        assert found.currencies == (expected,), f"seed {seed}"
        async with reading(parts.schemas, "aggregator") as connection:
            course = await connection.fetchrow(
                "SELECT sum(gross)::bigint, sum(refunded)::bigint, sum(donations)::bigint "
                "FROM course WHERE campaign_id = $1",
                giver.campaign_id,
            )
        assert tuple(course) == (expected.gross, expected.refunded, expected.donations), f"seed {seed}"
    assert set(killed) == {"between read and apply", "while applying", "between apply and ack"}
