"""Messages → JSON text, by tables that are compiled once per message type.

Field names as in the contract, int64 as strings (as proto3 prescribes), defaults printed for fields without presence.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

Write = Callable[[Any], Any]
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_json(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return _ENCODER.encode(value).encode()


class Writers:
    """The writers of message types, compiled when they are first needed."""

    def __init__(self) -> None:
        self._writers: dict[str, Writer] = {}

    def of(self, descriptor: Descriptor) -> Writer:
        """The writer of one message type."""
        name = descriptor.full_name
        if name not in self._writers:
            writer = self._writers[name] = Writer()
            writer.compile(descriptor, self)
        return self._writers[name]

    def render(self, message: Message) -> bytes:
        """The message as JSON text."""
        descriptor: Any = message.DESCRIPTOR
        return to_json(self.of(descriptor)(message))


class Writer:
    """Writes one message type as a dict that json can encode."""

    def __init__(self) -> None:
        self._fields: list[tuple[str, bool, Write]] = []

    def compile(self, descriptor: Descriptor, writers: Writers) -> None:
        """Fills the table; apart from construction because types may contain themselves."""
        self._fields = [(field.name, field.has_presence, _field_writer(field, writers)) for field in descriptor.fields]

    def __call__(self, message: Message) -> dict[str, Any]:
        return {
            name: write(getattr(message, name))
            for name, has_presence, write in self._fields
            if not has_presence or message.HasField(name)
        }


def _field_writer(field: FieldDescriptor, writers: Writers) -> Write:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_writer(field.message_type, writers)
    write = _value_writer(field, writers)
    return (lambda items: [write(item) for item in items]) if field.is_repeated else write


def _map_writer(entry: Descriptor, writers: Writers) -> Write:
    key = entry.fields_by_name["key"]
    write = _value_writer(entry.fields_by_name["value"], writers)
    name = (lambda value: str(value).lower()) if key.cpp_type == FieldDescriptor.CPPTYPE_BOOL else str
    return lambda items: {name(item): write(items[item]) for item in items}


def _value_writer(field: FieldDescriptor, writers: Writers) -> Write:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    if field.enum_type is not None:
        return _enum_writer(field.enum_type)
    if field.message_type is not None:
        return _message_writer(field.message_type, writers)
    return _BY_KIND.get(field.cpp_type, _as_is)


def _message_writer(descriptor: Descriptor, writers: Writers) -> Write:
    if descriptor.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        return lambda value: value.ToJsonString()
    return writers.of(descriptor)


def _enum_writer(descriptor: EnumDescriptor) -> Write:
    names: Mapping[int, str] = {value.number: value.name for value in descriptor.values}
    return lambda number: names.get(number, number)


def _floating(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _as_is(value: Any) -> Any:
    return value


_BY_KIND: Mapping[int, Write] = {
    FieldDescriptor.CPPTYPE_INT64: str,
    FieldDescriptor.CPPTYPE_UINT64: str,
    FieldDescriptor.CPPTYPE_DOUBLE: _floating,
    FieldDescriptor.CPPTYPE_FLOAT: _floating,
}
