"""JetStream as transport: streams, windows of events, message ids. It may lose everything; the log is the truth."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from mesh.ids import shard_of
from mesh.tasks import cancel

WINDOW_EVENTS_MAX = 200
WINDOW_BYTES_MAX = 256 * 1024
# Long enough for a consumer that was away for a week; the log itself reaches further back.
STREAM_AGE_S = 14 * 24 * 3600
DUPLICATE_WINDOW_S = 120
PUBLISHES_PENDING_MAX = 256
# How many consumers JetStream lists at once.
CONSUMERS_PAGE = 256
RECONNECT_S = 0.2
# How long a start waits for the broker before it goes on without it.
CONNECT_S = 2.0
_EVENT_TAG = b"\x0a"  # field 1 of EventWindow, length-delimited
_TX_TAG, _EPOCH_TAG, _DAY_TAG = b"\x50", b"\x58", b"\x60"  # fields 10, 11, 12 of Event, varint

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of the log as the relay reads it."""

    seq: int
    tx: int
    epoch: int
    day: int
    bucket: int
    event_id: UUID
    payload: bytes


@dataclass(frozen=True, slots=True)
class StreamFace:
    """What tells a stream from another one, and from an older copy of itself. `last_id`: of the message at `last_seq`."""

    created: str
    last_seq: int
    last_id: str = ""

    def has_lost(self, known: StreamFace) -> bool:
        """Whether messages are missing that were in it when it looked like `known`."""
        return bool(known.created) and (self.created != known.created or self.last_seq < known.last_seq)


@dataclass(frozen=True, slots=True)
class Window:
    """A message to publish."""

    shard: int
    message_id: str
    data: bytes
    events: int


def stream_name(service: str) -> str:
    """The stream of a service's log, such as GIVING_DONATION."""
    return f"GIVING_{service.upper()}"


def subject(service: str, shard: int | str) -> str:
    """The subject of a shard."""
    return f"giving.{service}.v1.{shard}"


@asynccontextmanager
async def connect(url: str, *, name: str) -> AsyncIterator[Client]:
    """A connection that is sought for ever.

    It is the broker's absence that may not stop a service: where nobody answers at first, the client is handed out
    unconnected, and whoever uses it waits as after any other loss of the connection.
    """
    client = Client()

    async def log_disconnect() -> None:
        if not client.is_closed:
            _log.warning("nats is gone; reconnecting")

    connecting = asyncio.create_task(
        client.connect(
            url,
            name=name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_S,  # type: ignore[arg-type] # it takes fractions
            ping_interval=5,
            max_outstanding_pings=2,
            error_cb=_log_error,
            disconnected_cb=log_disconnect,
        )
    )
    try:
        await asyncio.wait({connecting}, timeout=CONNECT_S)
        yield client
    finally:
        await cancel(connecting)
        await client.close()


async def _log_error(error: Exception) -> None:
    _log.warning("nats", error=type(error).__name__)


async def ask(client: Client) -> None:
    """For health: whether JetStream answers.

    Never by `flush`: when the answer to its ping comes after nobody waits for it any more, nats-py stops reading, and
    notices only when its own pings have been overdue for long.

    Raises:
        ConnectionError, NatsError: it does not.
    """
    if not client.is_connected:
        raise ConnectionError("not connected")
    await client.jetstream().account_info()


async def make_stream(js: JetStreamContext, *, service: str, replicas: int) -> None:
    """Creates the stream of a service's log, or brings its configuration up to date."""
    config = StreamConfig(
        name=stream_name(service),
        subjects=[subject(service, "*")],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=STREAM_AGE_S,
        duplicate_window=DUPLICATE_WINDOW_S,
        num_replicas=replicas,
    )
    try:
        await js.update_stream(config)
    except NotFoundError:
        await js.add_stream(config)


def windows(rows: Iterable[LogRow], *, shards: int, suffix: str = "") -> Iterator[Window]:
    """Packs rows into windows of one shard each, in the order of the log; `suffix` ends their message ids."""
    by_shard: dict[int, list[tuple[UUID, bytes]]] = {}
    sizes: dict[int, int] = {}
    for row in rows:
        shard = shard_of(row.bucket, shards=shards)
        framed = _frame(row)
        waiting = by_shard.setdefault(shard, [])
        if waiting and (len(waiting) == WINDOW_EVENTS_MAX or sizes[shard] + len(framed) > WINDOW_BYTES_MAX):
            yield _window(shard, waiting, suffix)
            waiting = by_shard[shard] = []
        sizes[shard] = len(framed) + (sizes[shard] if waiting else 0)
        waiting.append((row.event_id, framed))
    for shard, waiting in by_shard.items():
        yield _window(shard, waiting, suffix)


def _window(shard: int, waiting: Sequence[tuple[UUID, bytes]], suffix: str) -> Window:
    message_id = _message_id([event_id for event_id, _ in waiting]) + suffix
    return Window(shard, message_id, b"".join(framed for _, framed in waiting), len(waiting))


def _message_id(event_ids: Sequence[UUID]) -> str:
    if len(event_ids) == 1:
        return str(event_ids[0])
    return hashlib.sha256(b"".join(event_id.bytes for event_id in event_ids)).hexdigest()


def _frame(row: LogRow) -> bytes:
    """The event as a field of its window. What only the log knows is appended: protobuf merges it into the message."""
    event = row.payload + _TX_TAG + _varint(row.tx) + _place(row.epoch, row.day)
    return _EVENT_TAG + _varint(len(event)) + event


@functools.lru_cache(maxsize=64)
def _place(epoch: int, day: int) -> bytes:
    return _EPOCH_TAG + _varint(epoch) + _DAY_TAG + _varint(day)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


async def stream_face(js: JetStreamContext, *, service: str) -> StreamFace:
    """The stream as it is now."""
    info = await js.stream_info(stream_name(service))
    return StreamFace(info.created.isoformat() if info.created else "", info.state.last_seq)


async def message_id_at(js: JetStreamContext, *, service: str, seq: int) -> str:
    """The id of the message at a sequence; empty where none is."""
    try:
        message = await js.get_msg(stream_name(service), seq)
    except NotFoundError:
        return ""
    return str((message.headers or {}).get("Nats-Msg-Id", ""))


async def ack_floors(js: JetStreamContext, *, service: str) -> dict[str, int]:
    """Up to where each durable consumer of the stream has acknowledged everything."""
    floors: dict[str, int] = {}
    offset = 0
    while True:
        page = await js.consumers_info(stream_name(service), offset)
        for info in page:
            if info.config.durable_name:
                floors[info.name] = info.ack_floor.stream_seq if info.ack_floor else 0
        offset += len(page)
        if len(page) < CONSUMERS_PAGE:
            return floors


async def remake_stream(js: JetStreamContext, *, service: str, replicas: int) -> None:
    """Begins the stream anew, with its consumers: their positions may lie beyond what an older copy holds."""
    with contextlib.suppress(NotFoundError):
        await js.delete_stream(stream_name(service))
    await make_stream(js, service=service, replicas=replicas)
