"""Sequences of calls as state machines, which the blocking and the asynchronous client drive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import grpc
from giving.aggregate.v1.totals_pb2 import CampaignTotals
from giving.donation.v1.donation_pb2 import Donation

from giving_client import operations
from giving_client.errors import MeshError, error_from
from giving_client.operations import DonationPage, Operation
from giving_client.retries import WATCH_POLICY, Attempts, RetryPolicy

# As long as the server lets a stream live.
WATCH_S = 900.0
PAGE_SIZE = 100


class Pages:
    """All pages of a list, each asked for with the token of the one before."""

    def __init__(self, *, donor_id: str | None, campaign_id: str | None, timeout_s: float | None) -> None:
        self._donor_id = donor_id or ""
        self._campaign_id = campaign_id or ""
        self._timeout_s = timeout_s
        self._token = ""
        self.more = True

    def operation(self) -> Operation[DonationPage]:
        return operations.list_page(
            donor_id=self._donor_id,
            campaign_id=self._campaign_id,
            page_size=PAGE_SIZE,
            page_token=self._token,
            timeout_s=self._timeout_s,
        )

    def turn(self, page: DonationPage) -> None:
        """Goes on behind the page."""
        self._token = page.next_page_token
        self.more = bool(self._token)


class Versioned(Protocol):
    """What a stream shows of something that changes: versions only grow."""

    @property
    def version(self) -> int: ...


ItemT = TypeVar("ItemT", bound=Versioned)


class Watch(Generic[ItemT]):
    """A watch over reconnections: versions only grow, and each stream begins behind the last one.

    `open_behind` makes the call whose stream follows a version; after what `ends_with` nothing more comes.
    """

    def __init__(
        self,
        open_behind: Callable[[int], Operation[ItemT]],
        *,
        policy: RetryPolicy,
        after_version: int = 0,
        ends_with: Callable[[ItemT], bool] = lambda _: False,
    ) -> None:
        self._open_behind = open_behind
        self._version = after_version
        self._ends_with = ends_with
        self._seen = False
        self._policy = policy
        self._attempts = Attempts(policy)
        self._correlation_id = ""
        self.over = False

    def operation(self) -> Operation[ItemT]:
        operation = self._open_behind(self._version)
        self._correlation_id = operation.correlation_id
        return operation

    def takes(self, item: ItemT) -> bool:
        """Whether the answer says something new."""
        self._attempts.progress()
        is_new = item.version > self._version or (not self._seen and not self._version)
        if is_new:
            self._version, self._seen = item.version, True
            self.over = self._ends_with(item)
        return is_new

    def pause_after_error(self, error: grpc.RpcError) -> float:
        """Seconds until the next stream.

        Raises:
            MeshError: there is none.
        """
        return self._pause_after(error_from(error, correlation_id=self._correlation_id))

    def pause_after_end(self) -> float:
        """Seconds until the next stream, after a clean end: the server lets no stream live for ever."""
        return self._policy.pause_s_first

    def _pause_after(self, error: MeshError) -> float:
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self.pause_after_end()
        return self._attempts.pause_after(error)


def totals_watch(*, campaign_id: str, after_version: int) -> Watch[CampaignTotals]:
    """Of a campaign's totals, without an end."""

    def open_behind(version: int) -> Operation[CampaignTotals]:
        return operations.watch_totals(campaign_id=campaign_id, after_version=version, timeout_s=WATCH_S)

    return Watch(open_behind, policy=WATCH_POLICY, after_version=after_version)


def donation_watch(*, donation_id: str) -> Watch[Donation]:
    """Of a donation, until nothing more can come."""

    def open_behind(_: int) -> Operation[Donation]:
        return operations.watch_donation(donation_id=donation_id, timeout_s=WATCH_S)

    return Watch(open_behind, policy=WATCH_POLICY, ends_with=is_final)


_FINAL = (Donation.STATE_SUCCEEDED, Donation.STATE_EXPIRED, Donation.STATE_REFUNDED, Donation.STATE_DISPUTE_LOST)


def is_final(donation: Donation) -> bool:
    """Whether the mesh ends the stream after this state."""
    return donation.state in _FINAL or (donation.state == Donation.STATE_FAILED and not donation.retryable)
