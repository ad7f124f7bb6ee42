"""Builds an RPC's request out of path, query, body and the idempotency header."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.convert import Json, Members, Reader, Violations, parse
from gateway.convert.read import is_leaf, leaf, printable
from gateway.exchange import Exchange
from gateway.problems import UnsupportedMediaType
from gateway.transcode.routes import Match, Route
from mesh.errors import IdempotencyKeyMissing, InvalidArgument, MalformedRequest

_PARAMETERS_MAX = 64
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_JSON_TYPE = re.compile(r'application/json *(; *charset="?utf-8"?)?', re.IGNORECASE)


async def bind(match: Match, reader: Reader, exchange: Exchange) -> Message:
    """The request that an HTTP request means.

    Raises:
        Refusal: it means none; every mistake of its fields is named.
    """
    route, violations = match.route, Violations()
    members = await _body(route, exchange) if route.body else Members()
    for name, value in match.values:
        _graft(members, route.method.descriptor.input_type, name, value, violations)
    for name, value in _query(exchange.query) if exchange.query else ():
        # A route that takes the whole message as its body has no field left for parameters.
        descriptor = None if route.body == "*" else route.method.descriptor.input_type
        _graft(members, descriptor, name, value, violations)
    message = reader(members, "", violations)
    if violations.found or message is None:
        raise InvalidArgument.of_fields(violations.found)
    if route.method.mutates:
        _fill_key(message, route.method.policy.idempotency_field, exchange.header(b"idempotency-key"))
    return message


async def _body(route: Route, exchange: Exchange) -> Members:
    raw = await exchange.body(bytes_max=route.method.max_request_bytes)
    if exchange.header(b"content-encoding").lower() not in ("", "identity"):
        raise UnsupportedMediaType("send the body without a content encoding")
    if raw and not _JSON_TYPE.fullmatch(exchange.header(b"content-type")):
        raise UnsupportedMediaType("send application/json")
    value = parse(raw) if raw else Members()
    if route.body != "*":
        return Members([(route.body, value)])
    if not isinstance(value, Members):
        raise MalformedRequest("the body must be a JSON object")
    return value


def _query(raw: bytes) -> list[tuple[str, str]]:
    try:
        text = raw.decode("ascii")
        if _BAD_ESCAPE.search(text):
            raise MalformedRequest("the query is malformed")
        return parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_PARAMETERS_MAX)
    except ValueError:
        raise MalformedRequest("the query is malformed") from None


def _graft(members: Members, descriptor: Descriptor | None, path: str, value: str, violations: Violations) -> None:
    """Puts a parameter where its dotted path says; a field that is there already is found to be given twice later."""
    *outer, last = path.split(".")
    for name in outer:
        field = descriptor.fields_by_name.get(name) if descriptor else None
        descriptor = None if field is None or field.is_repeated or is_leaf(field) else field.message_type
        members = _object(members, name) if descriptor else members
    field = descriptor.fields_by_name.get(last) if descriptor else None
    if field is None or not is_leaf(field):
        violations.note(printable(path), "is not a parameter of this method")
    else:
        _put(members, field, value)


def _put(members: Members, field: FieldDescriptor, value: str) -> None:
    item = leaf(field, value)
    if not field.is_repeated:
        members.append((field.name, item))
        return
    items = members.get(field.name)
    if isinstance(items, list) and not isinstance(items, Members):
        items.append(item)
    else:
        members.append((field.name, [item]))


def _object(members: Members, name: str) -> Members:
    found: Json = members.get(name)
    if isinstance(found, Members):
        return found
    made = Members()
    members.append((name, made))
    return made


def _fill_key(message: Message, field: str, header: str) -> None:
    given = getattr(message, field)
    if not header and not given:
        raise IdempotencyKeyMissing(f"send the header Idempotency-Key or the field {field}")
    if header and given and header != given:
        raise InvalidArgument.of(field, "must not differ from the header Idempotency-Key")
    if header:
        setattr(message, field, header)
