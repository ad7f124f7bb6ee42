"""Pages of objects, newest first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sandbox.stripe import params
from sandbox.stripe.params import Table
from sandbox.stripe.refusals import malformed, no_such
from sandbox.stripe.shapes import account
from sandbox.stripe.work import Object, Work

PAGING: Table = {
    "limit": params.integer,
    "starting_after": params.text,
    "ending_before": params.text,
    "created": params.moments,
}
_LIMIT = 10
_LIMIT_MAX = 100
_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
# What lists may be narrowed down by → how that reads in SQL. Names are ours, never a caller's.
_CONDITIONS = {
    ("charge", "payment_intent"): "parent = ?",
    ("refund", "charge"): "parent = ?",
    ("dispute", "charge"): "parent = ?",
    ("balance_transaction", "source"): "parent = ?",
    ("payment_method", "customer"): "parent = ?",
    ("refund", "payment_intent"): "intent = ?",
    ("dispute", "payment_intent"): "intent = ?",
    ("balance_transaction", "payout"): "seq IN (SELECT seq FROM movement WHERE payout = ?)",
}


def limit_of(given: Mapping[str, Any]) -> int:
    limit: int = given.get("limit", _LIMIT)
    if not 1 <= limit <= _LIMIT_MAX:
        raise malformed(
            f"Invalid limit: must be between 1 and {_LIMIT_MAX}", param="limit", code="parameter_invalid_integer"
        )
    return limit


def page(work: Work, kind: str, given: Mapping[str, Any], *, url: str) -> Object:
    """A page of a kind's objects."""
    where, values = ["kind = ?"], [kind]
    for name in given.keys() - PAGING.keys() - {"expand"}:
        field = f"json_extract(body, '$.{name}')"
        if isinstance(given[name], dict):
            _bound(where, values, field, given[name])
        else:
            where.append(_CONDITIONS.get((kind, name), f"{field} = ?"))
            values.append(given[name])
    return paged(
        work,
        given,
        table="object",
        where=where,
        values=values,
        position=lambda name: _position(work, "seq_of_object", name, given[name], kind),
        url=url,
    )


def paged(
    work: Work,
    given: Mapping[str, Any],
    *,
    table: str,
    where: Sequence[str],
    values: Sequence[Any],
    position: Callable[[str], int],
    url: str,
) -> Object:
    """Reads one row more than asked for, to know whether there are more."""
    limit = limit_of(given)
    conditions, arguments = [*where], [*values]
    _bound(conditions, arguments, "created", given.get("created", {}))
    newer = "ending_before" in given
    for name, operator in (("starting_after", "<"), ("ending_before", ">")):
        if name in given:
            conditions.append(f"seq {operator} ?")
            arguments.append(position(name))
    order = "ASC" if newer else "DESC"
    statement = f"SELECT body FROM {table} WHERE {' AND '.join(conditions)} ORDER BY seq {order} LIMIT {limit + 1}"  # noqa: S608
    found = [json.loads(body) for (body,) in work.connection.execute(statement, arguments)]
    kept = found[:limit]
    return account.page(kept[::-1] if newer else kept, url=url, has_more=len(found) > limit)


def _bound(where: list[str], values: list[Any], field: str, bounds: Mapping[str, int]) -> None:
    """Adds the conditions of a range of times."""
    for name, moment in bounds.items():
        where.append(f"{field} {_OPERATORS[name]} ?")
        values.append(moment)


def _position(work: Work, statement: str, param: str, object_id: str, kind: str) -> int:
    seq = work.one(statement, object_id, kind)
    if seq is None:
        raise no_such(kind, object_id, param=param)
    return int(seq)
