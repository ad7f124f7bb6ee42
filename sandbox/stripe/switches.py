"""What the control of the sandbox is given, and small acts of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.stripe.refusals import malformed, missing_parameter
from sandbox.stripe.work import Object, Work

_REQUESTS_MAX = 1_000


class Given:
    """Members of a JSON body, of the path and of the query."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def get(self, name: str) -> Any:
        return self._members.get(name)

    def text(self, name: str, *, default: str | None = None) -> str:
        value = self._members.get(name, default)
        if value is None:
            raise missing_parameter(name)
        return str(value)

    def choice(self, name: str, choices: Sequence[str], *, default: str | None = None) -> str:
        value = self.text(name, default=default)
        if value not in choices:
            raise malformed(f"Invalid {name}: must be one of {', '.join(sorted(choices))}", param=name)
        return value

    def integer(self, name: str) -> int | None:
        value = self._members.get(name)
        if value is None:
            return None
        try:
            return int(value)
        except (TypeError, ValueError):
            raise malformed(f"Invalid integer: {value}", param=name) from None

    def times(self) -> int | None:
        """How often: once unless said otherwise, None until it is cleared."""
        times = self.integer("times") if "times" in self._members else 1
        if times is not None and times < 1:
            raise malformed("times must be at least 1, or null", param="times")
        return times

    def seconds(self) -> float | None:
        value = self._members.get("seconds")
        if value is not None and not isinstance(value, int | float):
            raise malformed(f"Invalid number: {value}", param="seconds")
        return value

    def texts(self, name: str) -> list[str] | None:
        value = self._members.get(name)
        if value is not None and not isinstance(value, list):
            raise malformed("Invalid array", param=name)
        return value


def charge(work: Work, given: Given) -> Object:
    """The charge that is named, or the latest of the intent that is."""
    if given.get("charge"):
        return work.get("charge", given.text("charge"))
    intent = work.get("payment_intent", given.text("payment_intent"))
    return work.get("charge", intent["latest_charge"] or "", param="payment_intent")


def release(work: Work) -> int:
    """Sends what was withheld; how much that was."""
    released = work.ask_named("release_held", now=time.time()).rowcount
    # Wakes whoever sends.
    work.announced.append(0)
    return released


def retry(work: Work) -> int:
    """Sends now what failed or is late, instead of at its time; how much that was."""
    hurried = work.ask_named("retry_failed", now=time.time()).rowcount
    work.announced.append(0)
    return hurried


def requests(work: Work, given: Given) -> Object:
    """Calls that came, oldest first; `call`, `path`, `method`, `key`, `status` narrow them down."""
    names = [name for name in ("call", "path", "method", "key", "status") if given.get(name) is not None]
    where = " AND ".join(["1 = 1", *(f"{name} = ?" for name in names)])
    columns = ("id", "at", "method", "path", "call", "key", "params", "status", "fault")
    statement = f"SELECT {', '.join(columns)} FROM request WHERE {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608 - names are ours
    rows = work.connection.execute(statement, [*(given.get(name) for name in names), _REQUESTS_MAX]).fetchall()
    found = [dict(zip(columns, row, strict=True)) for row in reversed(rows)]
    return {"data": [{**entry, "params": json.loads(entry["params"])} for entry in found]}
