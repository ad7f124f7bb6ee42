"""How long an accepted payment takes to be seen on a running mesh (TOT-5): from its webhook to the total that shows it.

    python benchmarks/freshness.py [--rest http://127.0.0.1:8080] [--totals 127.0.0.1:8093] [--data .mesh]
                                   [--rate 200] [--seconds 10]

Promises are made beforehand, then confirmed at the sandbox at a steady rate, whatever the mesh does with them. The clock of
a gift starts when its webhook was stored, as the payment service's database says, and stops when a follower of totals, as a
gateway is one, is shown a total of as many gifts. Prints percentiles, the same from the confirmation's answer on, which is
before the sandbox sends its webhook, and by how much confirmations lagged behind the rate: a machine that cannot send so
many measures less than it says.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import grpc
import uvloop
from giving.aggregate.v1.aggregate_service_pb2 import FollowTotalsRequest
from giving.aggregate.v1.aggregate_service_pb2_grpc import AggregateServiceStub
from paying import AMOUNT, BOUND_S, Bench, timed

from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.places import of_run
from cli.status import running
from cli.stripe import stripe_of

PROMISING = 16
_ACCEPTED = """
SELECT e.create_time FROM payment.provider_event e JOIN payment.payment p ON p.provider_id = e.intent_id
WHERE p.campaign_id = $1 AND e.type = 'payment_intent.succeeded'
"""


class Promised(Bench):
    """Gifts whose promises are made before they are paid."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.secrets: list[str] = []
        self.answered: list[float] = []

    async def promise(self, campaign_id: str) -> None:
        body = {"campaign_id": campaign_id, "amount": {"minor_units": str(AMOUNT), "currency": "USD"}}
        headers = self._cookie | {"Idempotency-Key": str(uuid.uuid4())}
        async with self._session.post(f"{self._rest}/v1/donations", json=body, headers=headers) as answer:
            self.secrets.append((await answer.json())["client_secret"])

    async def confirm(self, secret: str) -> None:
        await self._confirm(secret)
        self.answered.append(time.time())


async def follow(totals: str, campaign_id: str, shown: dict[int, float]) -> None:
    """Notes when each number of donations was shown for the first time."""
    async with grpc.aio.insecure_channel(totals) as channel:
        async for answer in AggregateServiceStub(channel).FollowTotals(FollowTotalsRequest()):
            now = time.time()
            for one in answer.totals:
                if one.campaign_id == campaign_id:
                    shown.setdefault(sum(share.donations for share in one.currencies), now)


async def pay(bench: Promised, *, rate: float) -> float:
    """Confirms everything that was promised at a rate; by how many seconds it was late at most."""
    started, late, paying = time.time(), 0.0, []
    for number, secret in enumerate(bench.secrets):
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.time()))
        late = max(late, time.time() - due)
        paying.append(asyncio.create_task(bench.confirm(secret)))
    await asyncio.gather(*paying)
    return late


async def run(options: argparse.Namespace) -> None:
    folder, shown = DataFolder(options.data), dict[int, float]()
    gifts = int(options.rate * options.seconds)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        stripe = stripe_of(MeshSettings(), folder)
        bench = Promised(session, rest=options.rest, token=folder.secret("development_token"), stripe=stripe)
        campaign_id = await bench.campaign()
        await timed(lambda: bench.promise(campaign_id), times=gifts, in_flight=PROMISING)
        following = asyncio.create_task(follow(options.totals, campaign_id, shown))
        late = await pay(bench, rate=options.rate)
        async with asyncio.timeout(BOUND_S):
            while gifts not in shown:  # noqa: ASYNC110 - whoever follows tells nobody
                await asyncio.sleep(0.05)
        following.cancel()
    print(f"{gifts} payments at {options.rate:g}/s, at most {late * 1000:.0f} ms late")
    for name, moments in (("accepted", await accepted(folder, campaign_id)), ("confirmed", bench.answered)):
        ways = _ways(sorted(moments), shown)
        cuts = statistics.quantiles(ways, n=100)
        print(f"{name} → shown: p50 {cuts[49]:.0f} ms · p99 {cuts[98]:.0f} ms · worst {max(ways):.0f} ms")


async def accepted(folder: DataFolder, campaign_id: str) -> list[float]:
    """When the webhook of each payment was stored."""
    places = of_run(running(folder), folder, MeshSettings())
    connection = await asyncpg.connect(places.databases["payment"])
    try:
        rows = await connection.fetch(_ACCEPTED, campaign_id)
    finally:
        await connection.close()
    return [row["create_time"].timestamp() for row in rows]


def _ways(answered: list[float], shown: dict[int, float]) -> list[float]:
    """Milliseconds from the nth answer to the first total of n gifts or more."""
    counts = sorted(shown)
    place, ways = 0, []
    for number, moment in enumerate(answered, start=1):
        while counts[place] < number:
            place += 1
        ways.append(max(0.0, shown[counts[place]] - moment) * 1000)
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rest", default="http://127.0.0.1:8080")
    parser.add_argument("--totals", default="127.0.0.1:8093")
    parser.add_argument("--data", type=Path, default=Path(".mesh"))
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
