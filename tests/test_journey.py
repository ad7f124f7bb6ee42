"""The main job: one typed call becomes a live, exact total."""

from __future__ import annotations

import pytest
from giving.aggregate.v1 import aggregate_service_pb2 as aggregate
from giving.aggregate.v1.totals_pb2 import CurrencyTotals

from tests.support.giving import Cause, gift, reversal
from tests.support.mesh import Mesh
from tests.support.waiting import until


async def totals_of(mesh: Mesh, campaign_id: str) -> dict[str, CurrencyTotals]:
    response = await mesh.aggregates.GetTotals(aggregate.GetTotalsRequest(campaign_id=campaign_id))
    return {share.currency: share for share in response.totals.currencies}


@pytest.mark.requirement("TOT-1", "INT-3")
async def test_gifts_and_reversals_become_exact_totals_per_currency(mesh: Mesh, cause: Cause) -> None:
    donor = "0190b4a2-0000-7000-8000-00000000d0a1"
    first = gift(cause.campaign_id, 250, donor_id=donor)
    for request in (first, first, gift(cause.campaign_id, 100, donor_id=donor), gift(cause.campaign_id, 700, "EUR")):
        await mesh.donations.RecordDonation(request)
    await mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, first.payment_ref, 50))

    totals = await until(
        lambda: totals_of(mesh, cause.campaign_id),
        holds=lambda found: found["USD"].refunded == 50 and found["EUR"].gross == 700 and found["USD"].gross == 350,
    )

    assert totals["USD"] == CurrencyTotals(currency="USD", gross=350, refunded=50, net=300, donations=2, donors=1)
    assert totals["EUR"] == CurrencyTotals(currency="EUR", gross=700, net=700, donations=1)
