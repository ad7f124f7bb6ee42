"""Readers of single values. Each returns the value for the message, or None after it has noted what is wrong."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert.parse import Json, Number
from mesh.errors import FieldViolation

# An answer that lists more helps nobody, and a hostile body could make it large.
VIOLATIONS_MAX = 50
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,19}", re.ASCII)
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_DURATION = re.compile(r"(-?)(0|[1-9]\d{0,11})(?:\.(\d{1,9}))?s", re.ASCII)
_DURATION_S_MAX = 315_576_000_000  # of google.protobuf.Duration: ten thousand years
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class Violations:
    """What is wrong with a request so far."""

    found: list[FieldViolation] = field(default_factory=list)
    count: int = 0

    def note(self, path: str, description: str) -> None:
        """Adds one."""
        self.count += 1
        if len(self.found) < VIOLATIONS_MAX:
            self.found.append(FieldViolation(path, description))


Read = Callable[[Json, str, Violations], Any]


def integer(low: int, high: int) -> Read:
    """Integers of a range, as JSON integers or as strings of ASCII digits."""

    def read(value: Json, path: str, violations: Violations) -> int | None:
        if not isinstance(value, str) or not _INTEGER.fullmatch(value):
            violations.note(path, 'must be an integer: digits only, such as "1500"')
            return None
        if low <= (number := int(value)) <= high:
            return number
        violations.note(path, f"must be from {low} to {high}")
        return None

    return read


def text(value: Json, path: str, violations: Violations) -> str | None:
    """Strings without control characters, NUL and lone surrogates."""
    if not isinstance(value, str) or isinstance(value, Number):
        violations.note(path, "must be a string")
        return None
    if _FORBIDDEN.search(value):
        violations.note(path, "must not contain control characters or lone surrogates")
        return None
    return value


def boolean(value: Json, path: str, violations: Violations) -> bool | None:
    """True or false, nothing else."""
    if isinstance(value, bool):
        return value
    violations.note(path, "must be true or false")
    return None


def floating(value: Json, path: str, violations: Violations) -> float | None:
    """Finite JSON numbers."""
    if isinstance(value, Number) and math.isfinite(number := float(value)):
        return number
    violations.note(path, "must be a finite number")
    return None


def octets(value: Json, path: str, violations: Violations) -> bytes | None:
    """Bytes in standard base64 with padding."""
    try:
        if isinstance(value, str) and not isinstance(value, Number):
            return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        pass
    violations.note(path, "must be a string in base64")
    return None


def enum(descriptor: EnumDescriptor) -> Read:
    """An enum's value by its name."""
    numbers: Mapping[str, int] = {value.name: value.number for value in descriptor.values}
    names = ", ".join(numbers)

    def read(value: Json, path: str, violations: Violations) -> int | None:
        if isinstance(value, str) and value in numbers:
            return numbers[value]
        violations.note(path, f"must be one of {names}")
        return None

    return read


def timestamp(value: Json, path: str, violations: Violations) -> Timestamp | None:
    """RFC 3339 with a zone, up to nanoseconds."""
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    try:
        if match:
            moment = dt.datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
            seconds = (moment - _EPOCH) // dt.timedelta(seconds=1)
            result = Timestamp(seconds=seconds, nanos=_nanos(match[2]))
            result.ToDatetime()  # the zone may carry the first and last day out of range
            return result
    except (ValueError, OverflowError):
        pass
    violations.note(path, 'must be a time of RFC 3339, such as "2026-05-01T12:00:00Z"')
    return None


def duration(value: Json, path: str, violations: Violations) -> Duration | None:
    """Seconds with the suffix s."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[2]) > _DURATION_S_MAX:
        violations.note(path, 'must be a duration, such as "3.5s"')
        return None
    sign = -1 if match[1] else 1
    return Duration(seconds=sign * int(match[2]), nanos=sign * _nanos(match[3]))


def _nanos(fraction: str | None) -> int:
    return int((fraction or "0").ljust(9, "0"))
