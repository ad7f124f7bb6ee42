"""A service's stream as its relay knows it: publishes to it, and notices what it has lost."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import PubAck

from mesh.events.stream import (
    PUBLISHES_PENDING_MAX,
    StreamFace,
    Window,
    ack_floors,
    make_stream,
    message_id_at,
    remake_stream,
    stream_face,
    subject,
)


class StreamLost(Exception):  # noqa: N818 - healed at the next attempt
    """The stream is not the one that it was."""


class Loss(enum.Enum):
    """What the stream lacks."""

    NOTHING = enum.auto()
    # Messages that some consumer may not have seen.
    MESSAGES = enum.auto()
    # What lies before it, for a consumer that nobody has seen before.
    HISTORY = enum.auto()


@dataclass(frozen=True, slots=True)
class Memory:
    """The stream as the relay's row has it: `floors` by consumer; `whole`: it was never healed from a checkpoint alone."""

    face: StreamFace
    floors: Mapping[str, int]
    whole: bool
    heals: int

    @classmethod
    def of(cls, row: Any) -> Memory:
        """The memory that a row of `take_lease` holds."""
        face = StreamFace(row["stream_created"], row["stream_seq"], row["stream_last_id"])
        return cls(face, json.loads(row["floors"]), row["stream_whole"], row["heals"])

    def columns(self) -> tuple[str, int, str, str, bool, int]:
        """As `store_position` takes it."""
        face = self.face
        return face.created, face.last_seq, face.last_id, json.dumps(dict(self.floors)), self.whole, self.heals

    def floor(self) -> int:
        """Up to where every consumer that was ever seen has acknowledged."""
        return min(self.floors.values(), default=0)


class Transport:
    """The stream of one service, as one relay sees it."""

    def __init__(self, js: JetStreamContext, *, service: str, replicas: int, publish_timeout_s: float) -> None:
        self._js = js
        self._service = service
        self._replicas = replicas
        self._publish_timeout_s = publish_timeout_s
        self._end = StreamFace("", 0)
        self._survived: int | None = None
        self.memory = Memory(self._end, {}, whole=True, heals=0)

    async def make(self) -> None:
        """Makes the stream where there is none."""
        await make_stream(self._js, service=self._service, replicas=self._replicas)

    async def look(self) -> Loss:
        """What the stream has lost since it was remembered; where that is nothing, remembers how far consumers are."""
        known, self._survived = self.memory, None
        face = await stream_face(self._js, service=self._service)
        if known.face.created == face.created:
            self._survived = face.last_seq
        if face.has_lost(known.face) or await self._has_another_past(known.face):
            return Loss.MESSAGES
        seen = await ack_floors(self._js, service=self._service)
        if not known.whole and seen.keys() - known.floors.keys():
            return Loss.HISTORY
        self.memory = replace(known, floors={**known.floors, **seen})
        return Loss.NOTHING

    async def _has_another_past(self, known: StreamFace) -> bool:
        """Whether another message stands where the last one stood: rewound, and grown past it since."""
        if not known.last_id:
            return False
        return await message_id_at(self._js, service=self._service, seq=known.last_seq) != known.last_id

    def safe_seq(self) -> int:
        """Up to where nobody can miss anything of a stream that lost messages: it was acknowledged, and survived."""
        floor = self.memory.floor()
        return floor if self._survived is None else min(floor, self._survived)

    async def begin_anew(self) -> str:
        """Deletes the stream with its consumers and makes it again; the suffix for what is published to heal it.

        What is remembered stays the old stream until it is replaced, so that a crash in between begins again.
        """
        await remake_stream(self._js, service=self._service, replicas=self._replicas)
        self._end = StreamFace("", 0)
        self.memory = replace(self.memory, heals=self.memory.heals + 1)
        return str(self.memory.heals)

    async def know_healed(self, *, whole: bool) -> None:
        """Remembers the new stream in the old one's place; its consumers have acknowledged nothing of it."""
        await self.know_face()
        self.memory = replace(self.memory, whole=whole, floors=dict.fromkeys(self.memory.floors, 0))

    async def know_face(self) -> None:
        """Remembers the stream as it ends now."""
        face = await stream_face(self._js, service=self._service)
        last_id = await message_id_at(self._js, service=self._service, seq=face.last_seq) if face.last_seq else ""
        self._end = replace(face, last_id=last_id)
        self.know_end()

    def know_end(self) -> None:
        """Remembers that everything up to the last acknowledged message is published for good."""
        end = self._end
        face = replace(self.memory.face, created=end.created or self.memory.face.created)
        self.memory = replace(self.memory, face=replace(face, last_seq=end.last_seq, last_id=end.last_id))

    async def publish(self, packed: Sequence[Window]) -> None:
        """Publishes and waits for every acknowledgement; `duplicate` is one.

        Raises:
            StreamLost: the stream took messages below its end, so it is an older copy.
        """
        for first in range(0, len(packed), PUBLISHES_PENDING_MAX):
            await self._publish_some(packed[first : first + PUBLISHES_PENDING_MAX])

    async def _publish_some(self, packed: Sequence[Window]) -> None:
        sent: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(self._publish_timeout_s):
                for window in packed:
                    sent.append(await self._send(window))  # noqa: PERF401 - those sent before a failure are cancelled
                self._note(packed, await asyncio.gather(*sent))
        finally:
            # nats-py keeps a place for each until it is answered, and has a bounded number of them.
            for acknowledgement in sent:
                acknowledgement.cancel()

    def _note(self, packed: Sequence[Window], acknowledgements: Sequence[PubAck]) -> None:
        fresh = [acknowledgement.seq for acknowledgement in acknowledgements if not acknowledgement.duplicate]
        if fresh and min(fresh) <= self._end.last_seq:
            raise StreamLost
        # Duplicates too: whoever published them may have done so after our last one.
        last, window = max(zip(acknowledgements, packed, strict=True), key=lambda pair: pair[0].seq)
        if last.seq > self._end.last_seq:
            self._end = replace(self._end, last_seq=last.seq, last_id=window.message_id)

    async def _send(self, window: Window) -> asyncio.Future[Any]:
        return await self._js.publish_async(
            subject(self._service, window.shard),
            window.data,
            headers={"Nats-Msg-Id": window.message_id, "content-type": "application/protobuf"},
        )
