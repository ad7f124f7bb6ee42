"""Totals: counted once whatever is delivered, absolute in Redis, live for watchers."""

from __future__ import annotations

import asyncio
import datetime
import random
from contextlib import aclosing
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as messages
from giving.aggregate.v1 import totals_pb2

from aggregator_svc.cache import CacheUnavailable, TotalsCache, open_redis
from aggregator_svc.domain.totals import CampaignTotals, CampaignWord, CurrencyTotals, Delta
from aggregator_svc.feed import TotalsFeed
from aggregator_svc.refusals import CampaignNotFound
from aggregator_svc.service.totals import WATCH_PERIOD_S, Totals
from cli.servers.valkey import valkey
from mesh.clock import SystemClock
from mesh.errors import DependencyUnavailable
from mesh.events.partitions import Partitions
from mesh.postgres import load_queries
from mesh.tasks import cancel
from tests.support.books import reading
from tests.support.counting import CHARITY, Counting, delta
from tests.support.giving import Cause, gift, totals_of
from tests.support.mesh import Mesh
from tests.support.refusals import refusal_of
from tests.support.waiting import BOUND_S, until

TODAY = datetime.datetime.now(datetime.UTC).date()
UNKNOWN = "0190b4a2-0000-7000-8000-000000000000"


@pytest.mark.requirement("TOT-3", "EVT-6")
async def test_an_event_counts_once_however_often_and_beside_whom_it_is_delivered(parts: Counting) -> None:
    campaign = uuid4()
    deltas = [delta(campaign, amount) for amount in (1, 20, 300)]
    batches = [random.Random(seed).sample(deltas, 3) + deltas[:1] for seed in range(12)]

    await asyncio.gather(*(parts.totals.apply(batch, []) for batch in batches))

    found = await parts.totals.get_totals(campaign)
    assert found.currencies == (CurrencyTotals("USD", 321, 0, 0, 3, 0),)


@pytest.mark.requirement("EVT-6")
async def test_a_redelivery_after_eight_days_and_after_a_year_is_still_not_counted(parts: Counting) -> None:
    partitions = Partitions(parts.database, load_queries("mesh.events"))
    for days in (8, 380):
        campaign = uuid4()
        old = delta(campaign, day=TODAY - datetime.timedelta(days=days))
        await partitions.ensure("applied", [old.day])
        for _ in range(2):
            await parts.totals.apply([old], [])
        assert (await parts.totals.get_totals(campaign)).currencies[0].gross == 100


@pytest.mark.requirement("TOT-3")
async def test_totals_equal_the_sum_of_what_was_applied_after_random_batches_and_repeats(parts: Counting) -> None:
    for seed in range(5):
        draw = random.Random(seed)
        campaigns = [uuid4() for _ in range(3)]
        donors = [uuid4() for _ in range(4)]
        deltas = [
            delta(
                draw.choice(campaigns),
                draw.randint(1, 1000),
                currency=draw.choice(["USD", "EUR"]),
                donor_id=draw.choice(donors),
                refunded=draw.choice([0, 0, 7]),
            )
            for _ in range(60)
        ]
        batches = [draw.choices(deltas, k=20) for _ in range(12)] + [deltas]
        await asyncio.gather(*(parts.totals.apply(batch, []) for batch in batches))
        async with reading(parts.schemas, "aggregator") as connection:
            drift = await connection.fetch(
                """SELECT campaign_id, currency FROM totals t
                JOIN (SELECT campaign_id, currency, sum(gross) g, sum(refunded) r, sum(donations) n
                      FROM applied GROUP BY 1, 2) a USING (campaign_id, currency)
                WHERE (t.gross, t.refunded, t.donations) <> (a.g, a.r, a.n)"""
            )
        assert drift == [], f"seed {seed}"
        for campaign in campaigns:
            for share in (await parts.totals.get_totals(campaign)).currencies:
                mine = [item for item in deltas if (item.campaign_id, item.currency) == (campaign, share.currency)]
                expected = sum(item.gross for item in mine), len(mine), len({item.donor_id for item in mine})
                assert (share.gross, share.donations, share.donors) == expected, f"seed {seed}"


def returns_of(donor: UUID, campaign: UUID, draw: random.Random) -> list[Delta]:
    """What the events of one gift add: it arrives, then parts of it go back and come back, in refunds and to banks."""
    gross = draw.randint(1, 1000)
    deltas, refunded, disputed = [delta(campaign, gross, donor_id=donor)], 0, 0
    for _ in range(draw.randint(0, 6)):
        if draw.random() < 0.5:
            growth = draw.randint(0, gross - disputed) - refunded
            refunded += growth
            deltas.append(delta(campaign, 0, donor_id=donor, donations=0, refunded=growth))
        else:
            growth = draw.randint(0, gross - refunded) - disputed
            disputed += growth
            deltas.append(delta(campaign, 0, donor_id=donor, donations=0, disputed=growth))
    return deltas


