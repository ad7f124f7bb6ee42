"""What operators see of settlement: what does not match, and how a day stands."""

from __future__ import annotations

import datetime
from collections.abc import Collection

from giving.payment.v1 import payment_operations_service_pb2 as messages

from mesh import pages
from mesh.clock import Clock
from mesh.errors import InvalidArgument
from payment_svc.domain.reconciliation import Finding, Report
from payment_svc.domain.settlement import AGREEING, ItemClass
from payment_svc.store.reconciliation import ReconciliationStore

_DISAGREEING = tuple(one for one in ItemClass if one not in AGREEING)


class Reconciliation:
    """The provider's balance beside our books, for people. `missing_after`: as the walker has it."""

    def __init__(
        self, *, store: ReconciliationStore, tokens: pages.PageTokens, clock: Clock, missing_after: datetime.timedelta
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock
        self._missing_after = missing_after

    async def list_reconciliation_items(
        self, request: messages.ListReconciliationItemsRequest
    ) -> tuple[list[tuple[Finding, datetime.timedelta]], str]:
        """A page of what does not match, newest first, each with its age, and the token of the next.

        Raises:
            PageTokenInvalid: the token is foreign.
            InvalidArgument: no calendar has the day, or there is no such class.
        """
        list_name = f"reconciliation items {request.day} {getattr(request, 'class')}"
        size = pages.page_size(request.page_size)
        now = self._clock.now()
        found = await self._store.page(
            _classes(getattr(request, "class")),
            day=_day(request.day) if request.day else None,
            before=self._tokens.read_at(request.page_token, list_name=list_name, start=pages.LATEST),
            limit=size + 1,
            missing_since=now - self._missing_after,
        )
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = self._tokens.make_at(pages.Position(last.time, last.name), list_name=list_name)
        return [(one, max(now - one.time, datetime.timedelta())) for one in found[:size]], token

    async def get_reconciliation_report(self, day: str) -> Report:
        """How a day stands.

        Raises:
            InvalidArgument: no calendar has the day.
        """
        return await self._store.report(_day(day), missing_since=self._clock.now() - self._missing_after)


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument.of("day", "is no day") from error


def _classes(named: str) -> Collection[ItemClass]:
    if not named:
        return _DISAGREEING
    try:
        return (ItemClass(named),)
    except ValueError as error:
        raise InvalidArgument.of("class", f"must be one of {', '.join(ItemClass)}") from error
