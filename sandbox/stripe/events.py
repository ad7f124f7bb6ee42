"""Events, as they are listed and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sandbox.stripe import lists
from sandbox.stripe.refusals import malformed, no_such
from sandbox.stripe.work import Object, Work

_TYPES_MAX = 20
_UNDELIVERED = "EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.seq AND state != 'done')"


def page(work: Work, given: Mapping[str, Any]) -> Object:
    where, values = ["1 = 1"], []
    if types := _types(given):
        where.append(f"type IN ({', '.join('?' * len(types))})")
        values.extend(types)
    if (wildcard := str(given.get("type", ""))).endswith(".*"):
        where.append("type GLOB ?")
        values.append(wildcard)
    if "delivery_success" in given:
        where.append(f"NOT {_UNDELIVERED}" if given["delivery_success"] else _UNDELIVERED)
    found = lists.paged(
        work,
        given,
        table="event",
        where=where,
        values=values,
        position=lambda name: _seq(work, given, name),
        url="/v1/events",
    )
    found["data"] = [_with_pending(work, event) for event in found["data"]]
    return found


def _types(given: Mapping[str, Any]) -> list[str]:
    if "type" in given and "types" in given:
        raise malformed("You may only specify one of these parameters: type, types.", param="types")
    types = given.get("types", [])
    if len(types) > _TYPES_MAX:
        raise malformed(f"At most {_TYPES_MAX} types can be given.", param="types")
    single = given.get("type", "")
    return [single] if single and not single.endswith(".*") else list(types)


def _seq(work: Work, given: Mapping[str, Any], param: str) -> int:
    return row_of(work, given[param], param=param)


def row_of(work: Work, event_id: str, *, param: str = "id") -> int:
    seq = work.one("seq_of_event", event_id)
    if seq is None:
        raise no_such("event", event_id, param=param)
    return int(seq)


def get(work: Work, event_id: str) -> Object:
    row_of(work, event_id)
    _, body = work.ask("get_event", event_id).fetchone()
    return _with_pending(work, json.loads(body))


def _with_pending(work: Work, event: Object) -> Object:
    """How many endpoints have not taken it yet."""
    count = work.one("pending_of_event", work.one("seq_of_event", event["id"]))
    return {**event, "pending_webhooks": min(count, 1)}
