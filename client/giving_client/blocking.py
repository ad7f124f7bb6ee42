"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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


def _calling(build: Callable[P, Operation[AnswerT]]) -> Callable[Concatenate[MeshClient, P], AnswerT]:
    """The method that makes the call which `build` describes, with the same arguments."""

    def method(client: MeshClient, /, *args: P.args, **kwargs: P.kwargs) -> AnswerT:
        return client.call(build(*args, **kwargs))

    method.__name__, method.__doc__ = build.__name__, build.__doc__
    return method


class MeshClient:
    """Calls the mesh and waits. Use it as a context manager; it may be shared by threads.

    `timeout_s` bounds one attempt of a call, and each method takes its own; a logical call makes at most five. All methods
    raise MeshError. `totals_target` is where the aggregator answers, if not at `target`.
    """

    def __init__(
        self,
        target: str,
        *,
        totals_target: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        open_channel: Callable[[str], grpc.Channel] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open = open_channel or (lambda to: _open_channel(to, credentials))
        self._stack = ExitStack()
        self._channel = self._stack.enter_context(self._open(target))
        self._totals = self._stack.enter_context(self._open(totals_target)) if totals_target else self._channel
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

    def list_donations(
        self, *, donor_id: str | None = None, campaign_id: str | None = None, timeout_s: float | None = None
    ) -> Iterator[Donation]:
        """Every donation of a donor or of a campaign, newest first, over all pages."""
        pages = Pages(donor_id=donor_id, campaign_id=campaign_id, timeout_s=timeout_s)
        while pages.more:
            page = self.call(pages.operation())
            pages.turn(page)
            yield from page.donations

    def watch_totals(self, *, campaign_id: str, after_version: int = 0) -> Iterator[CampaignTotals]:
        """The totals as they stand, then each change; reconnects behind the last version until it is closed."""
        return self._watch(totals_watch(campaign_id=campaign_id, after_version=after_version))

    def watch_donation(self, *, donation_id: str) -> Iterator[Donation]:
        """A donation as it stands, then each change, until nothing more can come; reconnects until then."""
        return self._watch(donation_watch(donation_id=donation_id))

    def call(self, operation: Operation[AnswerT]) -> AnswerT:
        """Makes a logical call: the same request until its outcome is known, within the bounds."""
        attempts = Attempts(self._limits.policy)
        while True:
            try:
                return self._attempt(operation)
            except grpc.RpcError as error:
                pause_s = attempts.pause_after(error_from(error, correlation_id=operation.correlation_id))
            self._sleep(pause_s)

    def close(self) -> None:
        """Ends what still runs."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _watch(self, watch: Watch[ItemT]) -> Iterator[ItemT]:
        while True:
            try:
                for item in filter(watch.takes, self._stream(watch.operation())):
                    yield item
                    if watch.over:
                        return
                pause_s = watch.pause_after_end()
            except grpc.RpcError as error:
                pause_s = watch.pause_after_error(error)
            self._sleep(pause_s)

    def _attempt(self, operation: Operation[AnswerT]) -> AnswerT:
        method = self._channel_of(operation).unary_unary(operation.path, **operation.codecs)
        timeout = self._limits.timeout_of(operation.timeout_s)
        response, call = method.with_call(operation.request, timeout=timeout, metadata=operation.metadata)
        return operation.read(response, is_replayed(call.trailing_metadata()))

    def _stream(self, operation: Operation[AnswerT]) -> Iterator[AnswerT]:
        method = self._channel_of(operation).unary_stream(operation.path, **operation.codecs)
        call = method(operation.request, timeout=operation.timeout_s, metadata=operation.metadata)
        try:
            for response in call:
                yield operation.read(response, False)
        finally:
            call.cancel()

    def _channel_of(self, operation: Operation[Any]) -> grpc.Channel:
        return self._totals if operation.reads_totals else self._channel


def _open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(target, options=OPTIONS)
    return grpc.secure_channel(target, credentials, options=OPTIONS)
