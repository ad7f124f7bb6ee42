"""Objects as the caller is shown them: expanded, as of now, and for publishable keys without what is the merchant's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.stripe import ledger
from sandbox.stripe.refusals import malformed, no_such
from sandbox.stripe.shapes import account
from sandbox.stripe.shapes.payment import PUBLIC_FIELDS
from sandbox.stripe.work import Object, Work, shown

_DEPTH_MAX = 4
# Fields that hold an id, and stand for the object when asked for.
_EXPANDABLE = frozenset(
    {
        "balance_transaction",
        "charge",
        "customer",
        "failure_balance_transaction",
        "latest_charge",
        "payment_intent",
        "payment_method",
        "source",
    }
)


def rendered(work: Work, thing: Object, *, expand: Sequence[str] = (), public: bool = False) -> Object:
    """What the caller sees.

    Raises:
        Refused: a path of `expand` leads nowhere.
    """
    view = _now(work, thing)
    for path in expand:
        parts = path.split(".")
        if len(parts) > _DEPTH_MAX:
            raise malformed(f"You cannot expand more than {_DEPTH_MAX} levels of a property: {path}.", param="expand")
        _expand(work, view, parts, path)
    return {name: view[name] for name in PUBLIC_FIELDS if name in view} if public else view


def _now(work: Work, thing: Object) -> Object:
    view = shown(thing)
    if view["object"] in ("list", "search_result"):
        view["data"] = [_now(work, item) for item in view["data"]]
    elif view["object"] == "balance_transaction":
        return ledger.as_of(view, work.now)
    return view


def _expand(work: Work, view: Object, parts: Sequence[str], path: str) -> None:
    head, rest = parts[0], parts[1:]
    if head == "data" and view["object"] in ("list", "search_result"):
        for item in view["data"]:
            _expand(work, item, rest, path)
        return
    if head == "refunds" and view["object"] == "charge":
        view[head] = _refunds(work, view)
        return
    if head not in view or head not in _EXPANDABLE:
        message = f"This property cannot be expanded ({path})."
        raise malformed(message, param="expand", code="property_cannot_be_expanded")
    if isinstance(view[head], str):
        view[head] = _now(work, _any(work, view[head]))
    if rest and view[head] is not None:
        _expand(work, view[head], rest, path)


def _refunds(work: Work, charge: Mapping[str, Any]) -> Object:
    refunds = [_now(work, refund) for refund in reversed(work.children(charge["id"], "refund"))]
    return account.page(refunds, url=f"/v1/charges/{charge['id']}/refunds", has_more=False)


def _any(work: Work, object_id: str) -> Object:
    thing = work.find(object_id)
    if thing is None:
        raise no_such("object", object_id, param="expand")
    return thing
