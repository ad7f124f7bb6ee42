"""Channels to other services: a deadline on every call, identity and trace passed on, retries only where they are safe."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from giving.common.v1.identity_pb2 import Identity

from mesh.errors import DeadlineExceeded, from_rpc_error
from mesh.rpc.call import CORRELATION_KEY, IDENTITY_KEY, TRACE_KEY, Call, correlation_id_from, current_call, traceparent_from
from mesh.rpc.contract import Method

# What is kept back from the caller's deadline so that our own answer still arrives.
DEADLINE_MARGIN_S = 0.1
_RETRY_POLICY = {
    # AIP-194: UNAVAILABLE only. Every mutating method carries an idempotency key, so a call that ran after all is one.
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [{"name": [{}], "retryPolicy": _RETRY_POLICY}],
    # At most about one retry in ten calls once a peer is in trouble.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
CHANNEL_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # Default back-off grows to two minutes; a restarted peer has to be found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel to `target` (host:port, or dns:///name:port for several); close it when done."""
    return grpc.aio.insecure_channel(target, options=list(CHANNEL_OPTIONS))


def metadata_of(call: Call) -> tuple[tuple[str, str | bytes], ...]:
    """What an outgoing call carries."""
    return (
        (IDENTITY_KEY, call.identity.SerializeToString()),
        (CORRELATION_KEY, call.correlation_id),
        (TRACE_KEY, call.traceparent),
    )


def own_call(*, subject: str, identity: Identity, deadline: float) -> Call:
    """A call that a service begins by itself, without a caller."""
    return Call(subject, identity, correlation_id_from({}), traceparent_from({}), deadline)


class Caller:
    """Calls methods of one peer by their descriptor.

    The deadline is the smaller of the method's own and what is left of the current call less a margin.
    """

    def __init__(self, channel: grpc.aio.Channel, *, peer: str) -> None:
        self._channel = channel
        self._peer = peer
        self._stubs: dict[str, Callable[..., Any]] = {}

    async def unary(self, method: Method, request: Any, call: Call | None = None) -> Any:
        """The response; trailing metadata marks a replay on `call`.

        Raises:
            Refusal: the peer said no, or did not answer.
        """
        call = call or current_call()
        timeout = min(method.deadline_s, call.remaining_s() - DEADLINE_MARGIN_S) if call else method.deadline_s
        if timeout <= 0:
            raise DeadlineExceeded("the deadline passed before the call was made")
        rpc = self._stub(method)(request, timeout=timeout, metadata=metadata_of(call) if call else None)
        try:
            response = await rpc
            if call and any(key == "idempotent-replayed" for key, _ in await rpc.trailing_metadata() or ()):
                call.mark_replayed()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, dependency=self._peer, max_request_bytes=method.max_request_bytes) from error
        return response

    def stream(self, method: Method, request: Any, call: Call | None = None) -> Any:
        """The call of a server-streaming method: iterate it, cancel it. Errors are grpc.aio.AioRpcError."""
        metadata = metadata_of(call) if call else None
        return self._stub(method)(request, timeout=method.deadline_s, metadata=metadata)

    def _stub(self, method: Method) -> Callable[..., Any]:
        if method.path not in self._stubs:
            make = self._channel.unary_stream if method.streams_out else self._channel.unary_unary
            self._stubs[method.path] = make(
                method.path,
                request_serializer=method.request_class.SerializeToString,
                response_deserializer=method.response_class.FromString,
            )
        return self._stubs[method.path]
