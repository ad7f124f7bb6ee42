"""How fast lost answers drain (REC-1): payments whose calls to the provider all timed out, until each is proven.

    python benchmarks/draining.py [--payments 10000] [--losses 2]

Starts a database of its own. The provider is a pretend one that makes every intent and loses its answers, so that only our
side is measured. Prints payments proven per second, beside the plain recording of as many in the same run.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import uvloop

from cli.servers.postgres import postgres
from mesh.postgres import open_database
from payment_svc.domain.payments import PaymentState
from tests.support.draining import Flood
from tests.support.folders import reachable_folder
from tests.support.schemas import make_database
from tests.support.waiting import until

# The distances at which the service asks again, each reached by turning its clock.
DRAIN_S_MAX = 1800
DISTANCES_S = (31, 90, 500, 3100, 18_100, 64_900)


async def run(payments: int, losses: int) -> None:
    with reachable_folder() as folder:
        async with postgres(folder) as server:
            schemas = await make_database(server.dsn, "payment_svc")
            async with open_database(schemas.dsn("payment"), schema="payment", pool_max=16, application="bench") as database:
                flood = Flood(database, losses=losses)
                began = time.perf_counter()
                ids = await flood.record(payments)
                recorded_s = time.perf_counter() - began
                drained_s = await drain(flood, losses, wanted=Counter({PaymentState.REQUIRES_ACTION: payments}), ids=ids)
    if {flood.stripe.made[payment_id] for payment_id in ids} != {1}:
        raise SystemExit("a second intent was made")
    print(f"recorded   {payments:>8} in {recorded_s:7.1f} s: {payments / recorded_s:8.0f}/s")
    print(f"proven     {payments:>8} in {drained_s:7.1f} s: {payments / drained_s:8.0f}/s, {losses + 1} calls each")
    print(f"ratio      {recorded_s / drained_s:.3f}")


async def calls(flood: Flood) -> int:
    return flood.stripe.asked


async def drain(flood: Flood, losses: int, *, wanted: Counter[int], ids: set) -> float:
    began = time.perf_counter()
    async with flood.asking():
        for round_number, distance_s in enumerate(DISTANCES_S[: losses + 1], start=1):
            asked = round_number * len(ids)
            await until(lambda: calls(flood), holds=lambda found, asked=asked: found >= asked, bound_s=DRAIN_S_MAX)
            flood.wait(distance_s)
        await until(lambda: flood.states(ids), holds=lambda found: found == wanted, bound_s=DRAIN_S_MAX)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payments", type=int, default=10_000)
    parser.add_argument("--losses", type=int, default=2)
    given = parser.parse_args()
    uvloop.run(run(given.payments, given.losses))


if __name__ == "__main__":
    main()
