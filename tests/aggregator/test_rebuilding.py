"""Totals are rebuilt from donations while traffic runs on, and whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as messages

from aggregator_svc.refusals import CampaignNotFound
from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey
from mesh.errors import DependencyUnavailable, IdempotencyKeyReused
from mesh.tasks import cancel
from tests.support.giving import Cause, gift, totals_of
from tests.support.mesh import Mesh, fresh_key
from tests.support.pair import Pair, running_pair
from tests.support.waiting import until

CORRUPTIONS = (
    "UPDATE totals SET gross = gross + 7, donors = 90 WHERE campaign_id = $1",
    "DELETE FROM course WHERE campaign_id = $1 AND currency = 'USD'",
    "INSERT INTO course SELECT campaign_id, '2024-02-01Z', 'CHF', 5, 0, 0, 1 FROM totals WHERE campaign_id = $1 LIMIT 1",
    "INSERT INTO totals SELECT campaign_id, 'CHF', 5, 0, 0, 1, 1 FROM totals WHERE campaign_id = $1 LIMIT 1",
    "INSERT INTO campaign_donor SELECT campaign_id, currency, gen_random_uuid() FROM totals WHERE campaign_id = $1",
    "DELETE FROM totals WHERE campaign_id = $1 AND currency = 'EUR'",
)


@pytest.fixture(scope="module")
async def pair(postgres_server: Postgres, valkey_server: Valkey) -> AsyncIterator[Pair]:
    async with running_pair(postgres_server.dsn, valkey_server.url) as running:
        running.consume()
        yield running


@pytest.fixture
async def pair_cause(pair: Pair) -> Cause:
    return await pair.cause()


async def as_it_was(pair: Pair, cause: Cause) -> None:
    await pair.until_exact(cause)
    given, shown = await pair.courses(cause)
    assert given == shown


@pytest.mark.requirement("TOT-10")
@pytest.mark.parametrize("whole", [True, False])
async def test_a_rebuild_puts_totals_courses_and_donors_right_under_a_newer_version(
    pair: Pair, pair_cause: Cause, whole: bool
) -> None:
    await pair.give(pair_cause, draw=random.Random(1), gifts=40)
    await as_it_was(pair, pair_cause)
    for statement in CORRUPTIONS:
        await pair.ask("aggregator", statement, UUID(pair_cause.campaign_id))
    version = await pair.version(pair_cause)

    progress = await pair.rebuild(**({} if whole else {"campaign_id": pair_cause.campaign_id}))

    assert await pair.counted(pair_cause) == await pair.truth(pair_cause)
    given, shown = await pair.courses(pair_cause)
    assert given == shown
    assert await pair.version(pair_cause) == version + 1
    assert progress[-1].repaired == 3
    assert progress[-1].done >= 40
    held = await pair.cache.get(UUID(pair_cause.campaign_id))
    assert held is not None
    assert held.version == version + 1


@pytest.mark.requirement("TOT-10")
async def test_what_is_under_way_is_in_the_rebuilt_total_and_not_counted_again_when_it_arrives(
    pair: Pair, pair_cause: Cause
) -> None:
    await pair.give(pair_cause, draw=random.Random(2), gifts=5)
    await pair.until_exact(pair_cause)
    await pair.stop()
    try:
        await pair.give(pair_cause, draw=random.Random(3), gifts=20)
        await pair.rebuild()
        assert await pair.counted(pair_cause) == await pair.truth(pair_cause)
        # After the rebuild's snapshot: these are counted when they arrive, the others only noted.
        await pair.give(pair_cause, draw=random.Random(4), gifts=20)
        assert await pair.counted(pair_cause) != await pair.truth(pair_cause)
    finally:
        pair.consume()
    end = await pair.published()
    await until(lambda: pair.books.consumer.acknowledged(end))
    assert await pair.counted(pair_cause) == await pair.truth(pair_cause)
    await as_it_was(pair, pair_cause)


@pytest.mark.requirement("TOT-10")
async def test_what_the_stream_has_lost_for_ever_is_rebuilt(pair: Pair, pair_cause: Cause) -> None:
    await pair.until_exact(pair_cause)
    await pair.stop()
    try:
        before = await pair.published()
        await pair.give(pair_cause, draw=random.Random(5), gifts=10)
        await pair.lose(before + 1, await pair.published())
    finally:
        pair.consume()
    await pair.rebuild(campaign_id=pair_cause.campaign_id)
    await as_it_was(pair, pair_cause)


@pytest.mark.requirement("TOT-10", "TOT-3")
async def test_totals_are_exact_whoever_is_killed_while_gifts_arrive_and_totals_are_rebuilt(pair: Pair) -> None:
    """Gifts, consumers that are killed at any moment, rebuilds that are killed at any moment."""
    for seed in range(2):
        draw = random.Random(seed)
        causes = [await pair.cause() for _ in range(2)]

        async def gifts(draw: random.Random = draw, causes: list[Cause] = causes) -> None:
            for _ in range(6):
                await pair.give(draw.choice(causes), draw=draw, gifts=4)

        giving = asyncio.create_task(gifts())
        while not giving.done():
            rebuilding = asyncio.create_task(pair.books.rebuilds.rebuild(None))
            await asyncio.wait({rebuilding}, timeout=draw.uniform(0, 0.15))
            await cancel(rebuilding)
            await pair.stop()
            pair.consume()
            await asyncio.wait({giving}, timeout=draw.uniform(0, 0.05))
        await giving
        for cause in causes:
            await as_it_was(pair, cause)
        await pair.rebuild()
        for cause in causes:
            await as_it_was(pair, cause)


@pytest.mark.requirement("TOT-10", "OPS-5")
async def test_a_rehearsed_rebuild_says_what_would_change_and_writes_nothing(pair: Pair, pair_cause: Cause) -> None:
    await pair.give(pair_cause, draw=random.Random(6), gifts=12)
    await pair.until_exact(pair_cause)
    assert (await pair.rebuild(dry_run=True, campaign_id=pair_cause.campaign_id))[-1].repaired == 0
    await pair.ask("aggregator", CORRUPTIONS[0], UUID(pair_cause.campaign_id))
    counts = "SELECT (SELECT count(*) FROM rebuild) + (SELECT count(*) FROM base) + (SELECT count(*) FROM staged_course)"
    before = await pair.ask("aggregator", counts), await pair.counted(pair_cause)

    assert (await pair.rebuild(dry_run=True, campaign_id=pair_cause.campaign_id))[-1].repaired == 2

    assert (await pair.ask("aggregator", counts), await pair.counted(pair_cause)) == before
    await pair.rebuild(campaign_id=pair_cause.campaign_id)


@pytest.mark.requirement("TOT-10", "IDM-1", "IDM-2")
async def test_a_repeated_rebuild_gets_the_same_answer_and_its_key_is_for_nothing_else(
    pair: Pair, pair_cause: Cause
) -> None:
    await pair.until_exact(pair_cause)
    await pair.give(pair_cause, draw=random.Random(7), gifts=3)
    await pair.until_exact(pair_cause)
    await pair.ask("aggregator", CORRUPTIONS[0], UUID(pair_cause.campaign_id))
    same = {"request_id": fresh_key(), "campaign_id": pair_cause.campaign_id}
    (first, *_, last), (again,) = await pair.rebuild(**same), await pair.rebuild(**same)
    assert (again.done, again.repaired) == (last.done, last.repaired)
    assert first.repaired is None or first is last
    with pytest.raises(IdempotencyKeyReused):
        await pair.rebuild(request_id=same["request_id"])


@pytest.mark.requirement("TOT-10")
async def test_what_is_counted_while_a_rebuild_reads_is_in_the_total_after_it(
    pair: Pair, pair_cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pair.give(pair_cause, draw=random.Random(10), gifts=5)
    await pair.until_exact(pair_cause)
    store = pair.books.rebuilds._store
    known = store.campaign_ids

    async def meanwhile() -> set[str]:
        """Everything is read, nothing is replaced."""
        await pair.give(pair_cause, draw=random.Random(11), gifts=8)
        await pair.until_exact(pair_cause)
        return await known()

    monkeypatch.setattr(store, "campaign_ids", meanwhile)
    assert (await pair.rebuild(campaign_id=pair_cause.campaign_id))[-1].repaired == 0
    await as_it_was(pair, pair_cause)


class Cut:
    """A stream whose life ended before everything was sent: to gRPC that is an end like any other."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        async for answer in self._whole:
            if answer.snapshot:
                yield answer

    def cancel(self) -> None:
        self._whole.cancel()


