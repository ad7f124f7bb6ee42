"""What may stand in the books, by the journal alone: every operation happened, did not happen, or may have, once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.calls import Outcome
from chaos.journal import Entry

_CREATING = ("record", "promise")
_SUCCEEDED = "succeeded"


@dataclass(frozen=True, slots=True)
class Violation:
    """`number`: of docs/invariants.md."""

    number: str
    key: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A donation as it is stored. `name`: what the load called the operation that made it."""

    donation_id: str
    name: str
    campaign_id: str
    currency: str
    amount: int
    gross: int
    refunded: int
    disputed: int


@dataclass(slots=True)
class Bounds:
    """A figure lies in between, both ends included."""

    low: int = 0
    high: int = 0

    def may_grow(self, units: int, *, surely: bool) -> None:
        self.high += units
        self.low += units if surely else 0

    def holds(self, figure: int) -> bool:
        return self.low <= figure <= self.high

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


@dataclass(slots=True)
class Operation:
    """What was sent, and what its caller knows."""

    request: Entry
    outcome: Outcome = Outcome.UNKNOWN
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return self.outcome is Outcome.DONE

    @property
    def may_be(self) -> bool:
        return self.outcome is not Outcome.REFUSED


def operations(entries: Iterable[Entry]) -> dict[str, Operation]:
    """By id, in the order in which they were sent."""
    found: dict[str, Operation] = {}
    for entry in entries:
        if entry["what"] == "send":
            found[entry["id"]] = Operation(entry)
        elif entry["what"] == "answer":
            found[entry["id"]].outcome, found[entry["id"]].facts = Outcome(entry["outcome"]), entry
    return found


def compare(sent: Mapping[str, Operation], rows: Iterable[Row]) -> Iterator[Violation]:
    """The journal beside the donations of the run's charity."""
    by_name: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_name[row.name].append(row)
    for name, found in by_name.items():
        yield from _founded(name, found, sent.get(name))
    later = _later(sent.values())
    for name, operation in sent.items():
        if operation.request["kind"] == "reuse" and operation.is_done:
            yield Violation("P4", name, f"the key of {operation.request['about']['of']} took another content")
        if operation.request["kind"] not in _CREATING:
            continue
        if operation.is_done and name not in by_name:
            yield Violation("P1", name, "was answered, and is not there")
        for row in by_name.get(name, ()):
            yield from _as_sent(operation, row)
            yield from _moved(operation, row, [*later[row.donation_id], *later[name]])


def _founded(name: str, rows: list[Row], operation: Operation | None) -> Iterator[Violation]:
    if operation is None or operation.request["kind"] not in _CREATING:
        yield Violation("P3", name or rows[0].donation_id, "is there, and nobody asked for it")
    elif operation.outcome is Outcome.REFUSED:
        yield Violation("P3", name, f"was refused ({operation.facts.get('words')}), and is there")
    if len(rows) > 1:
        yield Violation("P2", name, f"is there {len(rows)} times: {', '.join(row.donation_id for row in rows)}")


def _as_sent(operation: Operation, row: Row) -> Iterator[Violation]:
    body = operation.request["body"]
    amount = body.get("amount", body)
    wanted = (body["campaign_id"], amount["currency"], int(amount["minor_units"]))
    if (found := (row.campaign_id, row.currency, row.amount)) != wanted:
        yield Violation("P2", row.name, f"campaign, currency, amount are {found}, sent was {wanted}")
    told = operation.facts.get("donation_id")
    if told and told != row.donation_id:
        yield Violation("P4", row.name, f"was answered with {told}, and is {row.donation_id}")


def _later(sent: Iterable[Operation]) -> Mapping[str, list[Operation]]:
    """What was done to a donation, by its id or by the name that it was recorded under."""
    found: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in sent:
        about = operation.request["about"]
        if key := about.get("donation_id") or about.get("payment_ref"):
            found[key].append(operation)
    return found


def _moved(made: Operation, row: Row, later: list[Operation]) -> Iterator[Violation]:
    """What came, what went back, and what a bank holds."""
    by_kind: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in later:
        if operation.may_be:
            by_kind[operation.request["kind"]].append(operation)
    gross = _taken(made, row, by_kind["pay"])
    if not gross.holds(row.gross):
        yield Violation("P1", row.name, f"gross is {row.gross}, by what was answered {gross}")
    refunded = _given_back(by_kind)
    if not refunded.holds(row.refunded):
        yield Violation("P11", row.name, f"refunded is {row.refunded}, by what was answered {refunded}")
    disputed = _held(row, by_kind)
    if not disputed.holds(row.disputed):
        yield Violation("P11", row.name, f"disputed is {row.disputed}, by what was answered {disputed}")


def _taken(made: Operation, row: Row, pays: list[Operation]) -> Bounds:
    if made.request["kind"] == "record":
        return Bounds(row.amount, row.amount)
    bounds = Bounds()
    for pay in pays:
        bounds.may_grow(row.amount, surely=pay.facts.get("status") == _SUCCEEDED)
    return bounds


def _given_back(by_kind: Mapping[str, list[Operation]]) -> Bounds:
    bounds = Bounds()
    for operation in (*by_kind.get("reverse", ()), *by_kind.get("dashboard", ())):
        body = operation.request["body"]
        bounds.may_grow(int(body.get("minor_units") or body["amount"]), surely=operation.is_done)
    for operation in by_kind.get("refund", ()):
        # Accepted is not given back yet; what the answer says is.
        bounds.may_grow(int(operation.request["body"]["amount"]["minor_units"]), surely=False)
        bounds.low += int(operation.facts.get("refunded") or 0)
    return bounds


def _held(row: Row, by_kind: Mapping[str, list[Operation]]) -> Bounds:
    bounds = Bounds()
    won = by_kind.get("win", ())
    for operation in by_kind.get("dispute", ()):
        bounds.may_grow(row.gross, surely=operation.is_done and not won)
    if any(operation.is_done for operation in won):
        bounds.high = 0
    return bounds
