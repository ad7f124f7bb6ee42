"""The whole life of a gift on a running mesh (towards B3): promised by REST, confirmed, announced, settled, counted.

    python benchmarks/paying.py [--rest http://127.0.0.1:8080] [--data .mesh] [--gifts 400] [--in-flight 16]

Prints gifts per second until the last one is in the campaign's total, and percentiles of the promise's answer. The reference
of the same run is the sandbox alone: an intent made and confirmed, as often and as many at once, by the same client.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.stripe import Stripe, stripe_of

AMOUNT = 500
BOUND_S = 120


class Bench:
    """One client against a mesh and its sandbox."""

    def __init__(self, session: aiohttp.ClientSession, *, rest: str, token: str, stripe: Stripe) -> None:
        self._session = session
        self._rest = rest
        self._operator = {"Authorization": f"Bearer {token}"}
        self._stripe = stripe
        self._cookie = {"Cookie": f"giving_client={uuid.uuid4()}"}
        self.waits_s: list[float] = []

    async def campaign(self) -> str:
        charity = await self._post(
            "charities", display_name="Bench", mode="MODE_TEST", default_currency="USD", time_zone="Europe/Vienna"
        )
        rules = [{"currency": "USD", "minor_units_min": "100", "minor_units_max": "100000"}]
        path = f"charities/{charity['charity']['charity_id']}/campaigns"
        campaign = await self._post(path, display_name="Paying", currency_rules=rules)
        campaign_id = str(campaign["campaign"]["campaign_id"])
        await self._post(f"campaigns/{campaign_id}:activate")
        return campaign_id

    async def give(self, campaign_id: str) -> None:
        body = {"campaign_id": campaign_id, "amount": {"minor_units": str(AMOUNT), "currency": "USD"}}
        headers = self._cookie | {"Idempotency-Key": str(uuid.uuid4())}
        started = time.perf_counter()
        async with self._session.post(f"{self._rest}/v1/donations", json=body, headers=headers) as answer:
            promised = await answer.json()
        self.waits_s.append(time.perf_counter() - started)
        await self._confirm(promised["client_secret"])

    async def pay_alone(self) -> None:
        """What the sandbox has to do for a gift, without us."""
        form = {"amount": str(AMOUNT), "currency": "usd", "automatic_payment_methods[enabled]": "true"}
        headers = {"Authorization": f"Bearer {self._stripe.api_key}"}
        async with self._session.post(f"{self._stripe.sandbox_url}/v1/payment_intents", data=form, headers=headers) as made:
            intent = await made.json()
        await self._confirm(intent["client_secret"])

    async def counted(self, campaign_id: str, gross: int) -> None:
        """Returns when the campaign's total shows so much."""
        async with asyncio.timeout(BOUND_S):
            while await self._gross(campaign_id) < gross:  # noqa: ASYNC110 - a total is asked for, nobody announces it here
                await asyncio.sleep(0.05)

    async def _gross(self, campaign_id: str) -> int:
        async with self._session.get(f"{self._rest}/v1/campaigns/{campaign_id}/totals") as answer:
            totals = (await answer.json()).get("totals", {})
        return sum(int(share["gross"]) for share in totals.get("currencies", []))

    async def _confirm(self, client_secret: str) -> None:
        intent = client_secret.partition("_secret_")[0]
        form = {
            "key": self._stripe.publishable_key,
            "client_secret": client_secret,
            "payment_method": "pm_card_visa",
            "return_url": self._rest,
        }
        url = f"{self._stripe.sandbox_url}/v1/payment_intents/{intent}/confirm"
        async with self._session.post(url, data=form) as answer:
            answer.raise_for_status()
            await answer.read()

    async def _post(self, path: str, **body: Any) -> dict[str, Any]:
        headers = self._operator | {"Idempotency-Key": str(uuid.uuid4())}
        async with self._session.post(f"{self._rest}/v1/{path}", json=body, headers=headers) as answer:
            answer.raise_for_status()
            return dict(await answer.json())


async def timed(work: Callable[[], Awaitable[None]], *, times: int, in_flight: int) -> None:
    left = iter(range(times))

    async def loop() -> None:
        for _ in left:
            await work()

    await asyncio.gather(*(loop() for _ in range(in_flight)))


async def run(options: argparse.Namespace) -> None:
    folder = DataFolder(options.data)
    stripe = stripe_of(MeshSettings(), folder)
    async with aiohttp.ClientSession() as session:
        bench = Bench(session, rest=options.rest, token=folder.secret("development_token"), stripe=stripe)
        campaign_id = await bench.campaign()
        started = time.perf_counter()
        await timed(bench.pay_alone, times=options.gifts, in_flight=options.in_flight)
        alone = options.gifts / (time.perf_counter() - started)
        started = time.perf_counter()
        await timed(lambda: bench.give(campaign_id), times=options.gifts, in_flight=options.in_flight)
        await bench.counted(campaign_id, options.gifts * AMOUNT)
        whole = options.gifts / (time.perf_counter() - started)
    cuts = statistics.quantiles(bench.waits_s, n=100)
    print(f"whole life {whole:,.0f}/s, the sandbox alone {alone:,.0f}/s, ratio {whole / alone:.2f}")
    print(f"answer of a promise: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, {options.in_flight} in flight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rest", default="http://127.0.0.1:8080")
    parser.add_argument("--data", type=Path, default=Path(".mesh"))
    parser.add_argument("--gifts", type=int, default=400)
    parser.add_argument("--in-flight", type=int, default=16)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
