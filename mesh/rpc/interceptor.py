"""The one interceptor of every server, for all four kinds of calls.

It turns whatever a handler raises into a status of the contract, and lets a handler run only after every guard has passed.
Requests arrive as bytes, so that size and form are checked before anything is built from them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack, aclosing
from functools import partial
from typing import Any

import grpc
import structlog
from giving.common.v1.identity_pb2 import Identity

from mesh import metrics
from mesh.errors import (
    STATUS_TRAILER,
    DeadlineExceeded,
    Internal,
    NotImplementedYet,
    Refusal,
    to_status,
)
from mesh.rpc.call import CORRELATION_KEY, Call, correlation_id_from, enter_call, traceparent_from
from mesh.rpc.contract import Method
from mesh.rpc.guards import Admission, Identify, authorize, parse
from mesh.tasks import TaskSet

# What gRPC reads as: do not repeat this call by yourself.
PUSHBACK_KEY = "grpc-retry-pushback-ms"
# All repetitions of a channel together take about as long.
REPEATED_WITHIN_S = 1.0
_log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]


class GuardInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each handler of the contract; health and reflection pass untouched."""

    def __init__(self, methods: Mapping[str, Method], *, identify: Identify, admission: Admission) -> None:
        self._methods = methods
        self._identify = identify
        self._admission = admission
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._lives: set[asyncio.Timeout] = set()
        self.tasks = TaskSet()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            method = self._methods.get(path)
            if method is None or handler is None:
                return handler
            wrapped = self._wrapped[path] = self._wrap(method, handler)
        return wrapped

    def end_streams(self) -> None:
        """Ends every open stream, as if its life had run out: callers reconnect elsewhere."""
        for life in self._lives:
            if not life.expired():
                life.reschedule(asyncio.get_running_loop().time())

    def _wrap(self, method: Method, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        serializer = handler.response_serializer
        if not method.streams_in and not method.streams_out:
            return grpc.unary_unary_rpc_method_handler(
                self._answered_once(method, handler.unary_unary, partial(parse, method)), response_serializer=serializer
            )
        if not method.streams_out:
            return grpc.stream_unary_rpc_method_handler(
                self._answered_once(method, handler.stream_unary, partial(parse_each, method)),
                response_serializer=serializer,
            )
        if not method.streams_in:
            return grpc.unary_stream_rpc_method_handler(
                self._unary_stream(method, handler.unary_stream), response_serializer=serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream_stream(method, handler.stream_stream), response_serializer=serializer
        )

    def _answered_once(self, method: Method, behavior: Any, read: Callable[[Any], Any]) -> Any:
        """A handler with one answer; `read` makes what it takes of what arrived."""

        async def handle(arrived: Any, context: Context) -> Any:
            call = begin(method, context)
            started = time.perf_counter()
            try:
                self._let_in(method, call, context)
                with ExitStack() as place:
                    place.enter_context(self._admission.enter(method.policy.rate_class))
                    handling = behavior(read(arrived), context)
                    work = _holding(place.pop_all(), handling)
                response = await self._work(method, call, work)
            except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach the caller
                await refuse(method, call, context, error, started)
            else:
                answer(method, call, context, started)
                return response

        return handle

    def _let_in(self, method: Method, call: Call, context: Context) -> None:
        call.identity.CopyFrom(self._identify(peer=context.peer(), metadata=metadata_of(context)))
        authorize(method, call.identity)

    def _unary_stream(self, method: Method, behavior: Any) -> Any:
        async def handle(raw: bytes, context: Context) -> AsyncIterator[Any]:
            async for response in self._responses(method, behavior, lambda: parse(method, raw), context):
                yield response

        return handle

    def _stream_stream(self, method: Method, behavior: Any) -> Any:
        async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            async for response in self._responses(method, behavior, lambda: parse_each(method, requests), context):
                yield response

        return handle

    async def _work(self, method: Method, call: Call, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a handler until the deadline; one that changes something runs on to its end without its caller."""
        life = asyncio.timeout(call.remaining_s())
        try:
            async with life:
                return await (self.tasks.shielded(work) if method.mutates else work)
        except TimeoutError as error:
            if not life.expired():
                raise
            raise DeadlineExceeded("the deadline passed; repeat with the same key to learn the outcome") from error

    async def _responses(
        self, method: Method, behavior: Any, request: Callable[[], Any], context: Context
    ) -> AsyncIterator[Any]:
        call = begin(method, context)
        started = time.perf_counter()
        life = asyncio.timeout(call.remaining_s())
        try:
            self._let_in(method, call, context)
            with self._admission.enter(method.policy.rate_class):
                async with life, aclosing(behavior(request(), context)) as responses:
                    self._lives.add(life)
                    async for response in responses:
                        yield response
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not reach the caller
            if isinstance(error, TimeoutError) and life.expired():
                # The stream's life is over: a clean end, the caller opens the next one.
                answer(method, call, context, started)
            else:
                await refuse(method, call, context, error, started)
        else:
            answer(method, call, context, started)
        finally:
            self._lives.discard(life)


async def _holding(place: ExitStack, work: Awaitable[Any]) -> Any:
    """Works and keeps its place of the admission bound to its end, also when its caller has gone."""
    with place:
        return await work


def metadata_of(context: Context) -> dict[str, str | bytes]:
    """The call's metadata; the last value of a repeated key."""
    return dict(context.invocation_metadata() or ())


def begin(method: Method, context: Context) -> Call:
    """The call as it enters, made current for logs and outgoing calls; its identity is not established yet."""
    metadata = metadata_of(context)
    remaining = context.time_remaining()
    budget = method.deadline_s if remaining is None else min(remaining, method.deadline_s)
    call = Call(
        method=method.path,
        identity=Identity(),
        correlation_id=correlation_id_from(metadata),
        traceparent=traceparent_from(metadata),
        deadline=time.monotonic() + budget,
    )
    enter_call(call)
    return call


async def parse_each(method: Method, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """The requests of a stream, each checked like a single one."""
    async for raw in requests:
        yield parse(method, raw)


def answer(method: Method, call: Call, context: Context, started: float) -> None:
    """Closes a call that succeeded."""
    context.set_trailing_metadata(((CORRELATION_KEY, call.correlation_id), *call.trailers))
    metrics.RPC_SECONDS.labels(method.path, "OK").observe(time.perf_counter() - started)


async def refuse(method: Method, call: Call, context: Context, error: Exception, started: float) -> None:
    """Closes a call with a status of the contract; a defect is logged and shows nothing of itself."""
    refusal = refusal_of(method, error)
    if isinstance(refusal, Internal):
        _log.error("call failed", method=method.path, correlation_id=call.correlation_id, exc_info=error)
    code = refusal.form.code
    metrics.RPC_SECONDS.labels(method.path, code.name).observe(time.perf_counter() - started)
    trailers = [(CORRELATION_KEY, call.correlation_id), (STATUS_TRAILER, to_status(refusal).SerializeToString())]
    if (refusal.retry_after_s or 0) > REPEATED_WITHIN_S:
        # The caller's channel would repeat the call at once; we have just said that this is too early.
        trailers.append((PUSHBACK_KEY, "-1"))
    await context.abort(code, refusal.detail, tuple(trailers))


def refusal_of(method: Method, error: Exception) -> Refusal:
    """The refusal that stands for whatever was raised."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, NotImplementedError):
        return NotImplementedYet("this version does not serve the method", method=method.path.lstrip("/"))
    return Internal("internal error")
