"""Postings as data: what a list of changes becomes."""

from __future__ import annotations

import datetime
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.money import Money
from payment_svc.domain.ledger import Account, Batch, DonationChange, Line, Posting, PostingKind
from payment_svc.ledger import BIGINT_MAX, AmountOutOfRange, batch_of, batch_postings, owed_delta

CHARITY, CAMPAIGN = UUID(int=1), UUID(int=2)
IDS = st.integers(min_value=1, max_value=3).map(lambda number: UUID(int=number))


def change(
    minor_units: int,
    currency: str = "USD",
    *,
    kind: PostingKind = PostingKind.RECORDED,
    campaign_id: UUID = CAMPAIGN,
    charity_id: UUID = CHARITY,
) -> DonationChange:
    return DonationChange(
        event_id=UUID(int=9),
        day=datetime.date(2026, 1, 1),
        tx=1,
        epoch=1,
        donation_id=UUID(int=3),
        charity_id=charity_id,
        campaign_id=campaign_id,
        kind=kind,
        amount=Money(minor_units, currency),
    )


CHANGES = st.lists(
    st.builds(
        change,
        st.integers(min_value=-10_000, max_value=10**12),
        st.sampled_from(["USD", "JPY", "KWD"]),
        kind=st.sampled_from([PostingKind.RECORDED, PostingKind.RECORDED_REVERSAL]),
        campaign_id=IDS,
        charity_id=IDS,
    ),
    max_size=30,
)


def ids_of(changes: list[DonationChange]) -> dict[Batch, UUID]:
    batches = sorted(set(map(batch_of, changes)))
    return {batch: UUID(int=number) for number, batch in enumerate(batches)}


def post(changes: list[DonationChange]) -> list[Posting]:
    return batch_postings(changes, ids=ids_of(changes))


@pytest.mark.requirement("LED-2")
def test_recorded_gifts_are_debited_to_the_checkout_and_owed_to_the_campaign() -> None:
    (posting,) = post([change(250), change(100)])
    assert posting.lines == (
        Line(Account.EXTERNAL_CLEARING, Money(350, "USD")),
        Line(Account.CAMPAIGN_PAYABLE, Money(-350, "USD")),
    )


@pytest.mark.requirement("LED-2")
def test_a_reversal_goes_from_the_checkout_to_donors() -> None:
    (posting,) = post([change(50, kind=PostingKind.RECORDED_REVERSAL)])
    assert posting.lines == (
        Line(Account.REFUNDS, Money(50, "USD")),
        Line(Account.EXTERNAL_CLEARING, Money(-50, "USD")),
    )


def test_a_sum_of_zero_makes_no_posting() -> None:
    assert post([change(5), change(-5), change(0, "EUR")]) == []


@pytest.mark.requirement("PAY-10")
def test_each_currency_is_posted_apart() -> None:
    assert {posting.lines[0].amount for posting in post([change(500, "JPY"), change(1250, "KWD")])} == {
        Money(500, "JPY"),
        Money(1250, "KWD"),
    }


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_that_bigint_cannot_hold_is_refused(sign: int) -> None:
    with pytest.raises(AmountOutOfRange, match="more than the ledger holds"):
        post([change(sign * BIGINT_MAX), change(sign)])


def test_the_largest_sum_that_bigint_holds_is_posted() -> None:
    (posting,) = post([change(BIGINT_MAX - 1), change(1)])
    assert [line.amount.minor_units for line in posting.lines] == [BIGINT_MAX, -BIGINT_MAX]


@pytest.mark.requirement("LED-1")
@given(CHANGES)
def test_every_posting_sums_to_zero_per_currency(changes: list[DonationChange]) -> None:
    for posting in post(changes):
        sums: Counter[str] = Counter()
        for line in posting.lines:
            sums[line.amount.currency] += line.amount.minor_units
        assert len(posting.lines) >= 2
        assert not any(sums.values())


@pytest.mark.requirement("LED-2")
@given(CHANGES)
def test_what_is_owed_is_the_sum_of_all_deltas(changes: list[DonationChange]) -> None:
    owed: Counter[tuple[UUID, UUID, str]] = Counter()
    for posting in post(changes):
        for line in posting.lines:
            if line.account in (Account.CAMPAIGN_PAYABLE, Account.REFUNDS):
                owed[posting.charity_id, posting.campaign_id, line.amount.currency] -= line.amount.minor_units
    deltas: Counter[tuple[UUID, UUID, str]] = Counter()
    for each in changes:
        deltas[each.charity_id, each.campaign_id, each.amount.currency] += owed_delta(each)
    assert {key: value for key, value in owed.items() if value} == {key: value for key, value in deltas.items() if value}


@given(CHANGES, st.randoms(use_true_random=False))
def test_the_order_of_changes_changes_nothing(changes: list[DonationChange], random: object) -> None:
    shuffled = changes[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert post(shuffled) == post(changes)


@given(CHANGES)
def test_there_is_one_posting_for_each_campaign_currency_and_kind(changes: list[DonationChange]) -> None:
    postings = post(changes)
    keys = [
        (posting.charity_id, posting.campaign_id, posting.lines[0].amount.currency, posting.kind) for posting in postings
    ]
    assert len(keys) == len(set(keys))
    assert keys == sorted(keys)
