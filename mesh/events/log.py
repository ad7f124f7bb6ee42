"""Writing events: in the transaction of the change that they announce."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from giving.common.v1.event_pb2 import Event
from google.protobuf.message import Message
from uuid_utils.compat import uuid7

from mesh.ids import bucket_of
from mesh.postgres import Connection
from mesh.rpc.call import current_call


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A fact that is about to be written."""

    event_id: UUID
    bucket: int
    payload: bytes


class Cause(Protocol):
    """What carries a trace and a correlation id: a call, or the event that led to this one."""

    @property
    def traceparent(self) -> str: ...

    @property
    def correlation_id(self) -> str: ...


def new_event(
    data: Message,
    *,
    source: str,
    subject: UUID,
    version: int,
    time: datetime.datetime,
    bucket: int | None = None,
    cause: Cause | None = None,
) -> NewEvent:
    """An event about `subject` after its change to `version`; trace and correlation are its cause's, or the call's."""
    call = cause or current_call()
    event_id = uuid7()
    event = Event(
        id=event_id.bytes,
        type=data.DESCRIPTOR.full_name,
        source=source,
        subject=str(subject),
        version=version,
        traceparent=call.traceparent if call else "",
        correlation_id=call.correlation_id if call else "",
        data=data.SerializeToString(),
    )
    event.time.FromDatetime(time)
    return NewEvent(event_id, bucket_of(subject) if bucket is None else bucket, event.SerializeToString())


class EventLog:
    """Appends to the log of a service's own schema."""

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._append = queries["append"]

    async def append(self, connection: Connection, events: Sequence[NewEvent]) -> None:
        """Writes events in the caller's transaction; call it after the rows that they are about are locked."""
        await connection.execute(self._append, *columns(events))


def columns(events: Sequence[NewEvent]) -> tuple[list[UUID], list[int], list[bytes]]:
    """Events as the three arrays that SQL takes."""
    return (
        [event.event_id for event in events],
        [event.bucket for event in events],
        [event.payload for event in events],
    )
