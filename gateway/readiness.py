"""Whether this process takes requests. What its upstreams say stands beside it and decides nothing.

Were a part that is away to decide, it would take every gateway out of rotation at once, with all that works without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.clients import Clients, Upstream
from gateway.convert import to_json
from gateway.exchange import Answer, Exchange
from gateway.pages import NO_STORE

# Half of what whoever asks waits for, so that an upstream that hangs does not make us look dead.
_UPSTREAM_S_MAX = 0.5
_NOT_REACHED = "NOT_REACHED"


class Readiness:
    """Ready from the first upstream that answers until the process begins to stop."""

    def __init__(self, clients: Clients) -> None:
        self._upstreams = tuple(clients.by_package.values())
        self._reached = False
        self._draining = False

    def drain(self) -> None:
        """From now on callers are sent elsewhere."""
        self._draining = True

    async def page(self, _: Exchange) -> Answer:
        """200 with the upstreams' states; 503 while draining, and until any upstream was reached."""
        if self._draining:
            return _answer("draining", {})
        states = await self._states()
        # Only at the start: then the addresses or the network are wrong, and no request could be served.
        self._reached = self._reached or any(state != _NOT_REACHED for state in states.values())
        return _answer("ready" if self._reached else "starting", states)

    async def _states(self) -> Mapping[str, str]:
        states = await asyncio.gather(*map(_health, self._upstreams))
        return {upstream.name: state for upstream, state in zip(self._upstreams, states, strict=True)}


async def _health(upstream: Upstream) -> str:
    stub: Any = health_pb2_grpc.HealthStub(upstream.channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_UPSTREAM_S_MAX)
    except grpc.aio.AioRpcError:
        return _NOT_REACHED
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _answer(word: str, upstreams: Mapping[str, str]) -> Answer:
    status = 200 if word == "ready" else 503
    return Answer(status, to_json({"status": word, "upstreams": upstreams}), b"application/json", NO_STORE)
