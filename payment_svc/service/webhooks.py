"""The provider's webhooks: verified, stored, applied and announced in one transaction, or parked until they can be."""

from __future__ import annotations

import asyncio
import datetime
from typing import Protocol
from uuid import UUID

import structlog

from mesh import crashpoints
from mesh.postgres import Connection
from mesh.rpc.call import current_call
from payment_svc.domain.facts import Contradiction
from payment_svc.domain.inbound import APPLIED, EventState, Place, ProviderEvent, WebhookRefused, parked
from payment_svc.domain.payments import Payment
from payment_svc.refusals import WebhookUnverified
from payment_svc.service.changes import Desk
from payment_svc.store.inbox import Inbox, Parked

ACTOR = "stripe"
_LOOK_S = 0.25
_log = structlog.get_logger()


class WebhookReader(Protocol):
    """The provider's side of a webhook."""

    def read_webhook(self, body: bytes, signature: str) -> ProviderEvent:
        """The event, when the provider signed these very bytes just now.

        Raises:
            WebhookRefused: it does not prove its sender.
        """
        ...

    def read_stored(self, body: bytes) -> ProviderEvent:
        """The event in a body that was verified when it came.

        Raises:
            WebhookRefused: it is no event.
        """
        ...


class Webhooks:
    """Inbound events of the provider."""

    def __init__(self, desk: Desk, *, reader: WebhookReader, inbox: Inbox) -> None:
        self._desk = desk
        self._reader = reader
        self._inbox = inbox

    async def handle(self, body: bytes, signature: str) -> None:
        """Returns when the event is durable; a repeat changes nothing.

        Raises:
            WebhookUnverified: nothing proves its sender; nothing was written.
        """
        try:
            event = self._reader.read_webhook(body, signature)
        except WebhookRefused as error:
            _log.warning("webhook refused", reason=str(error))
            raise WebhookUnverified("this webhook does not prove its sender") from error
        await self._desk.database.run(lambda connection: self._take(connection, event, body, signature))
        crashpoints.reach("webhook.committed")
        self._desk.wake()

    async def _take(self, connection: Connection, event: ProviderEvent, body: bytes, signature: str) -> None:
        now = self._desk.clock.now()
        # Its place is taken first, so that a second delivery waits here for the outcome of this one.
        if not await self._inbox.insert(connection, event, APPLIED, body=body, signature=signature, now=now):
            return
        place = await self._apply(connection, event, attempts=1, since=now)
        if place != APPLIED:
            await self._inbox.settle(connection, event.event_id, place, now=now)
        crashpoints.reach("webhook.applied")

    async def _apply(
        self, connection: Connection, event: ProviderEvent, *, attempts: int, since: datetime.datetime
    ) -> Place:
        if event.foreign:
            return Place(EventState.APPLIED, "of another account")
        if event.flaw:
            return Place(EventState.QUARANTINED, event.flaw)
        if event.fact is None:
            return APPLIED
        payment = await self._payment_of(connection, event)
        if payment is None:
            return parked(attempts=attempts, since=since, now=self._desk.clock.now())
        call = current_call()
        try:
            await self._desk.changes.apply(
                connection,
                payment,
                [event.fact],
                actor=ACTOR,
                correlation_id=call.correlation_id if call else event.event_id,
            )
        except Contradiction as contradiction:
            _log.error("webhook contradicts our books", event_id=event.event_id, reason=str(contradiction))
            return Place(EventState.QUARANTINED, str(contradiction))
        return APPLIED

    async def _payment_of(self, connection: Connection, event: ProviderEvent) -> Payment | None:
        """Only our own map from intent to payment is trusted; metadata find one whose intent's id never reached us."""
        payment = await self._desk.payments.lock_by_intent(connection, event.intent_id)
        donation_id = _uuid(event.donation_id)
        if payment is None and donation_id:
            payment = await self._desk.payments.lock_unproven(connection, donation_id)
        return payment

    async def run(self) -> None:
        """Looks again at what is parked, until it is cancelled."""
        while True:
            while await self._desk.database.run(self._look_again):
                self._desk.wake()
            await asyncio.sleep(_LOOK_S)

    async def _look_again(self, connection: Connection) -> bool:
        """Looks at one parked event that is due; False where there is none."""
        now = self._desk.clock.now()
        waiting = await self._inbox.next_parked(connection, now=now)
        if waiting is None:
            return False
        await self._inbox.settle(connection, waiting.event_id, await self._place_now(connection, waiting), now=now)
        return True

    async def _place_now(self, connection: Connection, waiting: Parked) -> Place:
        try:
            event = self._reader.read_stored(waiting.body)
        except WebhookRefused as error:
            return Place(EventState.QUARANTINED, str(error))
        return await self._apply(connection, event, attempts=waiting.attempts + 1, since=waiting.create_time)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
