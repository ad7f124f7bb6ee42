"""Drift is found, named, put right and counted; what is under way is no drift."""

from __future__ import annotations

import asyncio
import datetime
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as messages
from giving.donation.v1 import donation_operations_service_pb2 as operations
from prometheus_client import REGISTRY

from aggregator_svc.domain.totals import CampaignTotals, CurrencyTotals
from aggregator_svc.refusals import CampaignNotFound
from aggregator_svc.service.verification import Verification
from cli.servers.postgres import Postgres
from cli.servers.valkey import Valkey
from mesh.errors import DependencyUnavailable
from tests.support.giving import Cause
from tests.support.mesh import Mesh
from tests.support.pair import Pair, running_pair
from tests.support.refusals import refusal_of
from tests.support.waiting import until

UNKNOWN = "0190b4a2-0000-7000-8000-000000000000"
MORE = "UPDATE totals SET gross = gross + 7 WHERE campaign_id = $1 AND currency = 'USD'"


@pytest.fixture(scope="module")
async def pair(postgres_server: Postgres, valkey_server: Valkey) -> AsyncIterator[Pair]:
    async with running_pair(postgres_server.dsn, valkey_server.url) as running:
        running.consume()
        # Where the log is followed from.
        await running.give(await running.cause(), draw=random.Random(0))
        await running.published()
        await running.books.verifier.round()
        yield running


@pytest.fixture
async def counted(pair: Pair) -> Cause:
    """A campaign with some gifts, everything of it counted and verified."""
    cause = await pair.cause()
    await pair.give(cause, draw=random.Random(9), gifts=12)
    await pair.until_exact(cause)
    await pair.published()
    await pair.books.verifier.round()
    return cause


async def drifts(pair: Pair, subject: str) -> tuple[int, int]:
    """How many were found of a campaign or event, and how many of them are repaired."""
    found = "SELECT count(*) FROM drift WHERE subject_id = $1"
    whole = await pair.ask("aggregator", found, UUID(subject))
    return whole, await pair.ask("aggregator", f"{found} AND repair_time IS NOT NULL", UUID(subject))


def repairs(cause: str) -> float:
    return REGISTRY.get_sample_value("totals_repairs_total", {"cause": cause}) or 0.0


def alarms(cause: str) -> float:
    return REGISTRY.get_sample_value("totals_drifts_open", {"cause": cause}) or 0.0


# On demand


async def verified(pair: Pair, cause: Cause, patience_s: float = 0.1) -> tuple[list[Any], list[UUID]]:
    verification = Verification(
        store=pair.books.verification._store, donations=pair.books.verification._donations, patience_s=patience_s
    )
    return await verification.verify_total(UUID(cause.campaign_id))


