"""Dead letters: what a consumer could not apply, until an operator decides."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from giving.common.v1 import dead_letter_service_pb2 as messages
from giving.common.v1 import error_pb2
from giving.common.v1.event_pb2 import Event

from mesh import pages
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, Refusal, RequestInFlight
from mesh.events.consumer import EventRefused, Handler, objection
from mesh.fence import Fence, make_fence
from mesh.postgres import Database
from mesh.rpc.call import mark_replayed

_ATTEMPTS_UNBOUNDED = 2**31 - 1  # a letter that is dead stays dead, however often it is tried
_log = structlog.get_logger()


class LetterState(enum.IntEnum):
    """Numbers of the contract."""

    RETRYING = 1
    DEAD = 2
    REPLAYED = 3
    DISCARDED = 4


class DeadLetterNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_DEAD_LETTER_NOT_FOUND


class DeadLetters:
    """The letters of a service's consumers, each with the handler that applies its events."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        *,
        queries: Mapping[str, str],
        tokens: pages.PageTokens,
        clock: Clock,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._queries = queries
        self._tokens = tokens
        self._clock = clock

    async def list_dead_letters(self, request: messages.ListDeadLettersRequest) -> tuple[list[messages.DeadLetter], str]:
        """A page of letters that wait for an operator, oldest first, and the token of the next one.

        Raises:
            PageTokenInvalid: the token was not made for this list.
        """
        state = request.state or LetterState.DEAD
        name = f"dead letters {request.consumer} {state}"
        size = pages.page_size(request.page_size)
        after = self._tokens.read(request.page_token, list_name=name, start=pages.FIRST)
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._queries["list_dead_letters"], request.consumer, after, size + 1, state)
        token = self._tokens.make(rows[size - 1]["event_id"], list_name=name) if len(rows) > size else ""
        return [_message(row) for row in rows[:size]], token

    async def replay_dead_letter(self, request: messages.ReplayDeadLetterRequest) -> messages.DeadLetter:
        """Applies a dead letter's event and closes the letter; one that is not dead is answered as it stands.

        Where the event still cannot be applied, the letter stays dead with the new reason and one attempt more. A dry run
        answers the letter as it stands: only one that is dead would be applied.

        Raises:
            DeadLetterNotFound: there is none, or its consumer does not live here.
            DependencyUnavailable, RequestInFlight: not now.
        """
        fence = make_fence(request, method="ReplayDeadLetter", key_field="request_id", tenant_id="")
        letter = await self._decided(fence) or await self._get(request.consumer, request.event_id)
        handler = self._handlers.get(request.consumer)
        if handler is None:
            raise DeadLetterNotFound("no such dead letter", event_id=request.event_id)
        if letter["state"] != LetterState.DEAD or request.dry_run:
            return _as_it_stands(letter)
        problem = await self._apply(handler, letter["event"])
        if problem:
            return await self._stays_dead(letter, problem)
        # It has been applied: that is the truth also where somebody gave it up meanwhile.
        return await self._close(request, fence, LetterState.REPLAYED, among=(LetterState.DEAD, LetterState.DISCARDED))

    async def discard_dead_letter(self, request: messages.DiscardDeadLetterRequest) -> messages.DeadLetter:
        """Gives a dead letter up; one that is not dead is answered as it stands, as is any by a dry run.

        Raises:
            DeadLetterNotFound: there is none.
        """
        fence = make_fence(request, method="DiscardDeadLetter", key_field="request_id", tenant_id="")
        letter = await self._decided(fence) or await self._get(request.consumer, request.event_id)
        if letter["state"] != LetterState.DEAD or request.dry_run:
            return _as_it_stands(letter)
        return await self._close(request, fence, LetterState.DISCARDED, among=(LetterState.DEAD,))

    async def _decided(self, fence: Fence) -> Any:
        """The letter whose fate an earlier call with this key decided; None where there is none.

        Raises:
            IdempotencyKeyReused: that call had another content.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["dead_letter_by_request"], fence.key)
        if row is not None:
            fence.demand_same(row["request_digest"])
        return row

    async def _get(self, consumer: str, event_id: str) -> Any:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._queries["get_dead_letter"], consumer, UUID(event_id))
        if row is None:
            raise DeadLetterNotFound("no such dead letter", event_id=event_id)
        return row

    async def _apply(self, handler: Handler, data: bytes) -> str:
        """Applies the event; why it could not be, or nothing."""
        event = Event.FromString(data)
        # An operator must not count twice what the fence has forgotten.
        problem = objection(event, today=self._clock.now().date())
        if problem:
            return problem
        try:
            await handler.apply([event])
        except (DependencyUnavailable, RequestInFlight):
            raise
        except Exception as error:  # noqa: BLE001 - its class becomes the reason, its text stays in our logs
            _log.warning("dead letter not applied", event_id=str(UUID(bytes=event.id)), exc_info=error)
            return str(error) if isinstance(error, EventRefused) else type(error).__name__
        return ""

    async def _stays_dead(self, letter: Any, reason: str) -> messages.DeadLetter:
        async with self._database.connection() as connection:
            await connection.execute(
                self._queries["record_failure"],
                letter["consumer"],
                letter["event_id"],
                letter["event"],
                reason,
                _ATTEMPTS_UNBOUNDED,
            )
        return _message(await self._get(letter["consumer"], str(letter["event_id"])))

    async def _close(
        self,
        request: messages.ReplayDeadLetterRequest | messages.DiscardDeadLetterRequest,
        fence: Fence,
        state: LetterState,
        *,
        among: tuple[LetterState, ...],
    ) -> messages.DeadLetter:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                self._queries["close_dead_letter"],
                request.consumer,
                UUID(request.event_id),
                state,
                request.reason,
                among,
                fence.caller,
                fence.correlation_id,
                fence.key,
                fence.digest,
            )
        if row is None:
            return _as_it_stands(await self._get(request.consumer, request.event_id))
        _log.info(
            "dead letter closed",
            consumer=request.consumer,
            event_id=request.event_id,
            state=state.name,
            actor=fence.caller,
        )
        return _message(row)


def _as_it_stands(letter: Any) -> messages.DeadLetter:
    mark_replayed(replayed=letter["state"] in (LetterState.REPLAYED, LetterState.DISCARDED))
    return _message(letter)


def _message(row: Any) -> messages.DeadLetter:
    letter = messages.DeadLetter(
        consumer=row["consumer"],
        event=Event.FromString(row["event"]),
        state=messages.DeadLetter.State.ValueType(row["state"]),
        reason=row["reason"],
        attempts=row["attempts"],
        operator_reason=row["operator_reason"],
        actor=row["actor"],
    )
    letter.create_time.FromDatetime(row["create_time"])
    letter.update_time.FromDatetime(row["update_time"])
    return letter
