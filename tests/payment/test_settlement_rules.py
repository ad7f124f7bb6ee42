"""The rules of settlement by themselves: what a movement is beside our books, and what is posted for it."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.ids import new_id, new_tenant_id
from mesh.money import Money
from payment_svc.domain.ledger import Account, Posting, PostingKind
from payment_svc.domain.settlement import (
    ASK_AGAIN,
    LOOK_AGAIN,
    OF_PAYMENTS,
    Item,
    ItemClass,
    Movement,
    Origin,
    Ours,
    classed,
    differing,
    looked_at,
)
from payment_svc.ledger import settlement_posting

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
CHARITY = new_tenant_id()
PAYMENT, CAMPAIGN = new_id(tenant_id=CHARITY), new_id(tenant_id=CHARITY)


def moved(minor_units: int = 10_000, currency: str = "USD", *, category: str = "charge", fee: int = 320) -> Movement:
    return Movement("txn_1", category, Money(minor_units, currency), fee, NOW, source_id="ch_1", converted=None)


def ours(minor_units: int | None = 10_000, currency: str = "USD") -> Ours:
    return Ours(PAYMENT, CHARITY, CAMPAIGN, currency, minor_units)


CLASSES: dict[str, tuple[Movement, Ours | None, ItemClass]] = {
    "as our books say": (moved(), ours(), ItemClass.MATCHED),
    "a cent more": (moved(10_001), ours(), ItemClass.AMOUNT_MISMATCH),
    "the other way": (moved(-10_000), ours(), ItemClass.AMOUNT_MISMATCH),
    "our books do not have it": (moved(), ours(None), ItemClass.MISSING_IN_BOOKS),
    "no payment of ours": (moved(), None, ItemClass.UNKNOWN_SOURCE),
    "a debit that failed": (moved(-10_000, category="charge_failure"), ours(-10_000), ItemClass.MATCHED),
    "a category that nobody knows": (moved(category="tax"), ours(), ItemClass.UNKNOWN_SOURCE),
    "a fee of Stripe's own": (moved(category="fee"), None, ItemClass.MATCHED),
    "a payout": (moved(category="payout"), None, ItemClass.MATCHED),
    "a payout that came back": (moved(category="payout_reversal"), None, ItemClass.MATCHED),
    "exchanged": (moved(10_800), ours(10_000, "EUR"), ItemClass.MATCHED),
    "exchanged, the other way": (moved(-10_800), ours(10_000, "EUR"), ItemClass.AMOUNT_MISMATCH),
    "not exchanged, in another currency": (
        replace(moved(10_000), converted=False),
        ours(10_000, "EUR"),
        ItemClass.AMOUNT_MISMATCH,
    ),
}


@pytest.mark.requirement("REC-2", "REC-3")
@pytest.mark.parametrize("case", CLASSES)
def test_a_movement_has_one_class_beside_our_books(case: str) -> None:
    movement, known, item_class = CLASSES[case]
    assert classed(movement, known) is item_class


@pytest.mark.requirement("REC-3")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ItemClass.MATCHED, ItemClass.MATCHED),
        (ItemClass.MISSING_IN_BOOKS, ItemClass.IMPORTED),
        (ItemClass.UNKNOWN_SOURCE, ItemClass.IMPORTED),
        (ItemClass.AMOUNT_MISMATCH, ItemClass.MATCHED),
    ],
)
def test_what_agrees_only_now_was_imported(before: ItemClass, after: ItemClass) -> None:
    item = Item(moved(), before, Origin.API, next_look_time=NOW)
    assert looked_at(item, ours(), now=NOW) == Item(moved(), after, Origin.API, ours(), posted=True, looks=1)


@pytest.mark.requirement("REC-3")
@pytest.mark.parametrize("item_class", LOOK_AGAIN)
def test_what_does_not_agree_is_looked_at_again_less_and_less_and_then_stays_listed(item_class: ItemClass) -> None:
    known = {
        ItemClass.MISSING_IN_BOOKS: ours(None),
        ItemClass.AMOUNT_MISMATCH: ours(1),
        ItemClass.UNKNOWN_SOURCE: None,
    }[item_class]
    item, times = Item(moved(), item_class, Origin.API, next_look_time=NOW), []
    while item.next_look_time:
        times.append(item.next_look_time)
        item = looked_at(item, known, now=item.next_look_time)
        assert item.item_class is item_class
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == list(LOOK_AGAIN[item_class])
    assert waits == sorted(waits)


@pytest.mark.requirement("REC-3")
def test_a_look_without_asking_counts_only_where_nothing_could_be_asked() -> None:
    item = Item(moved(), ItemClass.MISSING_IN_BOOKS, Origin.API, looks=3, next_look_time=NOW)
    after = looked_at(item, ours(None), now=NOW, asked=False)
    assert (after.looks, after.next_look_time, after.posted) == (3, NOW + ASK_AGAIN, True)
    for known in (None, ours(1), ours()):
        assert looked_at(item, known, now=NOW, asked=False) == looked_at(item, known, now=NOW)


@pytest.mark.requirement("REC-2")
def test_of_two_sayings_the_amount_counts_before_the_fee() -> None:
    assert differing(moved(), moved()) is None
    assert differing(moved(), moved(fee=300)) is ItemClass.FEE_MISMATCH
    assert differing(moved(), moved(9_000, fee=300)) is ItemClass.AMOUNT_MISMATCH
    assert differing(moved(), moved(currency="EUR")) is ItemClass.AMOUNT_MISMATCH


def posted(before: Item, after: Item) -> Posting | None:
    return settlement_posting(UUID(int=1), before, after)


def sums(*postings: Posting | None) -> Counter[tuple[str, str]]:
    """What postings leave on the accounts, by account and currency; what is nothing is absent."""
    found: Counter[tuple[str, str]] = Counter()
    for posting in filter(None, postings):
        for line in posting.lines:
            found[line.account, line.amount.currency] += line.amount.minor_units
    return Counter({place: total for place, total in found.items() if total})


# Category → what is posted for 100.00 with a fee of 3.20 where it belongs to no payment of ours.
OTHERS = {
    "fee": (PostingKind.PROVIDER_FEE, Account.FEES),
    "payout": (PostingKind.PAID_OUT, Account.BANK),
    "payout_reversal": (PostingKind.PAYOUT_RETURNED, Account.BANK),
    "tax": (PostingKind.PROVIDER_ADJUSTMENT, Account.ADJUSTMENTS),
    "charge": (PostingKind.PROVIDER_ADJUSTMENT, Account.ADJUSTMENTS),
}


@pytest.mark.requirement("LED-2")
@pytest.mark.parametrize("category", OTHERS)
def test_what_belongs_to_no_payment_goes_where_its_category_says(category: str) -> None:
    kind, account = OTHERS[category]
    item = Item(moved(-5_000, category=category, fee=0), classed(moved(category=category), None), Origin.API)
    posting = posted(item, looked_at(item, None, now=NOW))
    assert posting
    assert (posting.kind, posting.payment_id, posting.campaign_id, posting.settlement_id) == (kind, None, None, "txn_1")
    assert sums(posting) == {("provider_balance", "USD"): -5_000, (account.value, "USD"): 5_000}


@pytest.mark.requirement("LED-2")
def test_of_a_category_that_nobody_knows_nothing_is_a_payments_though_its_source_is() -> None:
    item = Item(moved(category="tax"), ItemClass.UNKNOWN_SOURCE, Origin.API, ours())
    posting = posted(item, looked_at(item, ours(), now=NOW))
    assert posting
    assert (posting.kind, posting.payment_id, posting.campaign_id) == (PostingKind.PROVIDER_ADJUSTMENT, None, None)


@pytest.mark.requirement("LED-2")
def test_what_leaves_nothing_and_costs_nothing_is_not_posted() -> None:
    item = Item(moved(0, fee=0), ItemClass.MATCHED, Origin.API)
    assert posted(item, looked_at(item, ours(0), now=NOW)) is None


AMOUNTS = st.integers(-(10**9), 10**9)
MOVEMENTS = st.builds(
    moved,
    AMOUNTS,
    st.sampled_from(["USD", "EUR"]),
    category=st.sampled_from([*sorted(OF_PAYMENTS), "fee", "payout", "tax"]),
    fee=AMOUNTS,
)
KNOWN = st.none() | st.builds(ours, st.none() | AMOUNTS, st.sampled_from(["USD", "EUR"]))


@pytest.mark.requirement("LED-1", "LED-2", "REC-4")
@given(MOVEMENTS, st.lists(st.tuples(KNOWN, st.none() | MOVEMENTS), min_size=1, max_size=5))
def test_however_often_it_is_looked_at_what_is_posted_is_what_is_true_in_the_end(
    movement: Movement, looks: list[tuple[Ours | None, Movement | None]]
) -> None:
    """Our books learn, and Stripe itself corrects what a file had said: the postings together are those of the end."""
    item, postings = Item(movement, classed(movement, looks[0][0]), Origin.FILE, looks[0][0]), []
    for known, said in looks:
        after = looked_at(replace(item, movement=said) if said else item, known, now=NOW)
        postings.append(posted(item, after))
        item = after
    at_once = posted(replace(item, posted=False), item)
    assert sums(*postings) == sums(at_once)
    # A file alone is not believed what it says about nobody.
    believed = item.movement.net.minor_units if item.posted else 0
    assert sums(*postings)["provider_balance", item.movement.amount.currency] == believed
    for posting in filter(None, postings):
        for currency in {line.amount.currency for line in posting.lines}:
            assert sum(line.amount.minor_units for line in posting.lines if line.amount.currency == currency) == 0
        assert all(line.amount.minor_units for line in posting.lines)


@pytest.mark.requirement("REC-2", "LED-2")
@pytest.mark.parametrize(
    ("origin", "known", "is_posted"), [(Origin.FILE, None, False), (Origin.API, None, True), (Origin.FILE, ours(97), True)]
)
def test_what_is_nobodys_is_posted_on_the_providers_own_word_only(
    origin: Origin, known: Ours | None, is_posted: bool
) -> None:
    item = Item(moved(97), classed(moved(97), known), origin, known)
    after = looked_at(item, known, now=NOW)
    assert (after.posted, posted(item, after) is not None) == (is_posted, is_posted)
    for _ in range(5):
        after = looked_at(after, known, now=NOW)
    assert (after.next_look_time is None) == is_posted
