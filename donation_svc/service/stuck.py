"""What an operator must see: donations that are still open, and what each of them waits for."""

from __future__ import annotations

import datetime

from giving.donation.v1.donation_operations_service_pb2 import ListStuckRequest

from donation_svc.domain.donations import Donation
from donation_svc.store.promises import PromiseStore
from mesh import pages
from mesh.clock import Clock

# A century: nothing here is older, and calendars reach that far back.
AGE_S_MAX = 100 * 366 * 24 * 3600


class Stuck:
    """Donations that did not end."""

    def __init__(self, *, promises: PromiseStore, tokens: pages.PageTokens, clock: Clock) -> None:
        self._promises = promises
        self._tokens = tokens
        self._clock = clock

    async def list_stuck(self, request: ListStuckRequest) -> tuple[list[Donation], str]:
        """A page of open donations older than `age`, oldest first, and the token of the next.

        Raises:
            PageTokenInvalid: the token is foreign.
        """
        age = datetime.timedelta(seconds=max(0, min(request.age.seconds, AGE_S_MAX)))
        list_name = f"stuck {age.total_seconds()}"
        size = pages.page_size(request.page_size)
        after = self._tokens.read(request.page_token, list_name=list_name, start=pages.FIRST)
        found = await self._promises.open_page(before=self._clock.now() - age, after=after, limit=size + 1)
        token = self._tokens.make(found[size - 1].id, list_name=list_name) if len(found) > size else ""
        return found[:size], token
