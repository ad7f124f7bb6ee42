"""The consumer loop: durable, exactly-once in effect, acknowledged last.

A batch of windows is applied in one transaction that also fences every event by its id; only then is it acknowledged. An
event that cannot be applied is isolated: the rest of its window is applied, it is tried again with back-off, and after a
bounded number of attempts it becomes a dead letter, kept with its reason until an operator decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

import protovalidate
import structlog
from giving.common.v1.event_pb2 import Event, EventWindow
from google.protobuf.message import DecodeError, Message
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from mesh import crashpoints, metrics
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, RequestInFlight
from mesh.events.pull import ConsumerGone, Puller
from mesh.events.stream import WINDOW_EVENTS_MAX, stream_name
from mesh.postgres import Database, fetch_one

BATCH_MESSAGES = 64
ATTEMPTS_MAX = 5
BACKOFF_S = (1.0, 2.0, 4.0, 8.0)
PAUSE_S = 0.5
IDLE_ROUNDS_BEFORE_PROBE = 5
HORIZON_DAYS = 400
_DEAD = 2
_EPOCH_DAY = datetime.date(1970, 1, 1)

_log = structlog.get_logger()
MessageT = TypeVar("MessageT", bound=Message)


class Handler(Protocol):
    """Applies events in one transaction, each id once for ever."""

    async def apply(self, events: Sequence[Event]) -> None:
        """Applies all of them or none; ids that were applied before change nothing.

        Raises:
            DependencyUnavailable, RequestInFlight: not now; all will be delivered again.
            Exception: one of them cannot be applied.
        """
        ...


class EventRefused(Exception):  # noqa: N818 - becomes a dead letter's reason
    """An event that breaks the contract; the text names no values."""


def data_of(event: Event, message: type[MessageT]) -> MessageT:
    """The event's data as the message that its type names, valid by its contract.

    Raises:
        EventRefused: it is not.
    """
    try:
        data = message.FromString(event.data)
    except DecodeError as error:
        raise EventRefused("its data is not what its type says") from error
    if protovalidate.collect_violations(data, fail_fast=True):
        raise EventRefused("its data breaks the contract")
    return data


def day_of(event: Event) -> datetime.date:
    """The day of the log's partition that holds the event."""
    return _EPOCH_DAY + datetime.timedelta(days=event.day)


def objection(event: Event, *, today: datetime.date) -> str:
    """Why the event must not be applied, whatever a handler would make of it; empty where it may."""
    if protovalidate.collect_violations(event, fail_fast=True):
        return "breaks the contract of events"
    # In days, because not every number is a date.
    age_days = (today - _EPOCH_DAY).days - event.day
    if age_days >= HORIZON_DAYS:
        return "older than the dedupe horizon"
    # Each day has a partition: an invented one must not make a table. Clocks may be a day apart.
    if age_days < -1:
        return "from the future"
    return ""


