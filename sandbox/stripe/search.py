"""Stripe's search language over payment intents and charges, behind by as much as Stripe's is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sandbox.stripe import lists
from sandbox.stripe.refusals import malformed
from sandbox.stripe.work import Object, Work

_TEXT = r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<number>-?\d+)|(?P<null>null))"""
_FIELD = r"""(?P<name>[a-z_]+)(?:\[(?:"(?P<key2>(?:[^"\\]|\\.)*)"|'(?P<key1>(?:[^'\\]|\\.)*)')\])?"""
_CLAUSE = re.compile(rf"\s*(?P<negated>-)?{_FIELD}\s*(?P<operator>:|~|>=|<=|>|<)\s*{_TEXT}\s*")
_JOINER = re.compile(r"(AND|OR)\b|(?=\S)", re.IGNORECASE)
_FIELDS = frozenset({"amount", "created", "currency", "customer", "status", "payment_method", "refunded", "disputed"})
_CLAUSES_MAX = 10
_SEQ_MAX = 1 << 62


class Clause(NamedTuple):
    name: str
    key: str | None
    operator: str
    value: Any
    negated: bool

    def holds(self, thing: Mapping[str, Any]) -> bool:
        found = thing["metadata"].get(self.key) if self.key is not None else thing.get(self.name)
        return _compares(self.operator, found, self.value) != self.negated


class Query(NamedTuple):
    """Clauses of which all hold, or one of them where `any` is set."""

    clauses: list[Clause]
    any: bool

    def holds(self, thing: Mapping[str, Any]) -> bool:
        held = (clause.holds(thing) for clause in self.clauses)
        return any(held) if self.any else all(held)

    def label(self) -> Clause | None:
        """A metadata clause that every match fulfils."""
        exact = (
            clause for clause in self.clauses if clause.key is not None and clause.operator == ":" and not clause.negated
        )
        return None if self.any else next((clause for clause in exact if clause.value is not None), None)


def _compares(operator: str, found: Any, value: Any) -> bool:
    if operator == ":" or found is None or value is None:
        return operator == ":" and _same(found, value)
    if operator == "~":
        return str(value).lower() in str(found).lower()
    left, right = int(found), int(value)
    return {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[operator]


def _same(found: Any, value: Any) -> bool:
    if found is None or value is None:
        return found is value
    return str(found).lower() == str(value).lower()


def parsed(text: str) -> Query:
    """Raises `Refused` for what is no query."""
    clauses: list[Clause] = []
    joiners: set[str] = set()
    position = 0
    while position < len(text) or not clauses:
        match = _CLAUSE.match(text, position)
        if match is None or len(clauses) == _CLAUSES_MAX:
            raise _unreadable(text)
        clauses.append(_clause(match))
        position = match.end()
        joiner = _JOINER.match(text, position)
        if joiner is not None:
            joiners.add((joiner[1] or "AND").upper())
            position = joiner.end()
    if len(joiners) > 1:
        raise malformed("You cannot mix AND and OR in a search query.", param="query")
    return Query(clauses, any=joiners == {"OR"})


def _clause(match: re.Match[str]) -> Clause:
    name, key = match["name"], match["key1"] if match["key1"] is not None else match["key2"]
    if (name == "metadata") != (key is not None) or (key is None and name not in _FIELDS):
        raise malformed(f"Field `{name}` is an unsupported search field for this resource.", param="query")
    quoted = match["single"] if match["single"] is not None else match["double"]
    value = int(match["number"]) if match["number"] else _unescaped(quoted)
    return Clause(name, None if key is None else _unescaped(key), match["operator"], value, bool(match["negated"]))


def _unescaped(text: str | None) -> str | None:
    return None if text is None else re.sub(r"\\(.)", r"\1", text)


def _unreadable(text: str) -> Exception:
    return malformed(f"We were unable to parse your search query: {text}", param="query")


def search(work: Work, kind: str, given: Mapping[str, Any], *, url: str) -> Object:
    query = parsed(given["query"])
    limit = lists.limit_of(given)
    found: list[tuple[int, Object]] = []
    for seq, thing in _noticed(work, kind, query, before=_before(given)):
        if len(found) == limit:
            return _result(found, url=url, more=True)
        found.append((seq, thing))
    return _result(found, url=url, more=False)


def _before(given: Mapping[str, Any]) -> int:
    page = given.get("page", str(_SEQ_MAX))
    if not page.isdecimal():
        raise malformed("Invalid page.", param="page")
    return int(page)


def _noticed(work: Work, kind: str, query: Query, *, before: int) -> Iterator[tuple[int, Object]]:
    """Objects whose version that search has noticed fits, as they are now."""
    common = {"kind": kind, "before": before, "now": work.now, "delay": work.rules.search_delay_s}
    label = query.label() if kind == "payment_intent" else None
    if label is None:
        rows = work.ask_named("searched", **common)
    else:
        rows = work.ask_named("searched_by_label", key=label.key, value=str(label.value), **common)
    for seq, body, noticed in rows:
        if noticed is not None and query.holds(json.loads(noticed)):
            yield seq, json.loads(body)


def _result(found: list[tuple[int, Object]], *, url: str, more: bool) -> Object:
    return {
        "object": "search_result",
        "data": [thing for _, thing in found],
        "has_more": more,
        "next_page": str(found[-1][0]) if more else None,
        "url": url,
    }
