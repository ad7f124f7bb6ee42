"""Promises follow their payments: one way in for answers, events and the sweeper, so that none can contradict another."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from donation_svc import convert
from donation_svc.domain.donations import Donation
from donation_svc.domain.payments import PaymentWord, Step, WordRefused, follow
from donation_svc.service.charities import SOURCE
from donation_svc.store.promises import Change, PromiseStore
from mesh.clock import Clock
from mesh.errors import Refusal
from mesh.events.log import Cause, EventLog, NewEvent, new_event
from mesh.postgres import Connection, Database
from mesh.rpc.call import current_call

ACTOR = "payment"

_log = structlog.get_logger()


class Announce(Protocol):
    """Says that events of these donations were committed."""

    def __call__(self, donation_ids: Collection[UUID]) -> None: ...


@dataclass(frozen=True, slots=True)
class Heard:
    """A word, and the call or event that it came with."""

    word: PaymentWord
    cause: Cause | None


class Settlement:
    """Moves donations to where their payments stand."""

    def __init__(
        self,
        *,
        database: Database,
        promises: PromiseStore,
        log: EventLog,
        clock: Clock,
        confirm_within: datetime.timedelta,
        announce: Announce,
    ) -> None:
        self._database = database
        self._promises = promises
        self._log = log
        self._clock = clock
        self._confirm_within = confirm_within
        self._announce = announce

    async def settle(self, heard: Sequence[Heard]) -> dict[UUID, Donation]:
        """Applies words in one transaction, all or none; returns the donations after them.

        Raises:
            WordRefused: one of them contradicts its donation, or names none.
        """
        donations = await self._database.run(lambda connection: self._settle(connection, heard))
        self._announce(donations)
        return donations

    async def learn(self, donation: Donation, word: PaymentWord) -> Donation:
        """The donation after what an answer said of its payment; as it was where that cannot be noted now."""
        try:
            donations = await self.settle([Heard(word, current_call())])
        except WordRefused:
            _log.exception("a payment contradicts its donation", donation_id=str(donation.id))
            return donation
        except Refusal as refusal:
            # What happened has happened, and the payment's events will move the donation.
            _log.warning("payment not noted", donation_id=str(donation.id), reason=refusal.reason_name)
            return donation
        return donations[donation.id]

    async def _settle(self, connection: Connection, heard: Sequence[Heard]) -> dict[UUID, Donation]:
        donations = await self._promises.lock_many(connection, {item.word.donation_id for item in heard})
        changed: dict[UUID, Change] = {}
        events: list[NewEvent] = []
        for item in heard:
            after, steps = self._follow(donations.get(item.word.donation_id), item.word)
            if after is not donations[after.id]:
                donations[after.id] = after
                changed[after.id] = Change(after, item.cause.correlation_id if item.cause else "")
                events += [step_event(step, item.cause) for step in steps]
        if changed:
            await self._promises.update(connection, list(changed.values()), actor=ACTOR)
        if events:
            await self._log.append(connection, events)
        return donations

    def _follow(self, donation: Donation | None, word: PaymentWord) -> tuple[Donation, Sequence[Step]]:
        if donation is None:
            # A payment begins with its donation: there is none without one.
            raise WordRefused("no such donation")
        return follow(donation, word, now=self._clock.now(), confirm_within=self._confirm_within)


def step_event(step: Step, cause: Cause | None) -> NewEvent:
    """The announcement of a step."""
    return new_event(
        convert.step_message(step),
        source=SOURCE,
        subject=step.donation.id,
        version=step.donation.version,
        time=step.donation.update_time,
        cause=cause,
    )
