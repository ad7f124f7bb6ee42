from __future__ import annotations

import grpc
import pytest
from giving.donation.v1 import donation_service_pb2, donation_service_pb2_grpc
from giving_client import AsyncMeshClient

from cli import books, gifts
from cli.books import Line, Unreadable
from cli.gifts import Courier, Errand, Gift
from cli.refusal import CommandRefused

ERRAND = Errand(charity_id="c", campaign_id="k")


def gift(reference: str, *, units: int, back: int = 0, copies: int = 1, donor: str = "d", currency: str = "USD") -> Gift:
    return Gift(reference, donor, currency, units, back, copies)


def test_the_clients_sum_counts_a_gift_once_however_often_it_is_sent():
    sent = [
        gift("1", units=500, copies=2),
        gift("2", units=300, back=100),
        gift("3", units=7, donor="e", currency="EUR"),
    ]
    assert gifts.book(sent) == {
        "USD": Line(net=700, gross=800, refunded=100, donations=2, donors=1),
        "EUR": Line(net=7, gross=7, refunded=0, donations=1, donors=1),
    }


def test_a_plan_has_two_currencies_duplicates_and_reversals_and_can_be_repeated():
    sent = gifts.plan(seed="x", count=2000)
    assert sent == gifts.plan(seed="x", count=2000)
    assert {one.currency for one in sent} == {"EUR", "USD"}
    assert any(one.copies > 1 for one in sent)
    assert any(one.reversed_units for one in sent)
    assert len({one.payment_ref for one in sent}) == 2000


def test_books_agree_when_they_are_equal_in_what_both_hold():
    expected = {"USD": Line(net=700, gross=800, refunded=100, donations=2, donors=1)}
    assert books.agrees({"USD": Line(net=700)}, expected)
    assert not books.agrees({"USD": Line(net=701)}, expected)
    assert not books.agrees({"USD": Line(net=700, donations=3)}, expected)
    assert not books.agrees({}, expected)
    assert not books.agrees(Unreadable("gone"), expected)


PASSING = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED]


class Service(donation_service_pb2_grpc.DonationServiceServicer):
    """Answers with the given codes first, then takes everything."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.codes = list(codes)
        self.references: list[str] = []

    async def RecordDonation(self, request, context):  # noqa: N802 - named by the contract
        self.references.append(request.payment_ref)
        if self.codes:
            await context.abort(self.codes.pop(0), "not now")
        return donation_service_pb2.RecordDonationResponse()


async def deliver(service: Service) -> None:
    server = grpc.aio.server()
    donation_service_pb2_grpc.add_DonationServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with AsyncMeshClient(f"127.0.0.1:{port}", retries=gifts.PATIENCE) as client:
            await Courier(client, ERRAND).deliver(gift("ref-1", units=500))
    finally:
        await server.stop(None)


@pytest.mark.parametrize("code", PASSING)
async def test_a_gift_without_an_answer_is_sent_again_with_the_same_reference(code: grpc.StatusCode):
    service = Service(code, code)
    await deliver(service)
    assert service.references == ["ref-1"] * 3


async def test_a_refused_gift_is_not_sent_again():
    service = Service(grpc.StatusCode.INVALID_ARGUMENT)
    with pytest.raises(CommandRefused, match="INVALID_ARGUMENT: not now"):
        await deliver(service)
    assert service.references == ["ref-1"]
