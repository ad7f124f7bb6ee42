"""CreateDonation: recorded first, then made ready, and one donation whatever happens in between."""

from __future__ import annotations

import pytest
from giving.donation.v1.donation_pb2 import Donation

from tests.donation.conftest import Desk, promise
from tests.support.giving import Cause


@pytest.mark.requirement("INT-2")
async def test_a_promise_is_recorded_made_ready_and_counts_when_the_money_came(desk: Desk, appeal: Cause) -> None:
    answer = await desk.give(promise(appeal.campaign_id))

    assert answer.donation.state == Donation.STATE_AWAITING_PAYMENT
    assert answer.donation.gross.minor_units == 0
    assert answer.client_secret.endswith("_secret")

    await desk.tell(desk.payments.succeed(answer.donation.donation_id))
    settled = await desk.until_state(answer.donation.donation_id, Donation.STATE_SUCCEEDED)
    assert (settled.gross.minor_units, settled.payment_id) == (500, answer.donation.payment_id)
