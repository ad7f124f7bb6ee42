"""B2: unary RecordDonation on a running mesh, beside a bare grpc.aio echo of the same messages in the same run.

    python benchmarks/record_donation.py TARGET CAMPAIGN_ID [--calls 4000] [--in-flight 64]

Prints calls per second of both and their ratio. The echo server runs in a process of its own, as the service does.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import secrets
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import grpc
import uvloop
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import donation_service_pb2 as messages

METHOD = "/giving.donation.v1.DonationService/RecordDonation"


class _Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, answer: messages.RecordDonationResponse) -> None:
        self._answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
        del handler_call_details

        async def handle(request: messages.RecordDonationRequest, context: object) -> messages.RecordDonationResponse:
            del request, context
            return self._answer

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=messages.RecordDonationRequest.FromString,
            response_serializer=messages.RecordDonationResponse.SerializeToString,
        )


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


def _request(campaign_id: str) -> messages.RecordDonationRequest:
    amount = Money(minor_units=100, currency="USD")
    return messages.RecordDonationRequest(payment_ref=secrets.token_hex(12), campaign_id=campaign_id, amount=amount)


async def _measure(target: str, campaign_id: str, *, calls: int, in_flight: int) -> tuple[float, float]:
    async with grpc.aio.insecure_channel(target) as channel:
        record = channel.unary_unary(
            METHOD,
            request_serializer=messages.RecordDonationRequest.SerializeToString,
            response_deserializer=messages.RecordDonationResponse.FromString,
        )
        answer = await record(_request(campaign_id), timeout=10)
        recorded = await _rate(lambda: record(_request(campaign_id), timeout=10), calls=calls, in_flight=in_flight)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    echo = multiprocessing.get_context("spawn").Process(target=_serve_echo, args=(answer.SerializeToString(), theirs))
    echo.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ours.recv()}") as channel:
            bare = channel.unary_unary(
                METHOD,
                request_serializer=messages.RecordDonationRequest.SerializeToString,
                response_deserializer=messages.RecordDonationResponse.FromString,
            )
            echoed = await _rate(lambda: bare(_request(campaign_id), timeout=10), calls=calls, in_flight=in_flight)
    finally:
        echo.kill()
        echo.join()
    return recorded, echoed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("campaign_id")
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--in-flight", type=int, default=64)
    options = parser.parse_args()
    recorded, echoed = uvloop.run(
        _measure(options.target, options.campaign_id, calls=options.calls, in_flight=options.in_flight)
    )
    print(f"RecordDonation {recorded:,.0f}/s · bare echo {echoed:,.0f}/s · ratio {recorded / echoed:.2f}")


if __name__ == "__main__":
    main()