@pytest.mark.requirement("TOT-6", "TOT-3")
async def test_what_goes_back_and_comes_back_in_any_order_leaves_the_net_of_the_gifts(parts: Counting) -> None:
    for seed in range(4):
        draw, campaign = random.Random(seed), uuid4()
        deltas = [item for _ in range(12) for item in returns_of(uuid4(), campaign, draw)]
        expected = [sum(getattr(item, name) for item in deltas) for name in ("gross", "refunded", "disputed")]
        deliveries = draw.sample(deltas, len(deltas)) + draw.choices(deltas, k=20)

        batches = [deliveries[start : start + 9] for start in range(0, len(deliveries), 9)]
        await asyncio.gather(*(parts.totals.apply(batch, []) for batch in batches))

        (share,) = (await parts.totals.get_totals(campaign)).currencies
        assert [share.gross, share.refunded, share.disputed] == expected, f"seed {seed}"
        assert (share.net, share.donations, share.donors) == (expected[0] - sum(expected[1:]), 12, 12), f"seed {seed}"


@pytest.mark.requirement("TOT-1")
async def test_a_campaign_without_gifts_shows_zero_in_each_currency_that_it_takes(parts: Counting) -> None:
    campaign = uuid4()
    await parts.totals.apply([], [CampaignWord(campaign, CHARITY, ("USD", "EUR"), 1)])

    assert (await parts.totals.get_totals(campaign)).currencies == (CurrencyTotals("EUR"), CurrencyTotals("USD"))


async def test_an_older_word_about_a_campaign_changes_nothing(parts: Counting) -> None:
    campaign = uuid4()
    for word in (CampaignWord(campaign, CHARITY, ("EUR",), 2), CampaignWord(campaign, CHARITY, ("USD",), 1)):
        await parts.totals.apply([], [word])

    assert (await parts.totals.get_totals(campaign)).currencies == (CurrencyTotals("EUR"),)


async def test_an_older_value_never_replaces_a_newer_one_in_redis(parts: Counting) -> None:
    now = datetime.datetime.now(datetime.UTC)
    newer = CampaignTotals(uuid4(), (CurrencyTotals("USD", 5),), 5, now)

    await parts.cache.put([newer, replace(newer, version=4, currencies=(CurrencyTotals("USD", 4),))])

    assert await parts.cache.get(newer.campaign_id) == newer


class Broken:
    """A store whose database does not answer."""

    async def read(self, _campaign_ids: object) -> list[CampaignTotals]:
        raise DependencyUnavailable("the database does not answer", dependency="postgres")


@pytest.mark.requirement("TOT-2")
async def test_a_total_is_read_without_the_database(parts: Counting) -> None:
    campaign = uuid4()
    await parts.totals.apply([delta(campaign)], [])
    reader = Totals(store=Broken(), cache=parts.cache, feed=TotalsFeed(), clock=SystemClock())  # type: ignore[arg-type]

    assert (await reader.get_totals(campaign)).currencies[0].gross == 100


async def test_a_process_that_saw_a_newer_version_never_shows_an_older_one_from_redis(parts: Counting) -> None:
    campaign = uuid4()
    await parts.totals.apply([delta(campaign)], [])
    newer = await parts.store.apply([delta(campaign)], [])
    parts.feed.publish(newer)

    assert (await parts.totals.get_totals(campaign)).currencies[0].gross == 200


@pytest.mark.requirement("TOT-4")
async def test_redis_that_was_away_and_empty_is_written_again(
    parts: Counting, tmp_path_factory: pytest.TempPathFactory
) -> None:
    campaign = uuid4()
    async with valkey(tmp_path_factory.mktemp("valkey")) as server, open_redis(server.url) as redis:
        cache = TotalsCache(redis)
        totals = Totals(store=parts.store, cache=cache, feed=TotalsFeed(), clock=SystemClock())
        await totals.apply([delta(campaign)], [])
        await server.kill()
        await totals.apply([delta(campaign)], [])
        assert (await totals.get_totals(campaign)).currencies[0].gross == 200
        await server.restart()
        repair = asyncio.create_task(totals.repair_cache())

        async def held() -> CampaignTotals | None:
            try:
                return await cache.get(campaign)
            except CacheUnavailable:
                return None

        found = await until(held)
        repair.cancel()
    assert found is not None
    assert found.currencies[0].gross == 200


