"""The payment service as a process of its own: it dies at each step of settling, and reads files larger than it keeps."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1.payment_operations_service_pb2_grpc import PaymentOperationsServiceStub

from cli.part import Part
from cli.running import Running
from cli.servers.nats import Nats
from cli.servers.postgres import Postgres
from mesh.ids import new_id, new_tenant_id
from tests.support.mesh import COMMON, free_ports
from tests.support.sandbox import Sandbox
from tests.support.schemas import Schemas, make_database
from tests.support.settling import parts_of
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
HEADER = "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id\n"
FILE = HEADER + "".join(f"txn_{n},2026-01-0{n} 12:00:00,usd,10.00,0.50,9.50,charge,ch_{n}\n" for n in range(1, 4))

# A payment that was charged as the file says.
PAID = """
WITH paid AS (
  INSERT INTO payment (id, charity_id, campaign_id, donation_id, request_digest, state, currency, amount, captured,
    manual_capture, provider_id, canceled, version, actor, correlation_id, create_time, update_time)
  VALUES ($1, $2, $1, $1, 1, 3, 'USD', 1000, 1000, false, 'pi_' || $3::text, false, 1, 'test', '', now(), now()))
INSERT INTO attempt (id, charity_id, payment_id, kind, outcome, object_id, captured, create_time)
VALUES ($4, $2, $1, 2, 2, 'ch_' || $3::text, 1000, now())
"""


@dataclass(frozen=True)
class Service:
    """A payment service that may die. `rows`: the administrator's connection to its books."""

    process: Running
    rows: asyncpg.Connection

    async def restart(self, *, crash_points: str = "", **more: str) -> None:
        environment = {**self.process.part.environment, "CRASH_POINTS": crash_points, **more}
        self.process.part = replace(self.process.part, environment=environment)
        await self.process.start()

    async def knows_the_payments(self) -> None:
        """Those of the file: what a file says about nobody is not posted."""
        charity = new_tenant_id()
        for number in range(1, 4):
            await self.rows.execute(PAID, new_id(tenant_id=charity), charity, str(number), new_id(tenant_id=charity))

    async def died(self) -> bool:
        return await self.process.ended() == -signal.SIGKILL

    async def upload(self, text: str | bytes = FILE, **header: Any) -> messages.UploadSettlementResponse:
        async with grpc.aio.insecure_channel(self.process.part.address) as channel:
            return await PaymentOperationsServiceStub(channel).UploadSettlement(parts_of(text, piece=1 << 19, **header))

    def peak_bytes(self) -> int:
        """The most memory that it ever held."""
        (line,) = [
            line for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")
        ]
        return int(line.split()[1]) * 1024

    async def counted(self) -> tuple[int, int, int, int]:
        """Files, movements, those that are posted, and the entries of these."""
        counts = [
            await self.rows.fetchval(f"SELECT count(*) FROM {what}")
            for what in (
                "settlement_file",
                "balance_transaction",
                "balance_transaction WHERE posted",
                "entry WHERE account = 'provider_balance'",
            )
        ]
        return counts[0], counts[1], counts[2], counts[3]

    async def comes_to(self, *counts: int) -> None:
        await until(self.counted, holds=lambda found: found == counts)


@pytest.fixture
async def service(postgres_server: Postgres, nats_server: Nats, sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Service]:
    schemas = await make_database(postgres_server.dsn, "payment_svc")
    async with _administrator(schemas) as rows:
        process = Running(_part(schemas, nats_url=nats_server.url, sandbox=sandbox, folder=tmp_path))
        yield Service(process, rows)
        await process.kill()


@asynccontextmanager
async def _administrator(schemas: Schemas) -> AsyncIterator[asyncpg.Connection]:
    rows = await asyncpg.connect(schemas.admin_dsn, server_settings={"search_path": "payment"})
    yield rows
    await rows.close()


def _part(schemas: Schemas, *, nats_url: str, sandbox: Sandbox, folder: Path) -> Part:
    (port,) = free_ports(1)
    environment = {
        **{name.upper(): str(value) for name, value in COMMON.items()},
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "gen"))),
        "LISTEN_PORT": str(port),
        "DATABASE_URL": schemas.dsn("payment"),
        "NATS_URL": nats_url,
        "STRIPE_API_KEY": sandbox.secret,
        "STRIPE_API_BASE": sandbox.url,
        "STRIPE_WEBHOOK_SECRETS": ",".join(sandbox.webhook_secrets),
        "STRIPE_POLL_S": "0",
        "SETTLEMENT_POLL_S": "0",
    }
    command = (sys.executable, "-m", "payment_svc")
    address = f"127.0.0.1:{port}"
    return Part(name="payment", command=command, probe="grpc", address=address, environment=environment, folder=folder)


@pytest.mark.requirement("REC-2", "LED-3")
async def test_a_file_whose_taking_is_cut_off_counts_as_a_whole_or_not_at_all_and_once(service: Service) -> None:
    for point in ("settlement.staged", "settlement.file_written"):
        await service.restart(crash_points=point)
        with pytest.raises(grpc.aio.AioRpcError):
            await service.upload()
        assert await service.died()
        assert await service.counted() == (0, 0, 0, 0)
    await service.knows_the_payments()
    await service.restart(crash_points="settlement.posted")
    answer = await service.upload()
    assert (answer.rows, answer.replayed) == (3, False)
    assert await service.died()
    # It was taken, and none of its postings is there in part; whoever comes next makes them.
    assert await service.counted() == (1, 3, 0, 0)
    await service.restart()
    await service.comes_to(1, 3, 3, 3)
    assert (await service.upload()).replayed
    assert await service.counted() == (1, 3, 3, 3)


@pytest.mark.requirement("REC-3", "LED-3")
async def test_a_walk_that_is_cut_off_is_walked_again_and_counts_once(service: Service, sandbox: Sandbox) -> None:
    await sandbox.ask("POST", "fees", currency="usd", amount=700)
    await service.restart(crash_points="settlement.taken", SETTLEMENT_POLL_S="1")
    assert await service.died()
    assert await service.counted() == (0, 0, 0, 0)
    await service.restart(crash_points="settlement.posted")
    assert await service.died()
    _, taken, *rest = await service.counted()
    assert (taken > 0, rest) == (True, [0, 0])
    await service.restart()
    await service.comes_to(0, taken, taken, taken)


@pytest.mark.requirement("REC-2", "SEC-6")
async def test_a_file_is_read_as_it_arrives_and_never_held(service: Service) -> None:
    """20 MB; what a process of Python needs for its first files is not counted."""
    wide = HEADER.replace("\n", ",description\n") + "".join(
        f"txn_{n:06},2026-01-01 12:00:00,usd,10.00,0.50,9.50,charge,ch_{n},{'x' * 2_000}\n" for n in range(10_000)
    )
    await service.restart()
    await service.upload(wide[: wide.index("\n", len(wide) // 20) + 1], dry_run=True)
    before = service.peak_bytes()
    answer = await service.upload(wide, dry_run=True)
    assert (answer.rows, len(wide) > 20_000_000) == (10_000, True)
    assert service.peak_bytes() - before < len(wide) // 2
    assert await service.counted() == (0, 0, 0, 0)
