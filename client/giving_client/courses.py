"""Sequences of calls as state machines, which the blocking and the asynchronous client drive."""

from __future__ import annotations

import grpc
from giving.aggregate.v1.totals_pb2 import CampaignTotals

from giving_client import operations
from giving_client.errors import MeshError, error_from
from giving_client.operations import DonationPage, Operation
from giving_client.retries import Attempts, RetryPolicy

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


class Watch:
    """A watch over reconnections: versions only grow, and each stream begins behind the last one."""

    def __init__(self, *, campaign_id: str, after_version: int, policy: RetryPolicy) -> None:
        self._campaign_id = campaign_id
        self._version = after_version
        self._seen = False
        self._policy = policy
        self._attempts = Attempts(policy)
        self._correlation_id = ""

    def operation(self) -> Operation[CampaignTotals]:
        operation = operations.watch_totals(campaign_id=self._campaign_id, after_version=self._version, timeout_s=WATCH_S)
        self._correlation_id = operation.correlation_id
        return operation

    def takes(self, totals: CampaignTotals) -> bool:
        """Whether the answer says something new."""
        self._attempts.progress()
        is_new = totals.version > self._version or (not self._seen and not self._version)
        if is_new:
            self._version, self._seen = totals.version, True
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
