"""Money that goes back and comes back, through every service and Stripe's sandbox: all books agree at each step."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest
from giving.donation.v1.donation_service_pb2 import RefundDonationRequest
from giving.payment.v1.ledger_service_pb2 import VerifyLedgerRequest
from giving.payment.v1.payment_service_pb2 import CapturePaymentRequest

from tests.support.books import owed, reading
from tests.support.giving import Cause
from tests.support.mesh import Mesh, fresh_key
from tests.support.refusals import refusal_of
from tests.support.till import confirm
from tests.support.waiting import until

# gross, refunded, disputed of one donation
Figures = tuple[int, int, int]
SUMS = "SELECT sum(gross)::bigint, sum(refunded)::bigint, sum(disputed)::bigint FROM donation WHERE campaign_id = $1"


@dataclass
class Books:
    """What every book must say of a campaign: what each of its donations has come to."""

    mesh: Mesh
    cause: Cause
    expected: dict[str, Figures] = field(default_factory=dict)

    async def paid(self, card: str = "pm_card_visa", minor_units: int = 2500, **more: Any) -> tuple[str, str]:
        """The ids of a donation and of its intent, once the donor has confirmed."""
        body = {"campaign_id": self.cause.campaign_id, "amount": {"minor_units": str(minor_units), "currency": "USD"}} | more
        answer = await self.post("donations", body, key=str(uuid.uuid4()))
        await confirm(self.mesh.sandbox, answer["client_secret"], card)
        return answer["donation"]["donation_id"], answer["client_secret"].partition("_secret_")[0]

    async def post(self, path: str, body: dict[str, Any], *, key: str = "") -> dict[str, Any]:
        headers = {"Idempotency-Key": key or fresh_key()}
        async with self.mesh.rest.post(f"/v1/{path}", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())

    async def get(self, path: str) -> dict[str, Any]:
        async with self.mesh.rest.get(f"/v1/{path}") as response:
            return dict(await response.json())

    async def refund(self, donation_id: str, minor_units: int, *, key: str = "") -> None:
        body = {"amount": {"minor_units": str(minor_units), "currency": "USD"}, "reason": "asked for it"}
        await self.post(f"donations/{donation_id}:refund", body, key=key)

    async def come(self, donation_id: str, state: str, gross: int = 2500, refunded: int = 0, disputed: int = 0) -> None:
        """Waits until a donation and with it all books say so."""
        self.expected[donation_id] = (gross, refunded, disputed)
        asked = f"donations/{donation_id}"
        donation = await until(lambda: self.donation(asked), holds=lambda found: found[0] == f"STATE_{state}")
        assert donation[1] == (gross, refunded, disputed)
        gross, refunded, disputed = (sum(column) for column in zip(*self.expected.values(), strict=True))
        net = gross - refunded - disputed
        await until(self.totals, holds=lambda found: found == (gross, refunded, disputed, net, len(self.expected)))
        async with reading(self.mesh.schemas, "donation") as connection:
            assert tuple(await connection.fetchrow(SUMS, self.cause.campaign_id)) == (gross, refunded, disputed)
        await until(lambda: owed(self.mesh.ledger, self.cause.campaign_id), holds=lambda sums: sums == {"USD": net})

    async def donation(self, asked: str) -> tuple[str, Figures]:
        answer = await self.get(asked)
        if "donation" not in answer:
            return answer.get("reason", ""), (0, 0, 0)
        donation = answer["donation"]
        gross, refunded, disputed = (int(donation[name]["minor_units"]) for name in ("gross", "refunded", "disputed"))
        return donation["state"], (gross, refunded, disputed)

    async def totals(self) -> tuple[int, ...]:
        answer = await self.get(f"campaigns/{self.cause.campaign_id}/totals")
        shares = answer["totals"]["currencies"] if "totals" in answer else []
        names = ("gross", "refunded", "disputed", "net", "donations")
        return next((tuple(int(share[name]) for name in names) for share in shares if share["currency"] == "USD"), ())


@pytest.fixture
def books(mesh: Mesh, cause: Cause) -> Books:
    return Books(mesh, cause)


@pytest.mark.requirement("PAY-5", "TOT-6")
async def test_a_part_goes_back_from_us_and_the_rest_from_the_dashboard(books: Books) -> None:
    donation_id, intent = await books.paid()
    await books.come(donation_id, "SUCCEEDED")
    key = fresh_key()
    for _ in range(2):
        await books.refund(donation_id, 1000, key=key)
        await books.come(donation_id, "PARTIALLY_REFUNDED", refunded=1000)
    await books.mesh.sandbox.ask("POST", "refunds", payment_intent=intent, amount=1500)
    await books.come(donation_id, "REFUNDED", refunded=2500)
    assert (await books.mesh.sandbox.book())[intent]["refunded"] == 2500


@pytest.mark.requirement("PAY-5", "TOT-6")
async def test_a_refund_that_the_bank_sends_back_counts_again(books: Books) -> None:
    donation_id, _ = await books.paid("pm_card_refundFail")
    await books.come(donation_id, "SUCCEEDED")
    await books.refund(donation_id, 2500)
    await books.come(donation_id, "REFUNDED", refunded=2500)
    await books.mesh.sandbox.advance(seconds=10)
    await books.come(donation_id, "SUCCEEDED")


@pytest.mark.requirement("PAY-6", "TOT-6")
async def test_disputes_are_followed_to_their_verdicts(books: Books) -> None:
    sandbox = books.mesh.sandbox
    disputes = {}
    for _ in range(2):
        donation_id, intent = await books.paid()
        await books.come(donation_id, "SUCCEEDED")
        await books.refund(donation_id, 800)
        await books.come(donation_id, "PARTIALLY_REFUNDED", refunded=800)
        disputes[donation_id] = (await sandbox.dispute(payment_intent=intent, amount=1700))["id"]
        await books.come(donation_id, "DISPUTED", refunded=800, disputed=1700)
    won, lost = disputes

    await sandbox.ask("POST", f"disputes/{disputes[won]}/win")
    await books.come(won, "PARTIALLY_REFUNDED", refunded=800)
    await sandbox.ask("POST", f"disputes/{disputes[lost]}/lose")
    await books.come(lost, "DISPUTE_LOST", refunded=800, disputed=1700)
    request = RefundDonationRequest(request_id=fresh_key(), donation_id=lost)
    refusal = await refusal_of(books.mesh.donations.RefundDonation(request))
    assert (refusal.reason_name, refusal.metadata["remaining_minor_units"]) == ("REVERSAL_EXCEEDS_REMAINING", "0")
    assert not (await books.mesh.ledger.VerifyLedger(VerifyLedgerRequest())).violations


@pytest.mark.requirement("PAY-7", "TOT-6")
async def test_what_is_held_counts_when_a_part_of_it_is_captured(books: Books) -> None:
    donation_id, _ = await books.paid(manual_capture=True)

    async def held() -> dict[str, Any]:
        return dict((await books.get(f"donations/{donation_id}")).get("donation", {}))

    donation = await until(held, holds=lambda found: "hold_end_time" in found)
    assert (donation["state"], donation["gross"]["minor_units"]) == ("STATE_AWAITING_PAYMENT", "0")
    request = CapturePaymentRequest(request_id=fresh_key(), payment_id=donation["payment_id"])
    request.amount.minor_units, request.amount.currency = 1500, "USD"
    await books.mesh.payments.CapturePayment(request)

    await books.come(donation_id, "SUCCEEDED", gross=1500)