class Consumer:
    """One of possibly several consumers that share a durable name; each message goes to one of them."""

    def __init__(
        self,
        client: Client,
        database: Database,
        handler: Handler,
        *,
        queries: Mapping[str, str],
        service: str,
        durable: str,
        clock: Clock,
        backoff_s: Sequence[float] = BACKOFF_S,
    ) -> None:
        self._database = database
        self._handler = handler
        self._queries = queries
        self._durable = durable
        self._clock = clock
        self._backoff_s = backoff_s
        self._batch = BATCH_MESSAGES
        self._puller = Puller(client, stream=stream_name(service), durable=durable, batch=BATCH_MESSAGES)
        self._applied_until = clock.now()
        metrics.CONSUMER_LAG_SECONDS.labels(durable).set_function(self.lag_s)

    def lag_s(self) -> float:
        """Seconds since all that the stream held had been applied. It also grows while the broker does not answer."""
        return max(0.0, (self._clock.now() - self._applied_until).total_seconds())

    async def run(self) -> None:
        """Works until it is cancelled; what is in its hands then is delivered again."""
        try:
            while True:
                await self._attempt()
                await asyncio.sleep(PAUSE_S)
        finally:
            await self._puller.close()

    async def end(self) -> int:
        """Where the stream ends now.

        Raises:
            DependencyUnavailable: the broker does not answer, or has no such stream.
        """
        with _asking():
            return await self._puller.end()

    async def acknowledged(self, up_to: int) -> bool:
        """Whether this consumer and those who share its name are done with everything in the stream up to there.

        Raises:
            DependencyUnavailable: the broker does not answer, or has no such consumer.
        """
        with _asking():
            return await self._puller.acknowledged(up_to)

    async def apply(self, events: Sequence[Event]) -> None:
        """Applies events that no message brought, one by one; what cannot be applied is a dead letter at once.

        Raises:
            DependencyUnavailable, RequestInFlight: not now.
        """
        for event in events:
            reason = objection(event, today=self._clock.now().date())
            if reason:
                await self._record(event, reason, attempts_max=1)
            else:
                await self._try(event, attempts_max=1)

    async def _attempt(self) -> None:
        try:
            await self._puller.open()
            await self._work()
        except ConsumerGone:
            _log.info("waiting for the stream", consumer=self._durable)
        except (DependencyUnavailable, RequestInFlight, NatsError, TimeoutError) as error:
            _log.warning("consumer waits", consumer=self._durable, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a consumer that ends silently is worse than one that fails aloud
            _log.error("consumer failed", consumer=self._durable, exc_info=error)

    async def _work(self) -> None:
        idle = 0
        while True:
            messages = await self._puller.take()
            if messages:
                idle = 0
                newest = messages[-1].metadata
                metrics.CONSUMER_PENDING.labels(self._durable).set(newest.num_pending)
                asked = self._clock.now()
                await self._process(messages)
                self._applied_until = newest.timestamp if newest.num_pending else asked
                continue
            idle += 1
            if idle % IDLE_ROUNDS_BEFORE_PROBE == 1:
                # A consumer that vanished, or stands beyond the stream's end, looks like one without messages.
                asked, pending = self._clock.now(), await self._puller.probe()
                metrics.CONSUMER_PENDING.labels(self._durable).set(pending)
                if not pending:
                    self._applied_until = asked

    async def _process(self, messages: Sequence[Msg]) -> None:
        try:
            for first in range(0, len(messages), self._batch):
                await self._apply(messages[first : first + self._batch])
        except BaseException:
            # What took too long once is taken in smaller portions; too large a one would come back for ever.
            self._batch = max(1, self._batch // 2)
            # Also where we are cancelled: the next one need not wait until the acknowledgement is overdue.
            await _hand_back(messages)
            raise
        self._batch = min(BATCH_MESSAGES, self._batch * 2)

    async def _apply(self, messages: Sequence[Msg]) -> None:
        windows = [(message, await self._read(message)) for message in messages]
        try:
            if whole := [event for _, events in windows for event in events]:
                crashpoints.reach("consumer.applying")
                await self._handler.apply(whole)
                crashpoints.reach("consumer.applied")
        except (DependencyUnavailable, RequestInFlight):
            raise
        except Exception as error:  # noqa: BLE001 - one event among them cannot be applied
            _log.warning("isolating an event", consumer=self._durable, error=type(error).__name__)
            for message, events in windows:
                await self._isolate(message, events)
        else:
            await self._settle(windows)

    async def _settle(self, windows: Sequence[tuple[Msg, Sequence[Event]]]) -> None:
        again = [events for message, events in windows if message.metadata.num_delivered > 1]
        if again:
            await self._close_letters([event for events in again for event in events])
        for message, events in windows:
            await message.ack()
            metrics.CONSUMER_EVENTS.labels(self._durable, "applied").inc(len(events))

    async def _read(self, message: Msg) -> list[Event]:
        """The window's events less those that must not be applied; these are dead letters at once."""
        window = _window(message.data)
        if window is None:
            _log.error("a message is no window; skipped", consumer=self._durable, subject=message.subject)
            metrics.CONSUMER_EVENTS.labels(self._durable, "malformed").inc()
            return []
        events = []
        for event in window.events:
            reason = objection(event, today=self._clock.now().date())
            if reason:
                await self._record(event, reason, attempts_max=1)
            else:
                events.append(event)
        return events

    async def _isolate(self, message: Msg, events: Sequence[Event]) -> None:
        delays = []
        for event in events:
            await message.in_progress()
            delay = await self._try(event)
            if delay is not None:
                delays.append(delay)
        if delays:
            await message.nak(delay=max(delays))
        else:
            await message.ack()

    async def _try(self, event: Event, *, attempts_max: int = ATTEMPTS_MAX) -> float | None:
        """Applies one event; the delay after which it is tried again, or None when it is done with."""
        try:
            await self._handler.apply([event])
        except (DependencyUnavailable, RequestInFlight):
            raise
        except Exception as error:  # noqa: BLE001 - its class becomes the reason, its text stays in our logs
            _log.warning("event not applied", consumer=self._durable, event_id=str(UUID(bytes=event.id)), exc_info=error)
            reason = str(error) if isinstance(error, EventRefused) else type(error).__name__
            return await self._record(event, reason, attempts_max=attempts_max)
        metrics.CONSUMER_EVENTS.labels(self._durable, "applied").inc()
        await self._close_letters([event])
        return None

    async def _record(self, event: Event, reason: str, *, attempts_max: int) -> float | None:
        event_id = _id_of(event)
        async with self._database.connection() as connection:
            letter = await fetch_one(
                connection,
                self._queries["record_failure"],
                self._durable,
                event_id,
                event.SerializeToString(),
                reason,
                attempts_max,
            )
        if letter["state"] >= _DEAD:
            _log.error("dead letter", consumer=self._durable, event_id=str(event_id), reason=reason)
            metrics.CONSUMER_EVENTS.labels(self._durable, "dead").inc()
            return None
        attempts = int(letter["attempts"])
        return self._backoff_s[min(attempts, len(self._backoff_s)) - 1]

    async def _close_letters(self, events: Sequence[Event]) -> None:
        async with self._database.connection() as connection:
            ids = [UUID(bytes=event.id) for event in events]
            await connection.execute(self._queries["settle_failures"], self._durable, ids)


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except (ConsumerGone, NatsError, TimeoutError) as error:
        raise DependencyUnavailable("the broker does not answer", retry_after_s=1, dependency="nats") from error


def _window(data: bytes) -> EventWindow | None:
    """The window, unless it is none or holds more than a relay of ours would put into one."""
    try:
        window = EventWindow.FromString(data)
    except DecodeError:
        return None
    return window if len(window.events) <= WINDOW_EVENTS_MAX else None


def _id_of(event: Event) -> UUID:
    """The event's id; one made of its content where it has none, so that no letter takes another's place."""
    well_formed = len(event.id) == 16  # noqa: PLR2004 - bytes of a UUID
    return UUID(bytes=event.id if well_formed else hashlib.sha256(event.SerializeToString()).digest()[:16])


async def _hand_back(messages: Sequence[Msg]) -> None:
    """Lets what was not acknowledged come again soon; without a connection it comes when the acknowledgement is overdue."""
    with contextlib.suppress(NatsError):
        for message in messages:
            if not message.is_acked:
                await message.nak(delay=PAUSE_S)
