"""The running service: events in, RPC out."""

from __future__ import annotations

import datetime
from typing import Any

import grpc
import pytest
from giving.payment.v1 import ledger_service_pb2 as messages

from mesh.errors import from_rpc_error
from tests.support.books import owed
from tests.support.giving import Cause, gift, reversal
from tests.support.mesh import Mesh
from tests.support.waiting import until


async def balances(mesh: Mesh, account: str, **more: Any) -> dict[str, int]:
    response = await mesh.ledger.GetBalance(messages.GetBalanceRequest(account=account, **more))
    return {balance.currency: balance.minor_units for balance in response.balances}


@pytest.mark.requirement("INT-3", "LED-2")
async def test_recorded_gifts_and_reversals_reach_the_ledger(mesh: Mesh, cause: Cause) -> None:
    first = gift(cause.campaign_id, 250)
    donation = (await mesh.donations.RecordDonation(first)).donation
    for request in (first, gift(cause.campaign_id, 700, "EUR")):
        await mesh.donations.RecordDonation(request)
    await mesh.donations.ReverseRecordedDonation(reversal(cause.charity_id, first.payment_ref, 50))

    found = await until(lambda: owed(mesh.ledger, cause.campaign_id), holds=lambda found: found == {"USD": 200, "EUR": 700})

    assert found == await balances(mesh, "external_clearing", campaign_id=cause.campaign_id)
    assert await balances(mesh, "refunds", campaign_id=cause.campaign_id) == {"USD": 50}
    listed = await mesh.ledger.ListEntries(messages.ListEntriesRequest(reference_id=donation.donation_id))
    assert {entry.account for entry in listed.entries} == {"campaign_payable", "external_clearing", "refunds"}
    assert sum(entry.amount.minor_units for entry in listed.entries) == 0
    verified = await mesh.ledger.VerifyLedger(messages.VerifyLedgerRequest())
    assert not verified.violations
    assert verified.entries >= 2 * verified.postings > 0


async def test_an_unknown_account_is_answered_with_its_reason(mesh: Mesh) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await balances(mesh, "petty_cash")
    refusal = from_rpc_error(caught.value, dependency="payment")
    assert (refusal.reason_name, refusal.metadata) == ("ACCOUNT_NOT_FOUND", {"account": "petty_cash"})


async def test_a_time_that_no_calendar_has_is_refused(mesh: Mesh) -> None:
    request = messages.GetBalanceRequest(account="bank")
    request.as_of.seconds = 2**50
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.ledger.GetBalance(request)
    assert from_rpc_error(caught.value, dependency="payment").fields[0].field == "as_of"


async def test_a_balance_as_of_a_time_travels(mesh: Mesh) -> None:
    request = messages.GetBalanceRequest(account="campaign_payable")
    request.as_of.FromDatetime(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    assert not (await mesh.ledger.GetBalance(request)).balances


async def test_unknown_references_have_no_entries(mesh: Mesh, cause: Cause) -> None:
    listed = await mesh.ledger.ListEntries(messages.ListEntriesRequest(reference_id=cause.charity_id))
    assert not listed.entries
