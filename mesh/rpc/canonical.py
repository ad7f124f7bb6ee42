"""One spelling of every id: a UUID in capitals names the same thing, and must make the same idempotency key and digest."""

from __future__ import annotations

from functools import cache
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def canonicalise(message: Message) -> None:
    """Puts every field that the contract says is a UUID into lower case, in place."""
    for descriptor, value in message.ListFields():
        if _is_uuid(descriptor):
            _lower(message, descriptor, value)
        elif descriptor.type == FieldDescriptor.TYPE_MESSAGE and not _is_map(descriptor):
            for item in value if descriptor.is_repeated else (value,):
                canonicalise(item)


def _lower(message: Message, descriptor: FieldDescriptor, value: Any) -> None:
    if descriptor.is_repeated:
        value[:] = [text.lower() for text in value]
    elif value != value.lower():
        setattr(message, descriptor.name, value.lower())


@cache
def _is_uuid(descriptor: FieldDescriptor) -> bool:
    if descriptor.type != FieldDescriptor.TYPE_STRING:
        return False
    rules = descriptor.GetOptions().Extensions[validate_pb2.field]
    return bool(rules.string.uuid or rules.repeated.items.string.uuid)


@cache
def _is_map(descriptor: FieldDescriptor) -> bool:
    return bool(descriptor.message_type and descriptor.message_type.GetOptions().map_entry)
