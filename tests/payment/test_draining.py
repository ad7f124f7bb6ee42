"""A flood of lost answers drains by itself."""

from __future__ import annotations

from collections import Counter

import pytest

from mesh.postgres import Database
from payment_svc.domain.payments import PaymentState
from tests.support.draining import Flood
from tests.support.waiting import until

# `benchmarks/draining.py` does the same with ten thousand.
COUNT = 300


@pytest.mark.requirement("REC-1", "PAY-3", "PAY-4")
async def test_a_flood_of_lost_answers_drains_at_the_published_times_and_makes_no_second_intent(database: Database) -> None:
    flood = Flood(database, losses=2)
    ids = await flood.record(COUNT)
    async with flood.asking():
        await until(lambda: flood.states(ids), holds=lambda found: found == Counter({PaymentState.UNKNOWN: COUNT}))
        flood.wait(31)
        await until(lambda: settled_asks(flood), holds=lambda asked: asked == 2 * COUNT)
        assert await flood.states(ids) == Counter({PaymentState.UNKNOWN: COUNT})
        flood.wait(90)
        await until(lambda: flood.states(ids), holds=lambda found: found == Counter({PaymentState.REQUIRES_ACTION: COUNT}))
    assert {flood.stripe.made[payment_id] for payment_id in ids} == {1}


@pytest.mark.requirement("PAY-11")
async def test_payments_that_our_own_account_stands_against_wait_for_an_operator_and_are_made_when_it_is_mended(
    database: Database,
) -> None:
    flood = Flood(database, losses=0)
    flood.stripe.refusing = "account_invalid"
    ids = await flood.record(3)
    async with flood.asking():
        words = {"create_intent: refused 1 times: account_invalid"}
        await until(lambda: flood.manual_reasons(ids), holds=lambda found: found == words)
        assert await flood.states(ids) == Counter({PaymentState.CREATED: 3})
        flood.stripe.refusing = ""
        flood.wait(31)
        await until(lambda: flood.states(ids), holds=lambda found: found == Counter({PaymentState.REQUIRES_ACTION: 3}))
    assert await flood.manual_reasons(ids) == {""}
    assert {flood.stripe.made[payment_id] for payment_id in ids} == {1}


async def settled_asks(flood: Flood) -> int:
    return flood.stripe.asked
