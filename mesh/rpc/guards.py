"""What a call must pass before its handler runs: identity, policy, admission, size, form, validation."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import protovalidate
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_INTERNAL, ROLE_OPERATOR, ROLE_PUBLIC, RateClass
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import (
    FieldViolation,
    InvalidArgument,
    MalformedRequest,
    Overloaded,
    PermissionDenied,
    RequestTooLarge,
    Unauthenticated,
)
from mesh.rpc.call import IDENTITY_KEY
from mesh.rpc.canonical import canonicalise
from mesh.rpc.contract import Method

# Control characters, line breaks included (names end in headers and logs), and the marks that reorder text on a screen.
_FORBIDDEN_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

_TEXT_RULE = "must not contain control or reordering characters"
# Rules of the contract in words, where the validator quotes a pattern.
_WORDS = {
    "does not match regex pattern `^[!-~]{8,255}$`": (
        "must be 8 to 255 visible ASCII characters; over REST it is the header Idempotency-Key"
    ),
    "does not match regex pattern `^[!-~]{1,255}$`": "must be 1 to 255 visible ASCII characters",
    "does not match regex pattern `^[A-Z]{3}$`": "must be an ISO 4217 code in capitals, such as USD",
    "does not match regex pattern `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`": "must be a date such as 2027-03-28",
    "must not be in list [0]": "must be set",
}
# RFC 3339's years 1 to 9999, which are Python's too.
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799
_NANOS = 1_000_000_000


class Identify(Protocol):
    """Establishes who calls."""

    def __call__(self, *, peer: str, metadata: Mapping[str, str | bytes]) -> Identity:
        """The caller's identity.

        Raises:
            Unauthenticated: nothing proves who it is.
        """
        ...


def refuse_plaintext(*, peer: str, metadata: Mapping[str, str | bytes]) -> Identity:  # noqa: ARG001
    """Production without certificates: nobody is known."""
    raise Unauthenticated("this server accepts authenticated peers only")


def trust_loopback(*, peer: str, metadata: Mapping[str, str | bytes]) -> Identity:
    """The development setting: a plaintext peer on loopback is a service; by itself it is internal and operator."""
    if not _is_loopback(peer):
        raise Unauthenticated("this server accepts authenticated peers only")
    forwarded = metadata.get(IDENTITY_KEY)
    if forwarded is None:
        return Identity(roles=[ROLE_PUBLIC, ROLE_INTERNAL, ROLE_OPERATOR], subject="development")
    try:
        identity = Identity.FromString(forwarded if isinstance(forwarded, bytes) else forwarded.encode())
        check(identity)
    except (DecodeError, InvalidArgument) as error:
        raise Unauthenticated("the forwarded identity cannot be read") from error
    canonicalise(identity)
    return identity


def _is_loopback(peer: str) -> bool:
    scheme, _, address = peer.partition(":")
    host = address.rpartition(":")[0].strip("[]").replace("%5B", "").replace("%5D", "")
    try:
        return scheme == "unix" or (scheme in ("ipv4", "ipv6") and ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def authorize(method: Method, identity: Identity) -> None:
    """Lets a caller through that holds one of the method's roles.

    Raises:
        Unauthenticated: a stranger asks for more than the public may.
        PermissionDenied: the caller is known and may not.
    """
    if ROLE_PUBLIC in method.policy.roles or not set(method.policy.roles).isdisjoint(identity.roles):
        return
    if set(identity.roles) <= {ROLE_PUBLIC}:
        raise Unauthenticated("this method needs credentials: over REST `Authorization: Bearer <token>`")
    raise PermissionDenied("your role does not allow this method")


class Admission:
    """A bound on calls in progress per rate class: above it a clean refusal, never a queue."""

    def __init__(self, *, bound: int) -> None:
        self._bound = bound
        self._running: Counter[RateClass.ValueType] = Counter()

    @contextmanager
    def enter(self, rate_class: RateClass.ValueType) -> Iterator[None]:
        """Holds one place.

        Raises:
            Overloaded: none is free.
        """
        if self._running[rate_class] >= self._bound:
            raise Overloaded("the server has as many calls as it admits", retry_after_s=1)
        self._running[rate_class] += 1
        try:
            yield
        finally:
            self._running[rate_class] -= 1


def parse(method: Method, raw: bytes) -> Message:
    """The request, valid by its contract and without fields that the contract does not know.

    Raises:
        RequestTooLarge, MalformedRequest, InvalidArgument: it is not.
    """
    if len(raw) > method.max_request_bytes:
        raise RequestTooLarge("the request is too large", max_request_bytes=method.max_request_bytes)
    request = method.request_class()
    try:
        request.ParseFromString(raw)
    except DecodeError as error:
        raise MalformedRequest("the bytes are no message of this method") from error
    # They would survive re-serialisation and travel to inner services.
    request.DiscardUnknownFields()
    check(request)
    canonicalise(request)
    return request


def check(message: Message) -> None:
    """Applies the contract's rules.

    Raises:
        InvalidArgument: names each field that breaks one.
    """
    violations = [
        FieldViolation(_path(violation.proto.field), _WORDS.get(violation.proto.message, violation.proto.message))
        for violation in protovalidate.collect_violations(message)
    ]
    violations += _bad_values(message, "")
    if violations:
        raise InvalidArgument.of_fields(violations)


def _path(field: Any) -> str:
    path = ""
    for element in field.elements if field else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript = element.subscript
        if subscript is not None:
            path += f"[{subscript.value}]"
    return path


def _bad_values(message: Message, prefix: str) -> Iterator[FieldViolation]:
    """What the contract's rules cannot say: texts that deceive, and times that are none."""
    for descriptor, value in message.ListFields():
        path = prefix + descriptor.name
        if descriptor.type == FieldDescriptor.TYPE_STRING:
            yield from _bad_strings(value, path, repeated=descriptor.is_repeated)
        elif descriptor.type == FieldDescriptor.TYPE_MESSAGE:
            yield from _bad_in_messages(descriptor, value, path)


def _bad_strings(value: Any, path: str, *, repeated: bool) -> Iterator[FieldViolation]:
    for index, text in enumerate(value if repeated else (value,)):
        if _FORBIDDEN_TEXT.search(text):
            yield FieldViolation(f"{path}[{index}]" if repeated else path, _TEXT_RULE)


def _bad_in_messages(descriptor: FieldDescriptor, value: Any, path: str) -> Iterator[FieldViolation]:
    if descriptor.message_type and descriptor.message_type.GetOptions().map_entry:
        for key, item in value.items():
            yield from _bad_in_entry(key, item, f"{path}[{key!a}]")
    elif descriptor.is_repeated:
        for index, item in enumerate(value):
            yield from _bad_in_message(item, f"{path}[{index}]")
    else:
        yield from _bad_in_message(value, path)


def _bad_in_message(value: Message, path: str) -> Iterator[FieldViolation]:
    if isinstance(value, Timestamp) and not _is_time(value):
        yield FieldViolation(path, "must be a time of the years 1 to 9999")
    else:
        yield from _bad_values(value, f"{path}.")


def _is_time(value: Timestamp) -> bool:
    return _SECONDS_MIN <= value.seconds <= _SECONDS_MAX and 0 <= value.nanos < _NANOS


def _bad_in_entry(key: Any, item: Any, path: str) -> Iterator[FieldViolation]:
    if any(isinstance(text, str) and _FORBIDDEN_TEXT.search(text) for text in (key, item)):
        yield FieldViolation(path, _TEXT_RULE)
    if isinstance(item, Message):
        yield from _bad_in_message(item, path)