async def test_an_unknown_campaign_has_no_totals(mesh: Mesh, parts: Counting) -> None:
    with pytest.raises(CampaignNotFound):
        await parts.totals.get_totals(uuid4())
    refusal = await refusal_of(mesh.aggregates.GetTotals(messages.GetTotalsRequest(campaign_id=UNKNOWN)))
    assert (refusal.reason_name, refusal.metadata) == ("CAMPAIGN_NOT_FOUND", {"campaign_id": UNKNOWN})


@pytest.mark.requirement("TOT-8")
async def test_a_watcher_gets_the_snapshot_first_and_then_only_newer_versions(mesh: Mesh, cause: Cause) -> None:
    await mesh.donations.RecordDonation(gift(cause.campaign_id, 100))
    await until(lambda: totals_of(mesh, cause.campaign_id), holds=lambda totals: _usd(totals) == 100)
    stream = mesh.aggregates.WatchTotals(messages.WatchTotalsRequest(campaign_id=cause.campaign_id))
    snapshot = (await stream.read()).totals
    await mesh.donations.RecordDonation(gift(cause.campaign_id, 50))
    live = (await stream.read()).totals
    stream.cancel()

    assert {share.currency: share.gross for share in snapshot.currencies} == {"EUR": 0, "USD": 100}
    assert {share.currency: share.gross for share in live.currencies} == {"EUR": 0, "USD": 150}
    assert live.version > snapshot.version


@pytest.mark.requirement("TOT-8")
async def test_a_watcher_that_knows_the_version_gets_no_snapshot(mesh: Mesh, cause: Cause) -> None:
    request = messages.WatchTotalsRequest(campaign_id=cause.campaign_id)

    async def known() -> int:
        return (await totals_of(mesh, cause.campaign_id)).version

    # Created and opened: two words about the campaign.
    request.after_version = await until(known, holds=lambda version: version >= 2)
    stream = mesh.aggregates.WatchTotals(request)
    await mesh.donations.RecordDonation(gift(cause.campaign_id, 50))
    first = (await stream.read()).totals
    stream.cancel()

    assert first.version > request.after_version


@pytest.mark.requirement("TOT-8")
async def test_a_watcher_with_a_version_that_was_never_given_gets_the_snapshot(parts: Counting) -> None:
    campaign = uuid4()
    await parts.totals.apply([delta(campaign)], [])
    async with asyncio.timeout(BOUND_S), aclosing(parts.totals.watch_totals(campaign, after_version=99)) as watched:
        assert (await anext(watched)).version == 1


@pytest.mark.requirement("TOT-8")
async def test_a_watcher_gets_what_happens_within_a_period_as_one(parts: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The period is a quarter of a second: no outside reader gets more than four updates in one."""
    assert WATCH_PERIOD_S == 0.25
    monkeypatch.setattr("aggregator_svc.service.totals.WATCH_PERIOD_S", 3600.0)
    campaign = uuid4()
    await parts.totals.apply([delta(campaign)], [])
    async with aclosing(parts.totals.watch_totals(campaign, after_version=0)) as watched:
        await anext(watched)
        await parts.totals.apply([delta(campaign)], [])
        await anext(watched)
        following = asyncio.ensure_future(anext(watched))
        for _ in range(8):
            await parts.totals.apply([delta(campaign)], [])
            assert not following.done()
        await cancel(following)


@pytest.mark.requirement("TOT-8")
async def test_a_slow_watcher_gets_the_latest_instead_of_a_queue() -> None:
    feed = TotalsFeed()
    now = datetime.datetime.now(datetime.UTC)
    campaign = uuid4()
    with feed.watch(campaign) as watcher:
        feed.publish([CampaignTotals(campaign, (), version, now) for version in range(1, 100)])
        feed.publish([CampaignTotals(campaign, (), 50, now), CampaignTotals(uuid4(), (), 1, now)])
        taken = await watcher.take(timeout_s=1)

    assert [totals.version for totals in taken] == [99]


async def test_followers_hear_of_every_campaign(mesh: Mesh, cause: Cause) -> None:
    stream = mesh.aggregates.FollowTotals(messages.FollowTotalsRequest())
    await stream.read()
    await mesh.donations.RecordDonation(gift(cause.campaign_id, 75))

    async def heard() -> bool:
        answer = await stream.read()
        return any(
            totals.campaign_id == cause.campaign_id and any(share.gross == 75 for share in totals.currencies)
            for totals in answer.totals
        )

    assert await until(heard)
    stream.cancel()


def _usd(totals: totals_pb2.CampaignTotals) -> int:
    return sum(share.gross for share in totals.currencies if share.currency == "USD")