@pytest.mark.requirement("TOT-7")
async def test_what_is_under_way_is_no_drift(pair: Pair, counted: Cause, monkeypatch: pytest.MonkeyPatch) -> None:
    await pair.stop()
    await pair.give(counted, draw=random.Random(2), gifts=6)
    store = pair.books.verification._store
    read, looks = store.books, 0

    async def books(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        found = await read(*arguments)
        if looks == 1:
            pair.consume()
        return found

    monkeypatch.setattr(store, "books", books)
    assert await verified(pair, counted, patience_s=20) == ([], [])
    assert looks > 1


@pytest.mark.requirement("TOT-7")
async def test_a_total_that_was_altered_drifts_by_that_and_no_donation_is_to_blame(pair: Pair, counted: Cause) -> None:
    await pair.ask("aggregator", MORE, UUID(counted.campaign_id))
    (drift,), donations = await verified(pair, counted)
    assert (drift.currency, drift.gross, drift.refunded, drift.disputed, drift.donations) == ("USD", 7, 0, 0, 0)
    assert donations == []
    await pair.rebuild(campaign_id=counted.campaign_id)
    assert await verified(pair, counted) == ([], [])


@pytest.mark.requirement("TOT-7")
@pytest.mark.parametrize("rebuilt", [False, True])
async def test_donations_whose_events_never_arrived_are_named(pair: Pair, counted: Cause, *, rebuilt: bool) -> None:
    if rebuilt:
        await pair.rebuild(campaign_id=counted.campaign_id)
    missing = await lose_a_gift(pair, counted)
    found, donations = await verified(pair, counted)
    assert [drift.donations for drift in found] == [-1]
    assert donations == [UUID(missing)]
    await pair.books.verifier.round()


async def lose_a_gift(pair: Pair, cause: Cause) -> str:
    """A gift whose event the broker acknowledged and then lost; its donation."""
    await pair.stop()
    try:
        before = await pair.published()
        answers = await pair.give(cause, draw=random.Random(1), gifts=1)
        await pair.lose(before + 1, await pair.published())
    finally:
        pair.consume()
    return str(answers[0].donation.donation_id)


@pytest.mark.requirement("TOT-7")
async def test_a_gift_that_was_counted_and_does_not_exist_is_named(pair: Pair, counted: Cause) -> None:
    forged = uuid4()
    await pair.ask(
        "aggregator",
        "WITH one AS (SELECT * FROM applied WHERE campaign_id = $1 AND currency = 'USD' AND gross > 0 LIMIT 1), "
        "counted AS (UPDATE totals t SET gross = t.gross + one.gross, donations = t.donations + 1 FROM one "
        "WHERE t.campaign_id = $1 AND t.currency = 'USD') "
        "INSERT INTO applied SELECT day, gen_random_uuid(), tx, epoch, campaign_id, currency, gross, refunded, disputed, "
        "donations, $2::uuid, donor_id, time FROM one",
        UUID(counted.campaign_id),
        forged,
    )
    found, donations = await verified(pair, counted)
    assert [drift.donations for drift in found] == [1]
    assert donations == [forged]
    await pair.books.verifier.round()


@pytest.mark.requirement("TOT-7")
async def test_a_total_is_verified_by_rpc(mesh: Mesh, cause: Cause) -> None:
    async def known() -> bool:
        try:
            answer = await mesh.aggregates.VerifyTotal(messages.VerifyTotalRequest(campaign_id=cause.campaign_id))
        except grpc.aio.AioRpcError:
            return False
        return answer == messages.VerifyTotalResponse()

    assert await until(known)
    refusal = await refusal_of(mesh.aggregates.VerifyTotal(messages.VerifyTotalRequest(campaign_id=UNKNOWN)))
    assert refusal.reason_name == "CAMPAIGN_NOT_FOUND"


async def test_a_campaign_that_nobody_knows_is_not_verified(pair: Pair) -> None:
    with pytest.raises(CampaignNotFound):
        await pair.books.verification.verify_total(uuid4())


# All the time


@pytest.mark.requirement("TOT-7")
@pytest.mark.parametrize(
    "statement",
    [
        MORE,
        "UPDATE course SET refunded = refunded - 1 WHERE campaign_id = $1 AND currency = 'USD'",
        "DELETE FROM campaign_donor WHERE campaign_id = $1",
        "UPDATE totals SET donors = donors + 1 WHERE campaign_id = $1 AND currency = 'EUR'",
    ],
)
async def test_a_total_that_was_altered_by_hand_is_rebuilt_and_counted(pair: Pair, counted: Cause, statement: str) -> None:
    before = repairs("total")
    await pair.ask("aggregator", statement, UUID(counted.campaign_id))

    await pair.books.verifier.round()

    assert await pair.counted(counted) == await pair.truth(counted)
    given, shown = await pair.courses(counted)
    assert given == shown
    assert await drifts(pair, counted.campaign_id) == (1, 1)
    assert (repairs("total") - before, alarms("total")) == (1, 0)


@pytest.mark.requirement("TOT-7")
async def test_what_cannot_be_repaired_alarms_until_it_can(pair: Pair, counted: Cause, monkeypatch: Any) -> None:
    async def away(_campaign_id: Any) -> int:
        raise DependencyUnavailable("away", dependency="donation")

    await pair.ask("aggregator", MORE, UUID(counted.campaign_id))
    with monkeypatch.context() as patched:
        patched.setattr(pair.books.rebuilds, "rebuild", away)
        for _ in range(2):
            await pair.books.verifier.round()
            assert alarms("total") == 1
        assert await drifts(pair, counted.campaign_id) == (1, 0)
    await pair.books.verifier.round()
    assert alarms("total") == 0
    assert await drifts(pair, counted.campaign_id) == (1, 1)


def older(totals: CampaignTotals) -> CampaignTotals:
    return replace(totals, version=totals.version - 1, currencies=(CurrencyTotals("USD", 1),))


def above(totals: CampaignTotals) -> CampaignTotals:
    return replace(totals, version=totals.version + 5, currencies=(CurrencyTotals("USD", 10**6),))


def otherwise(totals: CampaignTotals) -> CampaignTotals:
    return replace(totals, currencies=(CurrencyTotals("USD", 10**6),))


def absurd(totals: CampaignTotals) -> CampaignTotals:
    return replace(totals, version=2**60, currencies=(CurrencyTotals("USD", 10**6),))


@pytest.mark.requirement("TOT-7", "TOT-4")
@pytest.mark.parametrize("shown", [older, above, otherwise, absurd])
async def test_what_redis_shows_wrongly_is_written_over_and_counted(pair: Pair, counted: Cause, shown: Any) -> None:
    campaign_id, before = UUID(counted.campaign_id), repairs("display")
    (truth,) = await pair.books.totals.known([campaign_id])
    await pair.cache.forget(campaign_id)
    await pair.cache.put([shown(truth)])

    await pair.books.verifier.round()

    held = await pair.cache.get(campaign_id)
    (now,) = await pair.books.totals.known([campaign_id])
    assert held == now
    assert held.currencies == truth.currencies
    assert held.version >= truth.version
    assert await drifts(pair, counted.campaign_id) == (1, 1)
    assert repairs("display") - before == 1


@pytest.mark.requirement("TOT-7")
async def test_an_event_that_the_stream_lost_is_fetched_counted_once_and_told(pair: Pair, counted: Cause) -> None:
    before = repairs("event")
    await lose_a_gift(pair, counted)
    assert await pair.counted(counted) != await pair.truth(counted)

    await pair.books.verifier.round()

    await pair.until_exact(counted)
    assert repairs("event") > before
    await pair.books.verifier.round()
    assert await pair.counted(counted) == await pair.truth(counted)


@pytest.mark.requirement("TOT-7", "RES-2")
async def test_nothing_is_repaired_while_nothing_is_wrong_however_late_events_are(pair: Pair, counted: Cause) -> None:
    before = await pair.ask("aggregator", "SELECT count(*) FROM drift")
    draw = random.Random(4)
    for _ in range(2):
        await pair.stop()
        await pair.give(counted, draw=draw, gifts=10)
        await pair.published()
        looking = asyncio.create_task(pair.books.verifier.round())
        pair.consume()
        await pair.give(counted, draw=draw, gifts=5)
        await looking
    await pair.until_exact(counted)
    assert await pair.ask("aggregator", "SELECT count(*) FROM drift") == before


@pytest.mark.requirement("TOT-7")
async def test_one_replica_looks_at_a_time(pair: Pair, counted: Cause) -> None:
    await pair.ask("aggregator", "UPDATE verification SET holder = 'another', expire_time = now() + interval '1 hour'")
    await pair.ask("aggregator", MORE, UUID(counted.campaign_id))
    await pair.books.verifier.round()
    assert await drifts(pair, counted.campaign_id) == (0, 0)
    await pair.ask("aggregator", "UPDATE verification SET expire_time = now()")
    await pair.books.verifier.round()
    assert await drifts(pair, counted.campaign_id) == (1, 1)


# The donation service's part


@pytest.mark.requirement("TOT-7")
async def test_changes_are_listed_from_a_position_each_once_also_those_that_commit_late(pair: Pair, counted: Cause) -> None:
    begun = (await pair.operations.ListChanges(operations.ListChangesRequest())).position
    await pair.give(counted, draw=random.Random(3), gifts=9)
    await pair.published()
    listed, request = [], operations.ListChangesRequest(position=begun, page_size=2, with_events=True)
    while True:
        answer = await pair.operations.ListChanges(request)
        listed += answer.changes
        request.position.CopyFrom(answer.position)
        if not answer.more:
            break
    wanted = await pair.ask(
        "donation",
        "SELECT array_agg(id ORDER BY id) FROM event WHERE NOT pg_visible_in_snapshot(tx, $1::text::pg_snapshot)",
        begun.from_snapshot,
    )
    assert sorted(UUID(bytes=change.event_id) for change in listed) == wanted
    assert {change.event.id for change in listed} == {change.event_id for change in listed}
    assert all(change.event.tx and change.event.day == change.day for change in listed)
    again = await pair.operations.ListChanges(request)
    assert (list(again.changes), again.more) == ([], False)


@pytest.mark.requirement("TOT-10")
async def test_tallies_begin_with_the_snapshot_that_they_are_of_and_end_with_a_word(pair: Pair, counted: Cause) -> None:
    stream = pair.operations.StreamTallies(operations.StreamTalliesRequest(campaign_id=counted.campaign_id))
    first, *answers, last = [answer async for answer in stream]
    assert (first.epoch, bool(first.snapshot), first.estimated_tallies, last.complete) == (1, True, 12, True)
    tallies = [tally for answer in answers for tally in answer.tallies]
    returns = [change for answer in answers for change in answer.returns]
    assert len(tallies) == 12
    assert sum(change.refunded for change in returns) == sum(tally.tally.refunded for tally in tallies) > 0
    now = datetime.datetime.now(datetime.UTC)
    assert all(now - change.time.ToDatetime(tzinfo=datetime.UTC) < datetime.timedelta(hours=1) for change in returns)
