"""What the demonstration reads of the ledger."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from giving.common.v1.money_pb2 import Money
from giving.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc

from cli.books import Line, Part, _readers
from cli.places import Places
from mesh.rpc.server import serve
from tests.support.pretend import settings

HELD = {"provider_clearing": 100, "provider_balance": 870, "fees": 30, "campaign_payable": -1_000, "bank": 5}


class Ledger(ledger_service_pb2_grpc.LedgerServiceServicer):
    """Accounts of one campaign, part of whose money has settled."""

    async def GetBalance(  # noqa: N802 - the contract's
        self, request: ledger_service_pb2.GetBalanceRequest, context: Any
    ) -> ledger_service_pb2.GetBalanceResponse:
        held = HELD.get(request.account, 0)
        return ledger_service_pb2.GetBalanceResponse(balances=[Money(minor_units=held, currency="USD")] if held else [])


@pytest.mark.requirement("LED-2")
@pytest.mark.parametrize(("book", "net"), [("ledger, provider", 1_000), ("ledger, owed", 1_000)])
async def test_what_was_paid_is_found_though_its_fees_have_left_it(book: str, net: int) -> None:
    def register(server: grpc.aio.Server) -> None:
        ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(Ledger(), server)

    async with serve(settings(), modules=(ledger_service_pb2,), register=register, probes={}) as server:
        part, read = _readers()[book]
        found = await read(Places(payment=f"127.0.0.1:{server.port}"), "0190b4a2-0000-7000-8000-000000000001")
    assert (part, found) == (Part.PAID if book == "ledger, provider" else Part.ALL, {"USD": Line(net=net)})
