"""The server of a service: guarded, healthy, drained before it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh.config import ServiceSettings
from mesh.rpc.contract import Method, methods_of, services_of
from mesh.rpc.guards import Admission, refuse_plaintext, trust_loopback
from mesh.rpc.health import HealthBoard, Probe
from mesh.rpc.interceptor import GuardInterceptor
from mesh.tasks import cancel

CONNECTION_AGE_MS = 30 * 60 * 1000
STREAM_AHEAD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers."""

    port: int
    health: HealthBoard


def _options(methods: Mapping[str, Method]) -> Sequence[tuple[str, Any]]:
    largest = max(method.max_request_bytes for method in methods.values())
    return (
        # Two servers would bind one port silently and share the calls.
        ("grpc.so_reuseport", 0),
        # A kilobyte more than any method allows: the interceptor refuses with our reason, this is the wall behind it.
        ("grpc.max_receive_message_length", largest + 1024),
        ("grpc.max_metadata_size", 8 * 1024),
        # What a caller of a stream sends ahead of its reader is kept here. With the probe on that grows with every moment in
        # which the reader is slow: a large upload would stand in memory.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", STREAM_AHEAD_BYTES),
        ("grpc.max_concurrent_streams", 10_000),
        # C-core drops bursts above 1,000 calls that are not accepted yet; the admission bound decides instead.
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 200_000),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", 60_000),
        ("grpc.http2.max_ping_strikes", 5),
    )


@asynccontextmanager
async def serve(
    settings: ServiceSettings,
    *,
    modules: Sequence[ModuleType],
    register: Callable[[grpc.aio.Server], None],
    probes: Mapping[str, Probe],
) -> AsyncIterator[RunningServer]:
    """Serves the services that `modules` declare while it is entered.

    Leaving it is the two-stage stop: health says NOT_SERVING and callers move away, then calls in flight finish within the
    grace. Work that changes something is waited for even where its caller has gone.

    Raises:
        OSError: the port is taken.
    """
    services = services_of(modules)
    methods = methods_of(services)
    development = settings.mesh_mode == "development"
    guard = GuardInterceptor(
        methods,
        identify=trust_loopback if development else refuse_plaintext,
        admission=Admission(bound=settings.admission),
    )
    board = HealthBoard(services=[service.full_name for service in services], probes=probes)
    server = grpc.aio.server(interceptors=[guard], options=list(_options(methods)))
    register(server)
    health_pb2_grpc.add_HealthServicer_to_server(board.servicer, server)
    if development:
        reflection.enable_server_reflection(_reflected(services), server)
    port = _bind(server, settings)
    await board.look()
    await server.start()
    watcher = asyncio.create_task(board.watch())
    try:
        yield RunningServer(port, board)
    finally:
        await cancel(watcher)
        await board.leave()
        await asyncio.sleep(settings.drain_s)
        guard.end_streams()
        board.end_watches()
        await server.stop(settings.grace_s)
        await guard.tasks.join(timeout_s=settings.grace_s)


def _reflected(services: Sequence[Any]) -> list[str]:
    return [service.full_name for service in services] + ["grpc.health.v1.Health", reflection.SERVICE_NAME]


def _bind(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    address = f"{settings.listen_host}:{settings.listen_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"{address} is in use; set LISTEN_PORT to a free port") from error
    if port == 0:
        raise OSError(f"{address} is in use; set LISTEN_PORT to a free port")
    return port
