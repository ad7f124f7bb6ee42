"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from giving.donation.v1.donation_pb2 import Donation

from giving_client import operations
from giving_client.channels import OPTIONS, TIMEOUT_S, Limits
from giving_client.courses import ItemT, Pages, Watch, donation_watch, totals_watch
from giving_client.errors import error_from, is_replayed
from giving_client.operations import Operation
from giving_client.retries import Attempts, RetryPolicy

P = ParamSpec("P")
AnswerT = TypeVar("AnswerT")


def _calling(
    build: Callable[P, Operation[AnswerT]],
) -> Callable[Concatenate[AsyncMeshClient, P], Coroutine[Any, Any, AnswerT]]:
    """The method that makes the call which `build` describes, with the same arguments."""

    async def method(client: AsyncMeshClient, /, *args: P.args, **kwargs: P.kwargs) -> AnswerT:
        return await client.call(build(*args, **kwargs))

    method.__name__, method.__doc__ = build.__name__, build.__doc__
    return method


class AsyncMeshClient:
    """Calls the mesh from a running event loop. Use it as an asynchronous context manager.

    As MeshClient: same methods, same arguments, same errors.
    """

    def __init__(
        self,
        target: str,
        *,
        totals_target: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._channel = _open_channel(target, credentials)
        self._totals = _open_channel(totals_target, credentials) if totals_target else self._channel
        self._limits = Limits(timeout_s, retries)
        self._sleep = sleep

    get_offer = _calling(operations.get_offer)
    create_donation = _calling(operations.create_donation)
    record_donation = _calling(operations.record_donation)
    reverse_recorded_donation = _calling(operations.reverse_recorded_donation)
    refund_donation = _calling(operations.refund_donation)
    get_donation = _calling(operations.get_donation)
    get_client_secret = _calling(operations.get_client_secret)
    create_charity = _calling(operations.create_charity)
    create_campaign = _calling(operations.create_campaign)
    activate_campaign = _calling(operations.activate_campaign)
    get_totals = _calling(operations.get_totals)

    async def list_donations(
        self, *, donor_id: str | None = None, campaign_id: str | None = None, timeout_s: float | None = None
    ) -> AsyncIterator[Donation]:
        """Every donation of a donor or of a campaign, newest first, over all pages."""
        pages = Pages(donor_id=donor_id, campaign_id=campaign_id, timeout_s=timeout_s)
        while pages.more:
            page = await self.call(pages.operation())
            pages.turn(page)
            for donation in page.donations:
                yield donation

    def watch_totals(self, *, campaign_id: str, after_version: int = 0) -> AsyncIterator[CampaignTotals]:
        """The totals as they stand, then each change; reconnects behind the last version until it is closed."""
        return self._watch(totals_watch(campaign_id=campaign_id, after_version=after_version))

    def watch_donation(self, *, donation_id: str) -> AsyncIterator[Donation]:
        """A donation as it stands, then each change, until nothing more can come; reconnects until then."""
        return self._watch(donation_watch(donation_id=donation_id))

    async def call(self, operation: Operation[AnswerT]) -> AnswerT:
        """Makes a logical call: the same request until its outcome is known, within the bounds."""
        attempts = Attempts(self._limits.policy)
        while True:
            try:
                return await self._attempt(operation)
            except grpc.RpcError as error:
                pause_s = attempts.pause_after(error_from(error, correlation_id=operation.correlation_id))
            await self._sleep(pause_s)

    async def close(self) -> None:
        """Ends what still runs."""
        await self._totals.close()
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _watch(self, watch: Watch[ItemT]) -> AsyncGenerator[ItemT, None]:
        while True:
            try:
                async with aclosing(self._stream(watch.operation())) as stream:
                    async for item in stream:
                        if watch.takes(item):
                            yield item
                        if watch.over:
                            return
                pause_s = watch.pause_after_end()
            except grpc.RpcError as error:
                pause_s = watch.pause_after_error(error)
            await self._sleep(pause_s)

    async def _attempt(self, operation: Operation[AnswerT]) -> AnswerT:
        method = self._channel_of(operation).unary_unary(operation.path, **operation.codecs)
        timeout = self._limits.timeout_of(operation.timeout_s)
        call = method(operation.request, timeout=timeout, metadata=operation.metadata)
        response = await call
        return operation.read(response, is_replayed(await call.trailing_metadata()))

    async def _stream(self, operation: Operation[AnswerT]) -> AsyncGenerator[AnswerT, None]:
        method = self._channel_of(operation).unary_stream(operation.path, **operation.codecs)
        call = method(operation.request, timeout=operation.timeout_s, metadata=operation.metadata)
        try:
            async for response in call:
                yield operation.read(response, False)
        finally:
            call.cancel()

    def _channel_of(self, operation: Operation[Any]) -> grpc.aio.Channel:
        return self._totals if operation.reads_totals else self._channel


def _open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    return grpc.aio.secure_channel(target, credentials, options=OPTIONS)
