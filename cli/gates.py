"""Is a part ready? Asked over its own protocol, without credentials, so that whoever has the address may ask."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import grpc
from grpc_health.v1 import health_pb2

# A part that takes longer is not ready, whatever it answers.
_ANSWER_S_MAX = 1.0
_POSTGRES_PROTOCOL = 3 << 16


async def ready(probe: str, address: str) -> bool:
    """One question; False is also the answer of a part that does not answer.

    Args:
        probe: a key of PROBES.
        address: host:port.
    """
    try:
        async with asyncio.timeout(_ANSWER_S_MAX):
            return await PROBES[probe](address)
    except (OSError, EOFError, TimeoutError, aiohttp.ClientError, grpc.aio.AioRpcError):
        return False


async def _exchange(address: str, question: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(question)
        return await reader.read(4096)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _postgres(address: str) -> bool:
    """As pg_isready: a server that asks for the password takes connections; one that starts up answers an error."""
    text = b"user\0postgres\0database\0postgres\0\0"
    answer = await _exchange(address, struct.pack("!ii", len(text) + 8, _POSTGRES_PROTOCOL) + text)
    return answer.startswith(b"R")


async def _nats(address: str) -> bool:
    return (await _exchange(address, b"")).startswith(b"INFO ")


async def _valkey(address: str) -> bool:
    return (await _exchange(address, b"PING\r\n")).startswith((b"+PONG", b"-NOAUTH"))


async def _grpc(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        answer = await check(health_pb2.HealthCheckRequest(), timeout=_ANSWER_S_MAX)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _http(address: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/readyz") as answer:
        return answer.status == 200  # noqa: PLR2004


PROBES: Mapping[str, Callable[[str], Awaitable[bool]]] = {
    "postgres": _postgres,
    "nats": _nats,
    "valkey": _valkey,
    "grpc": _grpc,
    "http": _http,
}
