"""Recorded donations reach the ledger once, whatever the stream does."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from uuid import UUID

import pytest
from giving.common.v1.event_pb2 import Event
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.event_pb2 import DonationSucceeded, DonationTally

from mesh.events.consumer import EventRefused
from mesh.money import Money
from mesh.postgres import Database
from payment_svc.consumer import RecordedDonations
from payment_svc.service.ledger import Ledger
from tests.support.books import owed_over
from tests.support.donation_events import Giver, donation_id_of, make_event, poison


async def owed(ledger: Ledger, giver: Giver) -> dict[str, int]:
    return await owed_over(partial(ledger.get_balance, campaign_id=giver.campaign_id, as_of=None))


async def counts(database: Database, giver: Giver) -> tuple[int, int]:
    """How many postings there are of the campaign, and how many events point to them."""
    async with database.connection() as connection:
        row = await connection.fetchrow(
            "SELECT count(DISTINCT p.id) AS postings, count(a.event_id) AS events "
            "FROM posting p LEFT JOIN applied a ON a.posting_id = p.id WHERE p.campaign_id = $1",
            giver.campaign_id,
        )
    assert row is not None
    return row["postings"], row["events"]


@pytest.mark.requirement("LED-2")
async def test_a_window_is_one_posting_per_campaign_currency_and_kind(
    handler: RecordedDonations, ledger: Ledger, database: Database
) -> None:
    giver = Giver()
    await handler.apply(
        [
            giver.succeeded(250),
            giver.succeeded(100),
            giver.succeeded(700, "JPY"),
            giver.succeeded(1250, "KWD"),
            giver.refunded(50, of=250),
        ]
    )
    assert await owed(ledger, giver) == {"USD": 300, "JPY": 700, "KWD": 1250}
    assert await counts(database, giver) == (4, 5)


@pytest.mark.requirement("LED-2", "EVT-6")
async def test_the_same_window_twice_is_posted_once(handler: RecordedDonations, ledger: Ledger, database: Database) -> None:
    giver = Giver()
    window = [giver.succeeded(250), giver.refunded(100, of=250)]
    await handler.apply(window + window)
    await handler.apply(window)
    assert await owed(ledger, giver) == {"USD": 150}
    assert await counts(database, giver) == (2, 2)


@pytest.mark.requirement("LED-2", "EVT-6")
@pytest.mark.parametrize("days", [8, 380])
async def test_a_redelivery_after_eight_days_and_after_a_year_is_still_posted_once(
    handler: RecordedDonations, ledger: Ledger, days: int
) -> None:
    giver = Giver()
    old = giver.succeeded(250)
    old.day -= days
    for _ in range(2):
        await handler.apply([old])
    assert await owed(ledger, giver) == {"USD": 250}


@pytest.mark.requirement("EVT-8")
async def test_two_consumers_at_once_double_nothing(handler: RecordedDonations, ledger: Ledger, database: Database) -> None:
    giver = Giver()
    events = [giver.succeeded(amount) for amount in range(1, 201)]
    halves = [events, events[::-1], events[50:150], events[::2]]
    await asyncio.gather(*(handler.apply(half) for half in halves for _ in range(2)))
    assert await owed(ledger, giver) == {"USD": sum(range(1, 201))}
    assert (await counts(database, giver))[1] == 200


@pytest.mark.requirement("EVT-10")
@pytest.mark.parametrize("seed", range(5))
async def test_any_order_of_windows_gives_the_same_ledger(handler: RecordedDonations, ledger: Ledger, seed: int) -> None:
    giver, chance = Giver(), random.Random(seed)
    events = [giver.succeeded(1_000 + number) for number in range(20)]
    events += [giver.refunded(number + 1, of=1_000) for number in range(20)]
    windows = [events[start : start + 7] for start in range(0, len(events), 7)] * 2
    chance.shuffle(windows)
    for window in windows:
        await handler.apply(window)
    assert await owed(ledger, giver) == {"USD": sum(range(1_000, 1_020)) - sum(range(1, 21))}


@pytest.mark.requirement("LED-3")
async def test_a_failure_in_between_leaves_nothing_and_a_repeat_posts_all(
    handler: RecordedDonations, ledger: Ledger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    giver = Giver()
    window = [giver.succeeded(250), giver.succeeded(100, "EUR")]
    book = ledger._book
    with monkeypatch.context() as patch:
        entries = book._queries["insert_entries"]
        patch.setattr(book, "_queries", {**book._queries, "insert_entries": entries.replace("entry ", "no_table ")})
        broken = RecordedDonations(ledger=ledger, partitions=handler._partitions)
        with pytest.raises(Exception, match="no_table"):
            await broken.apply(window)
    assert await counts(database, giver) == (0, 0)

    await handler.apply(window)
    assert await owed(ledger, giver) == {"USD": 250, "EUR": 100}


async def test_gifts_that_we_took_ourselves_are_not_posted_from_here(handler: RecordedDonations, ledger: Ledger) -> None:
    giver = Giver()
    await handler.apply([giver.succeeded(250, origin=Donation.ORIGIN_INTENT)])
    assert await owed(ledger, giver) == {}


async def test_unknown_types_are_ignored(handler: RecordedDonations) -> None:
    await handler.apply([Event(id=b"0" * 16, type="giving.donation.v1.DonationDreamt", data=b"?")])


def broken_window() -> list[Event]:
    giver = Giver()
    both = DonationTally(gross=5, refunded=5, donations=1)
    no_message = giver.succeeded(5)
    no_message.data = b"\xff"
    return [
        poison(),
        no_message,
        giver.succeeded(5, after=both),
        giver.succeeded(-5),
        giver.succeeded(5, "dollars"),
    ]


@pytest.mark.requirement("EVT-7")
@pytest.mark.parametrize("event", broken_window(), ids=["invalid", "no message", "two figures", "negative", "currency"])
async def test_an_event_that_breaks_the_contract_is_refused(handler: RecordedDonations, event: Event) -> None:
    with pytest.raises(EventRefused):
        await handler.apply([event])


async def test_an_event_of_an_earlier_day_finds_its_partition(handler: RecordedDonations, ledger: Ledger) -> None:
    giver = Giver()
    template = giver.succeeded(250)
    data = DonationSucceeded.FromString(template.data)
    old = make_event(data, subject=template.subject, age_days=200)
    await handler.apply([old])
    await handler.apply([old])
    assert await owed(ledger, giver) == {"USD": 250}


@pytest.mark.requirement("LED-2")
async def test_entries_of_a_donation_are_those_of_its_batch(handler: RecordedDonations, ledger: Ledger) -> None:
    giver = Giver()
    first, second = giver.succeeded(250), giver.succeeded(100)
    await handler.apply([first, second])
    entries = await ledger.list_entries(UUID(donation_id_of(first)))
    assert [(entry.account, entry.amount) for entry in entries] == [
        ("external_clearing", Money(350, "USD")),
        ("campaign_payable", Money(-350, "USD")),
    ]
    assert entries == await ledger.list_entries(UUID(donation_id_of(second)))
    assert {entry.campaign_id for entry in entries} == {giver.campaign_id}


async def test_an_amount_that_nobody_can_give_is_refused_with_its_whole_batch(
    handler: RecordedDonations, ledger: Ledger
) -> None:
    giver = Giver()
    with pytest.raises(EventRefused):
        await handler.apply([giver.succeeded(250), giver.succeeded(2**63 - 1)])
    assert await owed(ledger, giver) == {}
