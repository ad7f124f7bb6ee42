"""JSON values → messages, by tables that are compiled once per message type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.convert import scalars
from gateway.convert.parse import Json, Members, Number
from gateway.convert.scalars import Read, Violations

__all__ = ["Read", "Reader", "Readers", "Violations"]

_INT32 = scalars.integer(-(2**31), 2**31 - 1)
_UINT32 = scalars.integer(0, 2**32 - 1)
_INT64 = scalars.integer(-(2**63), 2**63 - 1)
_UINT64 = scalars.integer(0, 2**64 - 1)
_BY_KIND: Mapping[int, Read] = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_UINT32: _UINT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT64: _UINT64,
    FieldDescriptor.CPPTYPE_BOOL: scalars.boolean,
    FieldDescriptor.CPPTYPE_DOUBLE: scalars.floating,
    FieldDescriptor.CPPTYPE_FLOAT: scalars.floating,
}
_WELL_KNOWN: Mapping[str, Read] = {
    "google.protobuf.Timestamp": scalars.timestamp,
    "google.protobuf.Duration": scalars.duration,
}
_NAME_MAX = 64


class Readers:
    """The readers of message types, compiled when they are first needed."""

    def __init__(self) -> None:
        self._readers: dict[str, Reader] = {}

    def of(self, descriptor: Descriptor) -> Reader:
        """The reader of one message type.

        Raises:
            LookupError: the type holds one without a form of its own in JSON, such as Any.
        """
        name = descriptor.full_name
        if name not in self._readers:
            reader = self._readers[name] = Reader(descriptor)
            reader.compile(self)
        return self._readers[name]


class Reader:
    """Reads one message type out of JSON objects."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._class = message_factory.GetMessageClass(descriptor)
        self._descriptor = descriptor
        self._fields: dict[str, Read] = {}
        self._oneofs: dict[str, str] = {}

    def compile(self, readers: Readers) -> None:
        """Fills the table; apart from construction because types may contain themselves."""
        for field in self._descriptor.fields:
            self._fields[field.name] = _field_reader(field, readers)
        for oneof in self._descriptor.oneofs:
            if len(oneof.fields) > 1:
                self._oneofs |= {field.name: oneof.name for field in oneof.fields}

    def __call__(self, value: Json, path: str, violations: Violations) -> Message | None:
        """The message; None after noting what is wrong."""
        if not isinstance(value, Members):
            violations.note(path, "must be a JSON object")
            return None
        noted = violations.count
        fields = self._read_members(value, f"{path}." if path else "", violations)
        return self._class(**fields) if violations.count == noted else None

    def _read_members(self, members: Members, prefix: str, violations: Violations) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        chosen: dict[str, str] = {}
        for name, value in members:
            read = self._fields.get(name)
            if read is None:
                violations.note(prefix + printable(name), "is not a field of this request")
            elif name in fields:
                violations.note(prefix + name, "must be given once")
            elif name in self._oneofs and chosen.setdefault(self._oneofs[name], name) != name:
                violations.note(prefix + name, f"must not be given together with {chosen[self._oneofs[name]]}")
            else:
                fields[name] = read(value, prefix + name, violations)
        return fields


def _field_reader(field: FieldDescriptor, readers: Readers) -> Read:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map_reader(_value_reader(field.message_type.fields_by_name["value"], readers), field.message_type)
    read = _value_reader(field, readers)
    return _list_reader(read) if field.is_repeated else read


def _value_reader(field: FieldDescriptor, readers: Readers) -> Read:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return scalars.octets
    if field.type == FieldDescriptor.TYPE_STRING:
        return scalars.text
    if field.enum_type is not None:
        return scalars.enum(field.enum_type)
    if field.message_type is not None:
        return _message_reader(field.message_type, readers)
    return _BY_KIND[field.cpp_type]


def _message_reader(descriptor: Descriptor, readers: Readers) -> Read:
    if descriptor.full_name in _WELL_KNOWN:
        return _WELL_KNOWN[descriptor.full_name]
    if descriptor.file.package.startswith("google.protobuf"):
        raise LookupError(f"{descriptor.full_name} has no form in JSON here")
    return readers.of(descriptor)


def _list_reader(read: Read) -> Read:
    def read_list(value: Json, path: str, violations: Violations) -> list[Any] | None:
        if not isinstance(value, list) or isinstance(value, Members):
            violations.note(path, "must be a JSON array")
            return None
        return [read(item, f"{path}[{index}]", violations) for index, item in enumerate(value)]

    return read_list


def _map_reader(read: Read, entry: Descriptor) -> Read:
    key_of = _key_reader(entry.fields_by_name["key"])

    def read_map(value: Json, path: str, violations: Violations) -> dict[Any, Any] | None:
        if not isinstance(value, Members):
            violations.note(path, "must be a JSON object")
            return None
        entries: dict[Any, Any] = {}
        for name, item in value:
            at = f'{path}["{printable(name)}"]'
            key = key_of(name, at, violations)
            if key in entries:
                violations.note(at, "must be given once")
            entries[key] = read(item, at, violations)
        return entries

    return read_map


def _key_reader(field: FieldDescriptor) -> Read:
    if field.type == FieldDescriptor.TYPE_STRING:
        return scalars.text
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return lambda name, path, violations: scalars.boolean(
            {"true": True, "false": False}.get(str(name)), path, violations
        )
    return _BY_KIND[field.cpp_type]


def leaf(field: FieldDescriptor, given: str) -> Json:
    """What a parameter's text would be in JSON: parameters are untyped, their fields are not."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(given, given)
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return Number(given) if _is_float(given) else given
    return given


def _is_float(given: str) -> bool:
    try:
        float(given)
    except ValueError:
        return False
    return True


def printable(name: str) -> str:
    """A caller's key as it may stand in an answer and in a log."""
    return name[:_NAME_MAX].encode("unicode_escape").decode()


def is_leaf(field: FieldDescriptor) -> bool:
    """Whether a parameter can name the field itself rather than something inside it."""
    return field.message_type is None or field.message_type.full_name in _WELL_KNOWN
