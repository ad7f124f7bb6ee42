"""What operators do about the provider's inbound events: list, read, replay, give up."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
from giving.payment.v1 import payment_operations_service_pb2 as messages

from mesh import pages
from mesh.errors import InvalidArgument, RequestInFlight
from mesh.fence import Fence, make_fence
from mesh.postgres import Connection
from payment_svc import convert, metrics
from payment_svc.domain.inbound import EventState, Place, StoredEvent
from payment_svc.refusals import ProviderEventNotFound, ProviderEventStateConflict
from payment_svc.service.changes import Desk
from payment_svc.service.webhooks import Choose, Webhooks
from payment_svc.store.commands import Command, CommandStore
from payment_svc.store.inbound_events import InboundEvents
from payment_svc.store.inbox import Inbox

# As many as fit one call's time and one answer.
REPLAYED_MAX = 1000
_COUNT_AGAIN_S = 15.0
_WAITING = (EventState.PARKED, EventState.QUARANTINED)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Replay:
    """Events as they stand after they were applied again. `more`: others match; `replayed`: an earlier call began it."""

    events: Sequence[StoredEvent]
    more: bool
    replayed: bool = False


class InboundOperations:
    """The operators' side of inbound events."""

    def __init__(
        self,
        desk: Desk,
        *,
        webhooks: Webhooks,
        inbox: Inbox,
        events: InboundEvents,
        commands: CommandStore,
        tokens: pages.PageTokens,
    ) -> None:
        self._desk = desk
        self._webhooks = webhooks
        self._inbox = inbox
        self._events = events
        self._commands = commands
        self._tokens = tokens

    async def run(self) -> None:
        """Measures what waits, until it is cancelled."""
        while True:
            await self.measure()
            await asyncio.sleep(_COUNT_AGAIN_S)

    async def measure(self) -> None:
        """Shows how many events are parked, and how many quarantined."""
        for state, count in (await self._events.count_waiting()).items():
            metrics.WEBHOOK_EVENTS_WAITING.labels(state.name.lower()).set(count)

    async def list_provider_events(self, request: messages.ListProviderEventsRequest) -> tuple[list[StoredEvent], str]:
        """A page of events, newest first, and the token of the next.

        Raises:
            PageTokenInvalid: the token is foreign.
        """
        state = EventState(request.state) if request.state else None
        list_name = f"provider events {request.state}"
        size = pages.page_size(request.page_size)
        before = self._tokens.read_at(request.page_token, list_name=list_name, start=pages.LATEST)
        found = await self._events.page(state, before=before, limit=size + 1)
        if len(found) <= size:
            return found, ""
        last = found[size - 1]
        return found[:size], self._tokens.make_at(pages.Position(last.create_time, last.event_id), list_name=list_name)

    async def get_provider_event(self, event_id: str) -> tuple[StoredEvent, bytes]:
        """An event with its body as it came, empty where our key does not open it.

        Raises:
            ProviderEventNotFound: there is none.
        """
        found = await self._events.get(event_id)
        if found is None:
            raise ProviderEventNotFound("no such event", event_id=event_id)
        return found

    async def skip_provider_event(self, request: messages.SkipProviderEventRequest) -> tuple[StoredEvent, bool]:
        """The event, given up, and whether an earlier call had done so.

        Raises:
            ProviderEventNotFound: there is none.
            ProviderEventStateConflict: it is applied.
            IdempotencyKeyReused: the request id was used for other content.
        """
        fence = make_fence(request, method="SkipProviderEvent", key_field="request_id", tenant_id="")
        return await self._desk.database.run(lambda connection: self._skip(connection, request, fence))

    async def _skip(
        self, connection: Connection, request: messages.SkipProviderEventRequest, fence: Fence
    ) -> tuple[StoredEvent, bool]:
        event = await self._events.lock(connection, request.event_id)
        if event is None:
            raise ProviderEventNotFound("no such event", event_id=request.event_id)
        now, command = self._desk.clock.now(), Command("SkipProviderEvent", request.event_id, request.reason)
        if not request.dry_run and not await self._commands.is_new(connection, command, fence, now=now):
            return event, True
        if event.place.state is EventState.SKIPPED:
            return event, True
        if event.place.state is EventState.APPLIED:
            raise ProviderEventStateConflict(
                "its effect is in the books", event_id=event.event_id, state=event.place.state.name
            )
        if not request.dry_run:
            await self._events.skip(connection, event.event_id, fence, reason=request.reason, now=now)
        decided = replace(event, operator_reason=request.reason, actor=fence.caller, update_time=now)
        return replace(decided, place=Place(EventState.SKIPPED)), False

    async def replay_provider_events(self, request: messages.ReplayProviderEventsRequest) -> Replay:
        """Applies events again, oldest first, each in a transaction of its own; a dry run says what would come of each.

        Raises:
            InvalidArgument: ids together with a type or a time.
            IdempotencyKeyReused: the request id was used for other content.
            DependencyUnavailable: the database went away; a repeat goes on.
        """
        _demand_one_choice(request)
        fence = make_fence(request, method="ReplayProviderEvents", key_field="request_id", tenant_id="")
        # What was given up is taken up again by its id only.
        states = (*_WAITING, EventState.SKIPPED) if request.event_ids else _WAITING
        if request.dry_run:
            chosen = await self._desk.database.run(lambda connection: self._chosen(connection, request))
            return replace(chosen, events=[await self._foreseen(event, request, fence, states) for event in chosen.events])
        chosen = await self._desk.database.run(lambda connection: self._commanded(connection, request, fence))
        for event in chosen.events:
            await self._replay(event, states)
        event_ids = [event.event_id for event in chosen.events]
        async with self._desk.database.connection() as connection:
            return replace(chosen, events=await self._events.named(connection, event_ids))

    async def _commanded(
        self, connection: Connection, request: messages.ReplayProviderEventsRequest, fence: Fence
    ) -> Replay:
        """Records the command together with the events that it is about: a repeat finds the same ones."""
        now = self._desk.clock.now()
        subject = request.event_ids[0] if len(request.event_ids) == 1 else ""
        command = Command("ReplayProviderEvents", subject, request.reason)
        is_new = await self._commands.is_new(connection, command, fence, now=now)
        chosen = replace(await self._chosen(connection, request), replayed=not is_new)
        if is_new:
            event_ids = [event.event_id for event in chosen.events]
            await self._events.stamp(connection, event_ids, fence, reason=request.reason, now=now)
        elif not request.event_ids:
            earlier = await self._events.of_command(connection, fence.key)
            others = {event.event_id for event in chosen.events} - {event.event_id for event in earlier}
            chosen = replace(chosen, events=earlier, more=chosen.more or bool(others))
        return chosen

    async def _chosen(self, connection: Connection, request: messages.ReplayProviderEventsRequest) -> Replay:
        if request.event_ids:
            return Replay(await self._events.named(connection, request.event_ids), more=False)
        found = await self._events.waiting(
            connection,
            event_type=request.type,
            since=convert.optional_time(request, "start_time"),
            until=convert.optional_time(request, "end_time"),
            limit=REPLAYED_MAX + 1,
        )
        return Replay(found[:REPLAYED_MAX], more=len(found) > REPLAYED_MAX)

    async def _replay(self, event: StoredEvent, states: Collection[EventState]) -> None:
        if event.place.state in states:
            with _unless_taken(event):
                await self._webhooks.look(self._choosing(event, states))

    async def _foreseen(
        self,
        event: StoredEvent,
        request: messages.ReplayProviderEventsRequest,
        fence: Fence,
        states: Collection[EventState],
    ) -> StoredEvent:
        place = None
        if event.place.state in states:
            with _unless_taken(event):
                place = await self._webhooks.foresee(self._choosing(event, states))
        if place is None:
            return event
        decided = replace(event, operator_reason=request.reason, actor=fence.caller, update_time=self._desk.clock.now())
        return replace(decided, place=place, attempts=event.attempts + 1)

    def _choosing(self, event: StoredEvent, states: Collection[EventState]) -> Choose:
        return lambda connection: self._inbox.lock(connection, event.event_id, states=states)


@contextmanager
def _unless_taken(event: StoredEvent) -> Iterator[None]:
    """Passes over an event that somebody else is at: it stands as he leaves it, and the others wait for nothing."""
    try:
        yield
    except RequestInFlight:
        _log.warning("an event is not replayed now", event_id=event.event_id)


def _demand_one_choice(request: messages.ReplayProviderEventsRequest) -> None:
    by_range = request.type or request.HasField("start_time") or request.HasField("end_time")
    if request.event_ids and by_range:
        raise InvalidArgument.of("event_ids", "stand alone, without a type and without times")
