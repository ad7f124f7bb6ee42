"""The state tables, every pair of them, and their agreement with the contract."""

from __future__ import annotations

import datetime
from itertools import product
from uuid import UUID

import pytest
from giving.donation.v1 import campaign_pb2, charity_pb2, donation_pb2
from hypothesis import given
from hypothesis import strategies as st

from donation_svc.domain.causes import CAMPAIGN_MOVES, RECORDABLE, CampaignMove, CampaignState, CharityState
from donation_svc.domain.donations import (
    LEGAL,
    Donation,
    DonationState,
    ExceedsRemaining,
    IllegalFact,
    Origin,
    Reversed,
    Tally,
    advance,
)
from mesh.money import Money

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OPENS = {CampaignState.DRAFT, CampaignState.PAUSED, CampaignState.ACTIVE}
PAUSES = {CampaignState.ACTIVE, CampaignState.PAUSED}
REVERSIBLE = {DonationState.SUCCEEDED, DonationState.PARTIALLY_REFUNDED}


def donation(state: DonationState, tally: Tally) -> Donation:
    return Donation(
        id=UUID(int=1),
        charity_id=UUID(int=2),
        campaign_id=UUID(int=3),
        donor_id=None,
        origin=Origin.RECORDED,
        state=state,
        amount=Money(100, "USD"),
        tally=tally,
        anonymous=False,
        version=1,
        create_time=NOW,
        update_time=NOW,
        settle_time=NOW,
    )


@pytest.mark.parametrize(("state", "move"), list(product(CampaignState, CampaignMove)))
def test_a_campaign_moves_only_as_its_table_says(state: CampaignState, move: CampaignMove) -> None:
    allowed = OPENS if move is CampaignMove.ACTIVATE else PAUSES
    assert CAMPAIGN_MOVES.get((state, move)) == (move.value if state in allowed else None)


@pytest.mark.parametrize("state", DonationState)
def test_a_reversal_happens_only_where_money_is(state: DonationState) -> None:
    before = donation(state, Tally(gross=100, donations=1))
    assert LEGAL[state, Reversed] == (state in REVERSIBLE)
    if state not in REVERSIBLE:
        with pytest.raises(IllegalFact):
            advance(before, Reversed(1), now=NOW)
        return
    assert advance(before, Reversed(99), now=NOW).state is DonationState.PARTIALLY_REFUNDED
    assert advance(before, Reversed(100), now=NOW).state is DonationState.REFUNDED


@given(st.lists(st.integers(min_value=1, max_value=60), max_size=12))
def test_any_row_of_reversals_takes_back_no_more_than_arrived(amounts: list[int]) -> None:
    current, taken = donation(DonationState.SUCCEEDED, Tally(gross=100, donations=1)), 0
    for amount in amounts:
        try:
            current = advance(current, Reversed(amount), now=NOW)
        except ExceedsRemaining:
            assert taken + amount > 100
        else:
            taken += amount
    assert current.tally.refunded == taken <= 100
    assert (current.state is DonationState.REFUNDED) == (taken == 100)


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (CharityState, charity_pb2.Charity.State, "STATE_"),
        (CampaignState, campaign_pb2.Campaign.State, "STATE_"),
        (DonationState, donation_pb2.Donation.State, "STATE_"),
        (Origin, donation_pb2.Donation.Origin, "ORIGIN_"),
    ],
)
def test_states_are_the_contracts(ours: type, theirs: object, prefix: str) -> None:
    contract = {name.removeprefix(prefix): number for name, number in theirs.items() if number}  # type: ignore[attr-defined]
    assert {item.name: item.value for item in ours} == contract  # type: ignore[attr-defined]


def test_only_a_draft_refuses_what_has_been_charged() -> None:
    assert set(CampaignState) - RECORDABLE == {CampaignState.DRAFT}
