"""The provider's webhooks: verified, stored, applied and announced in one transaction, or parked until they can be."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Collection
from typing import NoReturn, Protocol
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
from payment_svc.store.inbox import Inbox, Unapplied

ACTOR = "stripe"
# Locks one event that is to be looked at; None where there is none.
Choose = Callable[[Connection], Awaitable[Unapplied | None]]
_LOOK_S = 0.25
_UNAPPLIED = tuple(state for state in EventState if state is not EventState.APPLIED)
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
    """Inbound events of the provider. `types`: those that are counted by name."""

    def __init__(self, desk: Desk, *, reader: WebhookReader, inbox: Inbox, types: Collection[str] = ()) -> None:
        self._desk = desk
        self._reader = reader
        self._inbox = inbox
        self._types = frozenset(types)

    async def handle(self, body: bytes, signature: str) -> None:
        """Returns when the event is durable; a repeat changes nothing.

        Raises:
            WebhookUnverified: nothing proves its sender; nothing was written.
        """
        try:
            event = self._reader.read_webhook(body, signature)
        except WebhookRefused as error:
            _log.warning("webhook refused", reason=str(error))
            self._count("", "refused")
            raise WebhookUnverified("this webhook does not prove its sender") from error
        place = await self._desk.database.run(lambda connection: self._take(connection, event, body, signature))
        crashpoints.reach("webhook.committed")
        self._report(event.event_id, event.type, place)
        self._desk.wake()

    async def known(self, event_ids: Collection[str]) -> set[str]:
        """Which of these came before."""
        async with self._desk.database.connection() as connection:
            return await self._inbox.known(connection, event_ids)

    async def take_polled(self, body: bytes) -> None:
        """Takes an event that we asked for as if it had been delivered; one that is known changes nothing.

        One that is no event is logged; one that cannot be applied is looked at again, and stands in no other's way.
        """
        try:
            event = self._reader.read_stored(body)
        except WebhookRefused as error:
            _log.error("the provider lists what is no event of ours", reason=str(error))
            return
        try:
            place = await self._desk.database.run(lambda connection: self._take(connection, event, body))
        except Refusal:
            raise
        except Exception as error:  # noqa: BLE001 - its class becomes the reason, its text stays in our logs
            place = self._broken(event.event_id, error, attempts=1)
            await self._desk.database.run(lambda connection: self._insert(connection, event, place, body))
        self._report(event.event_id, event.type, place)
        self._desk.wake()

    async def _take(self, connection: Connection, event: ProviderEvent, body: bytes, signature: str = "") -> Place | None:
        """Where the event stands; None where it came before."""
        # Its place is taken first, so that a second delivery waits here for the outcome of this one.
        if not await self._insert(connection, event, APPLIED, body, signature):
            return None
        place = await self._apply(connection, event, attempts=1, since=self._desk.clock.now())
        if place != APPLIED:
            await self._settle(connection, event.event_id, place, attempts=1)
        crashpoints.reach("webhook.applied")
        return place

    async def _insert(
        self, connection: Connection, event: ProviderEvent, place: Place, body: bytes, signature: str = ""
    ) -> bool:
        now = self._desk.clock.now()
        return await self._inbox.insert(connection, event, place, body=body, signature=signature, now=now)

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
            while await self.look(lambda connection: self._inbox.next_parked(connection, now=self._desk.clock.now())):
                pass
            await asyncio.sleep(_LOOK_S)

    async def look(self, choose: Choose) -> bool:
        """Looks again at one event; False where there is none. One that fails stands in no other's way."""
        try:
            looked = await self._desk.database.run(lambda connection: self._look(connection, choose))
            if looked is None:
                return False
        except _LookFailed as failed:
            looked = await self._keep_broken(failed)
        if looked:
            event, place = looked
            self._report(event.event_id, event.type, place)
            self._desk.wake()
        return True

    async def foresee(self, choose: Choose) -> Place | None:
        """Where an event would stand after a look; nothing of it is committed. None where there is no event."""
        try:
            await self._desk.database.run(lambda connection: self._foresee(connection, choose))
        except _Foreseen as foreseen:
            return foreseen.place
        except _LookFailed as failed:
            return self._broken_again(failed)

    async def _foresee(self, connection: Connection, choose: Choose) -> NoReturn:
        looked = await self._look(connection, choose)
        raise _Foreseen(looked[1] if looked else None)

    async def _look(self, connection: Connection, choose: Choose) -> tuple[Unapplied, Place] | None:
        event = await choose(connection)
        if event is None:
            return None
        try:
            place = await self._place_now(connection, event)
        except Refusal:
            raise
        except Exception as error:
            raise _LookFailed(event) from error
        await self._settle(connection, event.event_id, place, attempts=event.attempts + 1)
        return event, place

    async def _settle(self, connection: Connection, event_id: str, place: Place, *, attempts: int) -> None:
        await self._inbox.settle(connection, event_id, place, attempts=attempts, now=self._desk.clock.now())

    async def _keep_broken(self, failed: _LookFailed) -> tuple[Unapplied, Place] | None:
        event, place = failed.event, self._broken_again(failed)
        kept = await self._desk.database.run(lambda connection: self._settle_unless_seen(connection, event, place))
        return (event, place) if kept else None

    async def _settle_unless_seen(self, connection: Connection, event: Unapplied, place: Place) -> bool:
        """Between the two transactions somebody else may have looked, with more luck."""
        now = await self._inbox.lock(connection, event.event_id, states=_UNAPPLIED)
        if now is None or now.attempts != event.attempts:
            return False
        await self._settle(connection, event.event_id, place, attempts=event.attempts + 1)
        return True

    def _broken_again(self, failed: _LookFailed) -> Place:
        return self._broken(failed.event.event_id, failed.__cause__, attempts=failed.event.attempts + 1)

    def _broken(self, event_id: str, error: BaseException | None, *, attempts: int) -> Place:
        _log.error("a webhook cannot be applied", event_id=event_id, exc_info=error)
        return broken(attempts=attempts, why=type(error).__name__, now=self._desk.clock.now())

    def _report(self, event_id: str, event_type: str, place: Place | None) -> None:
        """Says where an event stands, once that is committed; None: it came before."""
        self._count(event_type, place.state.name.lower() if place else "repeated")
        if place and place.state is EventState.QUARANTINED:
            _log.error("webhook kept apart for an operator", event_id=event_id, reason=place.reason)

    def _count(self, event_type: str, result: str) -> None:
        # Anybody may invent a type, and each would be a time series of its own.
        metrics.WEBHOOK_EVENTS.labels(event_type if event_type in self._types else "other", result).inc()

    async def _place_now(self, connection: Connection, event: Unapplied) -> Place:
        # The body is read anew: what an older version could not follow, this one may.
        try:
            read = self._reader.read_stored(event.body)
        except WebhookRefused as error:
            return Place(EventState.QUARANTINED, str(error))
        return await self._apply(connection, read, attempts=event.attempts + 1, since=event.create_time)


class _LookFailed(Exception):  # noqa: N818 - named for the fact
    """Something broke over an event; the transaction is undone."""

    def __init__(self, event: Unapplied) -> None:
        super().__init__(event.event_id)
        self.event = event


class _Foreseen(Exception):  # noqa: N818 - named for the fact
    """What would have become of an event; the transaction is undone."""

    def __init__(self, place: Place | None) -> None:
        super().__init__()
        self.place = place


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
