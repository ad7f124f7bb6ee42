"""The provider's webhooks: verified, stored, applied and announced in one transaction, or parked until they can be."""

from __future__ import annotations

import asyncio
import datetime
from typing import Protocol
from uuid import UUID

import structlog

from mesh import crashpoints
from mesh.errors import Refusal
from mesh.postgres import Connection
from mesh.rpc.call import current_call
from payment_svc import metrics
from payment_svc.domain.facts import Contradiction, IntentSeen
from payment_svc.domain.inbound import APPLIED, EventState, Place, ProviderEvent, WebhookRefused, broken, parked
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
        if place == APPLIED:
            metrics.WEBHOOK_EVENTS.labels("applied").inc()
        else:
            await self._settle(connection, event.event_id, place)
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
            return Place(EventState.QUARANTINED, str(contradiction))
        return APPLIED

    async def _payment_of(self, connection: Connection, event: ProviderEvent) -> Payment | None:
        """Only our own map from intent to payment is trusted.

        Metadata find a payment whose intent's id never reached us, and only for the intent itself, whose amount and currency
        are compared: a charge says nothing of the intent's id that could be.
        """
        payment = await self._desk.payments.lock_by_intent(connection, event.intent_id)
        donation_id = _uuid(event.donation_id)
        if payment is None and donation_id and isinstance(event.fact, IntentSeen):
            payment = await self._desk.payments.lock_unproven(connection, donation_id)
        return payment

    async def run(self) -> None:
        """Looks again at what is parked, until it is cancelled."""
        while True:
            while await self._look():
                self._desk.wake()
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> bool:
        """Looks at one parked event that is due; False where there is none. One that fails stands in no other's way."""
        try:
            return await self._desk.database.run(self._look_again)
        except _LookFailed as failed:
            waiting, cause = failed.waiting, failed.__cause__
            _log.error("a parked webhook cannot be applied", event_id=waiting.event_id, exc_info=cause)
            place = broken(attempts=waiting.attempts + 1, why=type(cause).__name__, now=self._desk.clock.now())
            await self._desk.database.run(lambda connection: self._settle(connection, waiting.event_id, place))
            return True

    async def _look_again(self, connection: Connection) -> bool:
        waiting = await self._inbox.next_parked(connection, now=self._desk.clock.now())
        if waiting is None:
            return False
        try:
            place = await self._place_now(connection, waiting)
        except Refusal:
            raise
        except Exception as error:
            raise _LookFailed(waiting) from error
        await self._settle(connection, waiting.event_id, place)
        return True

    async def _settle(self, connection: Connection, event_id: str, place: Place) -> None:
        if place.state is EventState.QUARANTINED:
            _log.error("webhook kept apart for an operator", event_id=event_id, reason=place.reason)
        metrics.WEBHOOK_EVENTS.labels(place.state.name.lower()).inc()
        await self._inbox.settle(connection, event_id, place, now=self._desk.clock.now())

    async def _place_now(self, connection: Connection, waiting: Parked) -> Place:
        try:
            event = self._reader.read_stored(waiting.body)
        except WebhookRefused as error:
            return Place(EventState.QUARANTINED, str(error))
        return await self._apply(connection, event, attempts=waiting.attempts + 1, since=waiting.create_time)


class _LookFailed(Exception):  # noqa: N818 - named for the fact
    """Something broke over a parked webhook; the transaction is undone."""

    def __init__(self, waiting: Parked) -> None:
        super().__init__(waiting.event_id)
        self.waiting = waiting


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
