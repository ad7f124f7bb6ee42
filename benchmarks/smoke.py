"""First figures on a running mesh: RecordDonation beside a bare echo (B2), and the way from its answer to the total.

    python benchmarks/smoke.py [--donation 127.0.0.1:8091] [--totals 127.0.0.1:8093] [--calls 4000] [--in-flight 64]

Prints calls per second of both and their ratio, and percentiles of the time from an answer to the moment when the totals'
stream shows it; the value is in Redis by then or a moment later. The echo of the same messages runs in a process of its
own, as the service does.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop
from giving.aggregate.v1 import aggregate_service_pb2 as aggregate
from giving.aggregate.v1.aggregate_service_pb2_grpc import AggregateServiceStub
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import campaign_service_pb2, charity_pb2, charity_service_pb2
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.campaign_pb2 import CurrencyRule
from giving.donation.v1.campaign_service_pb2_grpc import CampaignServiceStub
from giving.donation.v1.charity_service_pb2_grpc import CharityServiceStub
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub

GIFTS_WATCHED = 100
DEADLINE_S = 30


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, answer: messages.RecordDonationResponse) -> None:
        self._answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(
            self._handle,
            request_deserializer=messages.RecordDonationRequest.FromString,
            response_serializer=messages.RecordDonationResponse.SerializeToString,
        )

    async def _handle(self, request: Any, context: Any) -> messages.RecordDonationResponse:
        del request, context
        return self._answer


def _serve_echo(answer: bytes, pipe: Connection) -> None:
    async def run() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Echo(messages.RecordDonationResponse.FromString(answer)),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        pipe.send(port)
        await server.wait_for_termination()

    uvloop.run(run())


async def _rate(call: Callable[[], Awaitable[object]], *, calls: int, in_flight: int) -> float:
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return calls / (time.perf_counter() - started)


def _gift(campaign_id: str) -> messages.RecordDonationRequest:
    amount = Money(minor_units=100, currency="USD")
    return messages.RecordDonationRequest(payment_ref=secrets.token_hex(12), campaign_id=campaign_id, amount=amount)


async def _open_campaign(channel: grpc.aio.Channel) -> str:
    charity = await CharityServiceStub(channel).CreateCharity(
        charity_service_pb2.CreateCharityRequest(
            request_id=secrets.token_hex(8),
            display_name="Benchmark",
            mode=charity_pb2.Charity.MODE_TEST,
            default_currency="USD",
            time_zone="UTC",
        )
    )
    campaigns = CampaignServiceStub(channel)
    draft = await campaigns.CreateCampaign(
        campaign_service_pb2.CreateCampaignRequest(
            request_id=secrets.token_hex(8),
            charity_id=charity.charity.charity_id,
            display_name="Benchmark",
            currency_rules=[CurrencyRule(currency="USD", minor_units_min=1, minor_units_max=99_999_999)],
        )
    )
    campaign_id = draft.campaign.campaign_id
    await campaigns.ActivateCampaign(
        campaign_service_pb2.ActivateCampaignRequest(request_id=secrets.token_hex(8), campaign_id=campaign_id)
    )
    return str(campaign_id)


async def _echoed(answer: messages.RecordDonationResponse, campaign_id: str, *, calls: int, in_flight: int) -> float:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve_echo, args=(answer.SerializeToString(), theirs))
    process.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ours.recv()}") as channel:
            echo = DonationServiceStub(channel).RecordDonation
            call = lambda: echo(_gift(campaign_id), timeout=DEADLINE_S)  # noqa: E731 - as short as its use
            await _rate(call, calls=calls // 10, in_flight=in_flight)
            return await _rate(call, calls=calls, in_flight=in_flight)
    finally:
        process.kill()
        process.join()


async def _way_to_totals(record: Any, totals: grpc.aio.Channel, campaign_id: str) -> list[float]:
    """Milliseconds from the answer of a gift to the total that shows it, one gift after the other."""
    stream = AggregateServiceStub(totals).FollowTotals(aggregate.FollowTotalsRequest())
    await stream.read()
    way, gross = [], 0
    for _ in range(GIFTS_WATCHED):
        await record(_gift(campaign_id), timeout=DEADLINE_S)
        answered = time.perf_counter()
        gross = await _next_gross(stream, campaign_id, above=gross)
        way.append((time.perf_counter() - answered) * 1000)
    stream.cancel()
    return way


async def _next_gross(stream: Any, campaign_id: str, *, above: int) -> int:
    while True:
        for totals in (await stream.read()).totals:
            gross = sum(share.gross for share in totals.currencies)
            if totals.campaign_id == campaign_id and gross > above:
                return gross


async def _measure(options: argparse.Namespace) -> None:
    async with (
        grpc.aio.insecure_channel(options.donation) as donation,
        grpc.aio.insecure_channel(options.totals) as totals,
    ):
        campaign_id, quiet = await _open_campaign(donation), await _open_campaign(donation)
        record = DonationServiceStub(donation).RecordDonation
        answer = await record(_gift(campaign_id), timeout=DEADLINE_S)
        way = await _way_to_totals(record, totals, quiet)
        load = {"calls": options.calls, "in_flight": options.in_flight}
        recorded = await _rate(lambda: record(_gift(campaign_id), timeout=DEADLINE_S), **load)
    echoed = await _echoed(answer, campaign_id, **load)
    print(f"RecordDonation {recorded:,.0f}/s · bare echo {echoed:,.0f}/s · ratio {recorded / echoed:.2f}")
    p99 = statistics.quantiles(way, n=100)[98]
    print(f"answer → total shown: p50 {statistics.median(way):.1f} ms · p99 {p99:.1f} ms over {len(way)} gifts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--donation", default="127.0.0.1:8091")
    parser.add_argument("--totals", default="127.0.0.1:8093")
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--in-flight", type=int, default=64)
    options = parser.parse_args()
    try:
        uvloop.run(_measure(options))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        raise SystemExit(
            f"no mesh answers at {options.donation} and {options.totals}: start one with `make up`, or name its addresses"
        ) from None


if __name__ == "__main__":
    main()
