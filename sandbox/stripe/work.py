"""One transaction of the sandbox: what a call reads, changes, announces and puts off."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mesh.postgres import load_queries
from sandbox.stripe import webhook_faults
from sandbox.stripe.refusals import no_such
from sandbox.stripe.shapes import account

# What the sandbox knows of an object and Stripe shows to nobody.
OWN = "_own"
Object = dict[str, Any]
# The field of an object that names what it belongs to.
_PARENTS = {
    "charge": "payment_intent",
    "refund": "charge",
    "dispute": "charge",
    "balance_transaction": "source",
    "payment_method": "customer",
}
_SEARCHED = frozenset({"payment_intent", "charge"})
_PARAMS = {"payment_intent": "intent", "customer": "customer", "balance_transaction": "id", "event": "id"}


@cache
def queries() -> Mapping[str, str]:
    return load_queries("sandbox.stripe")


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the whole account."""

    publishes: bool
    enabled_events: tuple[str, ...]
    search_delay_s: int


@dataclass(frozen=True, slots=True)
class Cause:
    """The call that changes are made for; nothing of it is known of changes that come by themselves."""

    request_id: str | None = None
    key: str | None = None


@dataclass(slots=True)
class Work:
    """`now` is the sandbox's clock, in seconds since 1970. `announced` are the rows of events of this transaction."""

    connection: sqlite3.Connection
    rules: Rules
    now: int
    cause: Cause = Cause()
    announced: list[int] = field(default_factory=list)

    def ask(self, name: str, *values: Any) -> sqlite3.Cursor:
        return self.connection.execute(queries()[name], values)

    def ask_named(self, name: str, **values: Any) -> sqlite3.Cursor:
        return self.connection.execute(queries()[name], values)

    def one(self, name: str, *values: Any) -> Any:
        """The first column of the first row, None without a row."""
        row = self.ask(name, *values).fetchone()
        return row[0] if row else None

    def add(self, thing: Object) -> Object:
        kind = thing["object"]
        self.ask_named(
            "add_object",
            id=thing["id"],
            kind=kind,
            parent=thing.get(_PARENTS[kind]) if kind in _PARENTS else None,
            intent=thing.get("payment_intent"),
            created=thing["created"],
            now=self.now,
            body=dumps(thing),
        )
        self._label(thing)
        return thing

    def save(self, thing: Object) -> Object:
        self.ask_named("save_object", id=thing["id"], body=dumps(thing), now=self.now, delay=self.rules.search_delay_s)
        self._label(thing)
        return thing

    def _label(self, thing: Object) -> None:
        if thing["object"] in _SEARCHED:
            for key, value in thing["metadata"].items():
                self.ask("add_label", key, value, thing["id"])

    def get(self, kind: str, object_id: str, *, param: str | None = None) -> Object:
        """The object.

        Raises:
            Refused: there is none; `param` is the name under which the caller gave the id.
        """
        body = self.one("get_object", object_id, kind)
        if body is None:
            raise no_such(kind, object_id, param=param or _PARAMS.get(kind, kind))
        return dict(json.loads(body))

    def children(self, parent: str, kind: str) -> list[Object]:
        return [json.loads(body) for (body,) in self.ask("children", parent, kind)]

    def put_off(self, task: str, subject: str, *, seconds: int) -> None:
        """Lets a task of `due.TASKS` happen to the object after so many seconds of the sandbox's clock."""
        self.ask("add_due", self.now + seconds, task, subject)

    def announce(self, kind: str, thing: Object, *, previous: Mapping[str, Any] | None = None) -> None:
        """Makes an event with the object as it is now, and the deliveries that go with it."""
        data = {"object": shown(thing)}
        if previous is not None:
            data["previous_attributes"] = dict(previous)
        webhook_faults.publish(self, kind, lambda: self._event(kind, data))

    def delivers(self, kind: str) -> bool:
        """Whether events of the type go to the endpoint."""
        return self.rules.publishes and ("*" in self.rules.enabled_events or kind in self.rules.enabled_events)

    def _event(self, kind: str, data: Mapping[str, Any]) -> int:
        event = account.event(
            kind,
            data,
            request_id=self.cause.request_id,
            key=self.cause.key,
            pending=int(self.delivers(kind)),
            now=self.now,
        )
        row = self.ask("add_event", event["id"], kind, self.now, dumps(event)).lastrowid or 0
        self.announced.append(row)
        return row

    def deliver(self, event: int, *, state: str = "due", delay_s: float = 0.0, fault: int | None = None) -> int:
        """Queues an event's row; the delivery's id."""
        now = time.time()
        return self.ask("add_delivery", event, state, now, now + delay_s, fault).lastrowid or 0


def shown(thing: Mapping[str, Any]) -> Object:
    """The object without what only the sandbox knows."""
    return {name: value for name, value in thing.items() if name != OWN}


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
