"""Finishes or ends, without any caller, what a crash, a slow provider or a donor left open."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Sequence
from typing import Protocol

import structlog
from giving.common.v1 import error_pb2
from giving.common.v1.identity_pb2 import Identity

from donation_svc.domain.donations import Donation
from donation_svc.domain.payments import WordRefused
from donation_svc.domain.waiting import LOOK_AGAIN, Due, due, ends_at
from donation_svc.service.payments import Payments, Readying
from donation_svc.service.settlement import Heard, Settlement
from mesh import crashpoints
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, Refusal, RequestInFlight
from mesh.rpc.call import current_call, enter_call
from mesh.rpc.channel import own_call

PERIOD_S = 1.0
# Each is a call to the payment service, all at once: as many as one replica may ask of it.
BATCH = 50
# How long one donation may take; shorter than its lease, so that no other replica meets it.
WORK_S = 15.0
# After a refusal: the payment service goes on by itself, and its event may come first.
REFUSED_AGAIN = datetime.timedelta(seconds=60)

_log = structlog.get_logger()


class DueStore(Protocol):
    """Open donations by the time at which the service looks at them."""

    async def claim_due(self, *, now: datetime.datetime, until: datetime.datetime, limit: int) -> list[Donation]:
        """Those whose time has come; nobody else gets them before `until`."""
        ...

    async def postpone(self, donation: Donation, *, until: datetime.datetime, waiting_for: str) -> None:
        """Looks at one later, unless it has changed meanwhile."""
        ...


class Sweeper:
    """Looks at open donations whose time has come. Any number may run: each donation is leased by one."""

    def __init__(
        self,
        *,
        store: DueStore,
        payments: Payments,
        readying: Readying,
        settlement: Settlement,
        clock: Clock,
        confirm_within: datetime.timedelta,
    ) -> None:
        self._store = store
        self._payments = payments
        self._readying = readying
        self._settlement = settlement
        self._clock = clock
        self._confirm_within = confirm_within

    async def run(self) -> None:
        """Sweeps until it is cancelled; at once again while there is more than one batch."""
        while True:
            try:
                found = await self.sweep()
            except (DependencyUnavailable, RequestInFlight) as error:
                _log.warning("sweeper waits", error=type(error).__name__)
                found = 0
            if found < BATCH:
                await asyncio.sleep(PERIOD_S)

    async def sweep(self) -> int:
        """Looks at what is due once; returns how many there were."""
        now = self._clock.now()
        donations = await self._store.claim_due(now=now, until=now + LOOK_AGAIN, limit=BATCH)
        # Each in a task of its own: it has its own call, and one that fails spoils no other.
        outcomes = await asyncio.gather(*map(self._look, donations), return_exceptions=True)
        _report(donations, outcomes)
        return len(donations)

    async def _look(self, donation: Donation) -> None:
        enter_call(own_call(subject="sweeper", identity=Identity(), deadline=time.monotonic() + WORK_S))
        looks = {Due.READY: self._finish, Due.END: self._end, Due.OTHERS: self._wait}
        await looks[due(donation, now=self._clock.now(), confirm_within=self._confirm_within)](donation)

    async def _finish(self, donation: Donation) -> None:
        """Makes the payment ready, as CreateDonation would have."""
        ready = await self._readying.make_ready(donation)
        if ready.refusal is None:
            return
        if ready.refusal.reason_number == error_pb2.ERROR_REASON_PAYMENT_ABANDONED:
            # Somebody called it off and died before he could say so.
            await self._end(donation)
            return
        await self._postpone(donation, LOOK_AGAIN, f"the payment is not ready: {ready.refusal.reason_name}")

    async def _end(self, donation: Donation) -> None:
        """Calls the payment off first, then ends the donation; a success that races wins."""
        try:
            word = await self._payments.abandon_payment(donation)
        except Refusal as refusal:
            if refusal.reason_number == error_pb2.ERROR_REASON_PAYMENT_STATE_CONFLICT:
                # It succeeded: asking for it brings what its event may be long in bringing.
                await self._finish(donation)
                return
            await self._postpone(donation, REFUSED_AGAIN, f"the payment is not called off yet: {refusal.reason_name}")
            return
        crashpoints.reach("donation.abandoned")
        try:
            await self._settlement.settle([Heard(word, current_call())])
        except WordRefused as problem:
            await self._postpone(donation, REFUSED_AGAIN, f"the payment contradicts the donation: it {problem}")

    async def _wait(self, donation: Donation) -> None:
        """Donor or captor still has time; somebody looked too early."""
        until = ends_at(donation, confirm_within=self._confirm_within)
        await self._store.postpone(donation, until=until, waiting_for=donation.waiting_for)

    async def _postpone(self, donation: Donation, delay: datetime.timedelta, waiting_for: str) -> None:
        await self._store.postpone(donation, until=self._clock.now() + delay, waiting_for=waiting_for)


def _report(donations: Sequence[Donation], outcomes: Sequence[BaseException | None]) -> None:
    for donation, outcome in zip(donations, outcomes, strict=True):
        if outcome is not None:
            _log.error("donation not looked at", donation_id=str(donation.id), exc_info=outcome)
