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
from sandbox.stripe.webhook_faults import Event

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
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
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
    """`now` is the sandbox's clock, in seconds since 1970. `announced` are the rows of events of this transaction.

    Changes gather here and are written at once by `flush`, so a call that is refused on its way leaves nothing: `drop`.
    """

    connection: sqlite3.Connection
    rules: Rules
    now: int
    cause: Cause = Cause()
    announced: list[int] = field(default_factory=list)
    _things: dict[str, Object] = field(default_factory=dict)
    _new: set[str] = field(default_factory=set)
    _events: list[Event] = field(default_factory=list)
    _put_off: list[tuple[int, str, str]] = field(default_factory=list)
    _faulty: bool | None = None

    def ask(self, name: str, *values: Any) -> sqlite3.Cursor:
        return self.connection.execute(queries()[name], values)

    def ask_named(self, name: str, **values: Any) -> sqlite3.Cursor:
        return self.connection.execute(queries()[name], values)

    def one(self, name: str, *values: Any) -> Any:
        """The first column of the first row, None without a row."""
        row = self.ask(name, *values).fetchone()
        return row[0] if row else None

    @property
    def faulty(self) -> bool:
        """Whether any fault was asked for; nearly always none was."""
        if self._faulty is None:
            self._faulty = bool(self.one("any_fault"))
        return self._faulty

    def add(self, thing: Object) -> Object:
        self._new.add(thing["id"])
        return self.save(thing)

    def save(self, thing: Object) -> Object:
        self._things[thing["id"]] = thing
        return thing

    def find(self, object_id: str) -> Object | None:
        """An object of any kind."""
        if object_id in self._things:
            return self._things[object_id]
        body = self.one("get_object", object_id)
        return None if body is None else dict(json.loads(body))

    def get(self, kind: str, object_id: str, *, param: str | None = None) -> Object:
        """The object.

        Raises:
            Refused: there is none; `param` is the name under which the caller gave the id.
        """
        thing = self.find(object_id)
        if thing is None or thing["object"] != kind:
            raise no_such(kind, object_id, param=param or _PARAMS.get(kind, kind))
        return thing

    def children(self, parent: str, kind: str) -> list[Object]:
        """What belongs to an object, oldest first."""
        found = {thing["id"]: thing for thing in (json.loads(body) for (body,) in self.ask("children", parent, kind))}
        for thing in self._things.values():
            if thing["object"] == kind and thing[_PARENTS[kind]] == parent:
                found[thing["id"]] = thing
        return list(found.values())

    def unwritten(self, kind: str) -> list[Object]:
        """New ones that the book does not have yet."""
        return [thing for thing in self._things.values() if thing["object"] == kind and thing["id"] in self._new]

    def put_off(self, task: str, subject: str, *, seconds: int) -> None:
        """Lets a task of `due.TASKS` happen to the object after so many seconds of the sandbox's clock."""
        self._put_off.append((self.now + seconds, task, subject))

    def announce(self, kind: str, thing: Object, *, previous: Mapping[str, Any] | None = None) -> None:
        """Makes an event with the object as it is now."""
        data = {"object": shown(thing)}
        if previous is not None:
            data["previous_attributes"] = dict(previous)
        event = account.event(
            kind,
            data,
            request_id=self.cause.request_id,
            key=self.cause.key,
            pending=int(self.delivers(kind)),
            now=self.now,
        )
        self._events.append(Event(event["id"], kind, self.now, dumps(event)))

    def delivers(self, kind: str) -> bool:
        """Whether events of the type go to the endpoint."""
        return self.rules.publishes and ("*" in self.rules.enabled_events or kind in self.rules.enabled_events)

    def drop(self) -> None:
        """Forgets what was not written yet."""
        for gathered in (self._things, self._new, self._events, self._put_off):
            gathered.clear()

    def flush(self) -> None:
        """Writes what was gathered: objects, events with their deliveries, what is due later."""
        for thing in self._things.values():
            self._write(thing)
        for event in self._events:
            webhook_faults.publish(self, event)
        if self._put_off:
            self.connection.executemany(queries()["add_due"], self._put_off)
        self.drop()

    def _write(self, thing: Object) -> None:
        if thing["id"] not in self._new:
            body, delay = dumps(thing), self.rules.search_delay_s
            self.ask_named("save_object", id=thing["id"], body=body, now=self.now, delay=delay)
            self._label(thing, self.one("seq_of_object", thing["id"], thing["object"]) if thing.get("metadata") else 0)
            return
        kind = thing["object"]
        row = self.ask_named(
            "add_object",
            id=thing["id"],
            kind=kind,
            parent=thing.get(_PARENTS[kind]) if kind in _PARENTS else None,
            intent=thing.get("payment_intent"),
            created=thing["created"],
            now=self.now,
            body=dumps(thing),
        ).lastrowid
        self._label(thing, row or 0)
        if kind == "balance_transaction":
            self._move(thing, row or 0)

    def _move(self, entry: Object, seq: int) -> None:
        """Makes a new balance transaction count on the balance."""
        moved = {name: entry[name] for name in ("created", "currency", "net", "available_on")}
        self.ask_named("add_movement", seq=seq, payout=entry.get(OWN, {}).get("payout"), **moved)

    def _label(self, thing: Object, seq: int) -> None:
        if thing["object"] == "payment_intent" and thing["metadata"]:
            labels = [(key, value, seq) for key, value in thing["metadata"].items()]
            self.connection.executemany(queries()["add_label"], labels)

    def publish(self, event: Event) -> int:
        """Writes an event; its row."""
        row = self.ask("add_event", *event).lastrowid or 0
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
    return _ENCODER.encode(value)
