"""The provider's balance beside our books: a till that walks it, what operators ask of it, what must hold in the end."""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
from giving.payment.v1 import ledger_service_pb2, payment_pb2
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub

from payment_svc.settlement import CHECKPOINT
from tests.support.till import Till, confirm, order
from tests.support.waiting import until

P = payment_pb2.Payment
PERIOD = datetime.timedelta(minutes=10)
# On the balance when the intent says so, and available at once.
AT_ONCE = "pm_card_bypassPending"


@dataclass(frozen=True)
class Settling:
    """A till whose payment service walks the sandbox's balance. `rows`: the administrator's connection to its books."""

    till: Till
    operator: Any
    rows: asyncpg.Connection

    async def paid(self, minor_units: int = 10_000, currency: str = "USD", method: str = AT_ONCE, **more: Any) -> P:
        """A payment that its donor made."""
        created = await self.till.create(order(minor_units, currency, **more))
        await confirm(self.till.sandbox, created.client_secret, method)
        return await self.till.reaches(created.payment.payment_id, P.STATE_SUCCEEDED)

    async def walk(self) -> None:
        """The next round of the walk, until everything that it found was looked at."""
        self.till.clock.advance(PERIOD)
        now = self.till.clock.now()
        await until(lambda: self._walked(now))

    async def _walked(self, since: datetime.datetime) -> bool:
        walked = "SELECT update_time >= $2 AND cursor = '' FROM checkpoint WHERE name = $1"
        due = "SELECT NOT EXISTS (SELECT FROM balance_transaction WHERE next_look_time <= $1)"
        return bool(await self.rows.fetchval(walked, CHECKPOINT, since) and await self.rows.fetchval(due, since))

    async def looked(self) -> None:
        """Until everything that is due was looked at."""
        now = self.till.clock.now()
        due = "SELECT NOT EXISTS (SELECT FROM balance_transaction WHERE next_look_time <= $1)"
        await until(lambda: self.rows.fetchval(due, now))

    async def movements(self, payment_id: str) -> list[tuple[str, str]]:
        """Category and class of the movements of a payment."""
        found = await self.rows.fetch(
            "SELECT category, class FROM balance_transaction WHERE payment_id = $1::text::uuid ORDER BY category",
            payment_id,
        )
        return [(row["category"], row["class"]) for row in found]

    async def accounts(self, payment_id: str) -> dict[tuple[str, str], int]:
        """What the accounts hold of a payment, by account and currency; what holds nothing is absent."""
        sums: Counter[tuple[str, str]] = Counter()
        request = ledger_service_pb2.ListEntriesRequest(reference_id=payment_id)
        for entry in (await self.till.ledger.ListEntries(request)).entries:
            sums[entry.account, entry.amount.currency] += entry.amount.minor_units
        return {place: total for place, total in sums.items() if total}

    async def account(self, name: str) -> dict[str, int]:
        """What an account holds, by currency."""
        balances = (await self.till.ledger.GetBalance(ledger_service_pb2.GetBalanceRequest(account=name))).balances
        return {one.currency: one.minor_units for one in balances if one.minor_units}

    async def at_stripe(self) -> dict[str, int]:
        """The balance that Stripe itself shows, by currency."""
        book = await self.till.sandbox.ask("GET", "book")
        return {code.upper(): units for code, units in book["balance"].items() if units}

    async def agree(self) -> None:
        """What must hold in the end, whatever happened."""
        assert await self.account("provider_balance") == await self.at_stripe()
        assert not (await self.till.ledger.VerifyLedger(ledger_service_pb2.VerifyLedgerRequest())).violations
        days = await self.rows.fetch("SELECT DISTINCT day FROM balance_transaction")
        for row in days:
            report = await self.report(row["day"])
            assert report.foots, report
        clearing = """SELECT p.payment_id, e.currency, sum(e.amount) AS amount FROM posting p
            JOIN entry e ON e.day = p.day AND e.posting_id = p.id
            WHERE e.account = 'provider_clearing' AND p.payment_id IS NOT NULL
            GROUP BY p.payment_id, e.currency HAVING sum(e.amount) <> 0"""
        kept = "SELECT payment_id, currency, amount FROM clearing"
        assert {tuple(row) for row in await self.rows.fetch(kept)} == {tuple(row) for row in await self.rows.fetch(clearing)}

    async def report(self, day: datetime.date) -> messages.GetReconciliationReportResponse:
        request = messages.GetReconciliationReportRequest(day=day.isoformat())
        return await self.operator.GetReconciliationReport(request)

    async def items(self, **narrowed: Any) -> list[Any]:
        """What does not match, over all pages."""
        found: list[Any] = []
        token = ""
        while True:
            request = messages.ListReconciliationItemsRequest(page_token=token, page_size=2, **narrowed)
            page = await self.operator.ListReconciliationItems(request)
            found += page.items
            token = page.next_page_token
            if not token:
                return found

    async def upload(self, text: str | bytes, **header: Any) -> messages.UploadSettlementResponse:
        return await self.operator.UploadSettlement(parts_of(text, **header))


def parts_of(text: str | bytes, *, piece: int = 1000, **header: Any) -> list[messages.UploadSettlementRequest]:
    """A file as it is sent; `header`: what it says of itself that is not so."""
    whole = text.encode() if isinstance(text, str) else text
    fields = {"sha256": hashlib.sha256(whole).hexdigest(), "name": "report.csv", "size_bytes": len(whole)}
    pieces = [whole[begin : begin + piece] for begin in range(0, len(whole), piece)]
    first = messages.UploadSettlementRequest(header=messages.UploadSettlementRequest.Header(**fields | header))
    return [first, *(messages.UploadSettlementRequest(chunk=one) for one in pieces)]


def lines_of(answer: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Count and sum by class and currency."""
    return {(getattr(line, "class"), line.sum.currency): (line.count, line.sum.minor_units) for line in answer.lines}


def classes_of(items: Sequence[Any]) -> list[str]:
    return [getattr(item, "class") for item in items]


@asynccontextmanager
async def settling_with(till: Till) -> AsyncIterator[Settling]:
    rows = await asyncpg.connect(till.schemas.admin_dsn, server_settings={"search_path": "payment"})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{till.port}") as channel:
        yield Settling(till, PaymentOperationsServiceStub(channel), rows)
    await rows.close()
