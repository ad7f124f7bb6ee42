"""The main job: one typed call becomes a live, exact total."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from giving.aggregate.v1.totals_pb2 import CurrencyTotals
from giving.payment.v1.ledger_service_pb2 import VerifyLedgerRequest
from google.protobuf import json_format

from tests.support.books import owed, reading
from tests.support.giving import Cause, gift, reversal, shares_of, totals_of
from tests.support.mesh import Mesh, fresh_key
from tests.support.waiting import until


async def by_currency(mesh: Mesh, campaign_id: str) -> dict[str, CurrencyTotals]:
    return shares_of(await totals_of(mesh, campaign_id))


@pytest.mark.requirement("TOT-1", "INT-3")
async def test_gifts_and_reversals_become_exact_totals_per_currency(mesh: Mesh, cause: Cause) -> None:
    donor = "0190b4a2-0000-7000-8000-00000000d0a1"
    first = gift(cause.campaign_id, 250, donor_id=donor)
    for request in (first, first, gift(cause.campaign_id, 100, donor_id=donor), gift(cause.campaign_id, 700, "EUR")):
        await mesh.donations.RecordDonation(request)
    await mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, first.payment_ref, 50))

    totals = await until(
        lambda: by_currency(mesh, cause.campaign_id),
        holds=lambda found: (
            bool(found) and (found["USD"].refunded, found["EUR"].gross, found["USD"].gross) == (50, 700, 350)
        ),
    )

    assert totals["USD"] == CurrencyTotals(currency="USD", gross=350, refunded=50, net=300, donations=2, donors=1)
    assert totals["EUR"] == CurrencyTotals(currency="EUR", gross=700, net=700, donations=1)


async def rest_totals(mesh: Mesh, campaign_id: str) -> dict[str, CurrencyTotals]:
    async with mesh.rest.get(f"/v1/campaigns/{campaign_id}/totals") as response:
        shares = (await response.json())["totals"]["currencies"]
    return {share["currency"]: json_format.ParseDict(share, CurrencyTotals()) for share in shares}


async def sql_sums(mesh: Mesh, campaign_id: str) -> dict[str, tuple[int, int, int]]:
    """Gross, refunded and number per currency, from the donations themselves."""
    async with reading(mesh.schemas, "donation") as connection:
        rows = await connection.fetch(
            "SELECT currency, sum(gross)::bigint, sum(refunded)::bigint, count(*) FROM donation "
            "WHERE campaign_id = $1 GROUP BY currency",
            campaign_id,
        )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


@pytest.mark.requirement("TOT-1", "LED-2")
async def test_rpc_rest_sql_and_ledger_agree_after_a_random_day(mesh: Mesh, cause: Cause) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    draw = random.Random(seed)
    gifts = [gift(cause.campaign_id, draw.randint(1, 5000), draw.choice(["USD", "EUR"])) for _ in range(40)]
    await asyncio.gather(*(mesh.donations.RecordDonation(request) for request in draw.choices(gifts, k=20) + gifts))
    for request in draw.sample(gifts, 8):
        back = draw.randint(1, request.amount.minor_units)
        await mesh.donations.ReverseRecordedDonation(
            reversal(cause.charity_id, request.payment_ref, back, request.amount.currency)
        )
    sums = await sql_sums(mesh, cause.campaign_id)

    def agree(totals: dict[str, CurrencyTotals]) -> bool:
        return {key: (share.gross, share.refunded, share.donations) for key, share in totals.items()} == sums

    await until(lambda: by_currency(mesh, cause.campaign_id), holds=agree)
    await until(lambda: rest_totals(mesh, cause.campaign_id), holds=agree)
    net = {currency: gross - refunded for currency, (gross, refunded, _) in sums.items()}
    await until(lambda: owed(mesh.ledger, cause.campaign_id), holds=lambda balances: balances == net)
    assert not (await mesh.ledger.VerifyLedger(VerifyLedgerRequest())).violations


@pytest.mark.requirement("TOT-8")
async def test_a_reader_of_the_live_stream_sees_a_gift_that_was_recorded_over_rest(mesh: Mesh, cause: Cause) -> None:
    await until(lambda: by_currency(mesh, cause.campaign_id), holds=lambda found: len(found) == 2)
    async with mesh.rest.get(f"/v1/campaigns/{cause.campaign_id}/totals:watch") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        body = {"campaign_id": cause.campaign_id, "amount": {"minor_units": "4200", "currency": "USD"}}
        key = {"Idempotency-Key": fresh_key("order")}
        async with mesh.rest.post("/v1/donations:record", json=body, headers=key) as answer:
            assert answer.status == 200
        seen = [line.decode() async for line in _until_line(stream.content, '"gross":"4200"')]

    assert any(line.startswith("id: ") for line in seen)


async def _until_line(lines: AsyncIterator[bytes], wanted: str) -> AsyncIterator[bytes]:
    async for line in lines:
        yield line
        if wanted in line.decode():
            return
