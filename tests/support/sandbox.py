"""A sandbox of Stripe as a process of its own: its keys, its switches, its end by SIGKILL and its return."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import stripe

from cli.part import Part
from cli.ports import PortBook
from cli.running import Running
from tests.support.hooks import Hooks, webhook_endpoint

ROOT = Path(__file__).parents[2]
SECRET = "sk_test_of_the_sandbox_of_tests"
PUBLISHABLE = "pk_test_of_the_sandbox_of_tests"
WEBHOOK_SECRETS = ("whsec_the_old_one", "whsec_the_new_one")


@dataclass(frozen=True)
class Sandbox:
    """`url`: the base of its API; `hooks`: the endpoint that its webhooks go to; `control`: /sandbox with the secret key."""

    url: str
    hooks: Hooks
    control: aiohttp.ClientSession
    process: Running
    secret: str = SECRET
    publishable: str = PUBLISHABLE
    webhook_secrets: tuple[str, ...] = WEBHOOK_SECRETS

    def client(self, *, retries: int = 0) -> stripe.StripeClient:
        """The official SDK; close it with `closing`."""
        return stripe.StripeClient(
            self.secret,
            base_addresses={"api": self.url},
            http_client=stripe.AIOHTTPClient(timeout=10),
            max_network_retries=retries,
        )

    async def ask(self, method: str, path: str, **members: Any) -> Any:
        """An act of the control; what it answers."""
        async with self.control.request(method, f"/sandbox/{path}", json=members or None) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def fault(self, fault: str, *, call: str = "*", times: int | None = 1, seconds: float | None = None) -> None:
        """Something that happens to the next calls."""
        await self.ask("POST", "faults", fault=fault, call=call, times=times, seconds=seconds)

    async def webhook_fault(
        self,
        fault: str,
        *,
        types: Sequence[str] | None = None,
        times: int | None = 1,
        seconds: float | None = None,
        copies: int = 1,
    ) -> None:
        """Something that happens to the next webhooks."""
        kinds = None if types is None else list(types)
        await self.ask("POST", "webhooks/faults", fault=fault, types=kinds, times=times, seconds=seconds, copies=copies)

    async def clear(self) -> None:
        """Takes faults back and sends what was withheld."""
        await self.ask("DELETE", "faults")
        await self.release()

    async def release(self) -> int:
        return int((await self.ask("POST", "webhooks/release"))["released"])

    async def resend(self, event: str) -> None:
        await self.ask("POST", "webhooks/resend", event=event)

    async def advance(self, *, seconds: int) -> int:
        """Moves its clock; what is due then has happened."""
        return int((await self.ask("POST", "clock", advance_s=seconds))["time"])

    async def book(self) -> dict[str, Any]:
        """What really happened, by intent."""
        return {entry["id"]: entry for entry in (await self.ask("GET", "book"))["payment_intents"]}

    async def requests(self, **narrowed: str) -> list[dict[str, Any]]:
        async with self.control.get("/sandbox/requests", params=narrowed) as answer:
            return list((await answer.json())["data"])

    async def dispute(self, *, payment_intent: str, **more: Any) -> dict[str, Any]:
        return dict(await self.ask("POST", "disputes", payment_intent=payment_intent, **more))

    async def payout(self, currency: str, **more: Any) -> dict[str, Any]:
        """All that is available in the currency, unless an amount says less."""
        return dict(await self.ask("POST", "payouts", currency=currency, **more))

    async def settlement(self, **narrowed: str) -> str:
        """The itemised report, of a `payout` or from `start` until before `end`."""
        async with self.control.get("/sandbox/settlement.csv", params=narrowed) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    async def refusal(self, path: str, **members: Any) -> str:
        """What the control says to what it does not do."""
        async with self.control.post(f"/sandbox/{path}", json=members) as answer:
            assert answer.status == 400, await answer.text()
            return str((await answer.json())["error"]["message"])

    async def kill(self) -> None:
        """SIGKILL."""
        await self.process.kill()

    async def start(self) -> None:
        await self.process.start()


@asynccontextmanager
async def closing(client: stripe.StripeClient) -> AsyncIterator[stripe.StripeClient]:
    """Leaves no session open behind."""
    try:
        yield client
    finally:
        await client._requestor._client.close_async()


@asynccontextmanager
async def running_sandbox(folder: Path, **environment: str) -> AsyncIterator[Sandbox]:
    """One with its book in the folder and its webhooks at an endpoint of ours; `environment`: more settings."""
    port = PortBook(folder / "ports.json").port("sandbox")
    url = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with webhook_endpoint() as hooks, aiohttp.ClientSession(url, headers=headers) as control:
        process = Running(_part(folder, port, hooks.url, environment))
        await process.start()
        try:
            yield Sandbox(url, hooks, control, process)
        finally:
            await process.stop()


def _part(folder: Path, port: int, hooks: str, more: dict[str, str]) -> Part:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "gen"))),
        "LISTEN_PORT": str(port),
        "SANDBOX_BOOK": str(folder / "stripe.sqlite"),
        "STRIPE_API_KEY": SECRET,
        "STRIPE_PUBLISHABLE_KEY": PUBLISHABLE,
        "WEBHOOK_URL": hooks,
        "WEBHOOK_SECRETS": ",".join(WEBHOOK_SECRETS),
        "GRACE_S": "1",
    }
    command = (sys.executable, "-m", "sandbox")
    return Part(
        name="sandbox",
        command=command,
        probe="http",
        address=f"127.0.0.1:{port}",
        environment=environment | more,
        folder=folder,
    )