@pytest.mark.requirement("TOT-10")
async def test_a_stream_that_is_cut_replaces_nothing(pair: Pair, pair_cause: Cause, monkeypatch: pytest.MonkeyPatch) -> None:
    await pair.give(pair_cause, draw=random.Random(8), gifts=5)
    await pair.until_exact(pair_cause)
    caller = pair.books.rebuilds._donations._caller
    whole = caller.stream
    monkeypatch.setattr(caller, "stream", lambda *arguments: Cut(whole(*arguments)))
    with pytest.raises(DependencyUnavailable):
        await pair.rebuild()
    assert await pair.counted(pair_cause) == await pair.truth(pair_cause)


async def test_a_campaign_that_nobody_knows_is_not_rebuilt(pair: Pair) -> None:
    with pytest.raises(CampaignNotFound):
        await pair.rebuild(campaign_id="0190b4a2-0000-7000-8000-000000000000")


@pytest.mark.requirement("TOT-10")
async def test_a_rebuild_is_asked_for_by_rpc_and_leaves_what_is_right_as_it_is(mesh: Mesh, cause: Cause) -> None:
    await mesh.donations.RecordDonation(gift(cause.campaign_id, 100))

    async def version() -> int:
        totals = await totals_of(mesh, cause.campaign_id)
        return totals.version if any(share.gross for share in totals.currencies) else 0

    known = await until(version)
    request = messages.RebuildTotalsRequest(request_id=fresh_key(), campaign_id=cause.campaign_id, reason="a test")
    answers = [answer async for answer in mesh.aggregates.RebuildTotals(request)]
    assert (answers[-1].complete, answers[-1].done, answers[-1].repaired) == (True, 1, 0)
    assert await version() == known
