"""Form-encoded parameters, nested with brackets as Stripe's clients write them."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from sandbox.stripe.refusals import Refused

_FIELDS_MAX = 1_000
_DEPTH_MAX = 10
_PARTS = re.compile(r"\[([^\]]*)\]")


def parse(text: str) -> dict[str, Any]:
    """`a[b]=x&c[]=y&d[0][e]=z` as {"a": {"b": "x"}, "c": ["y"], "d": [{"e": "z"}]}.

    Raises:
        Refused: it cannot be read.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="strict")
    except ValueError:
        raise Refused("Invalid request: the parameters cannot be read.", saved=False) from None
    tree: dict[str, Any] = {}
    for name, value in pairs:
        _put(tree, _path(name), value)
    return {name: _listed(value) for name, value in tree.items()}


def flat(name: str, value: Any) -> list[tuple[str, str]]:
    """The same back as pairs; lists get indices."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in flat(f"{name}[{key}]" if name else key, inner)]
    if isinstance(value, list):
        return [pair for index, inner in enumerate(value) for pair in flat(f"{name}[{index}]", inner)]
    return [(name, str(value))]


def canonical(params: dict[str, Any]) -> str:
    """Equal for equal parameters, in whatever order they came."""
    return json.dumps(sorted(flat("", params)))


def _path(name: str) -> list[str]:
    head, bracket, _ = name.partition("[")
    if not bracket:
        return [name]
    path = [head, *_PARTS.findall(name[len(head) :])]
    if len(path) > _DEPTH_MAX:
        raise Refused("Invalid request: the parameters are nested too deeply.", saved=False)
    return path


def _put(tree: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        inner = tree.setdefault(part or str(len(tree)), {})
        if not isinstance(inner, dict):
            raise Refused(f"Invalid request: {path[0]} is given both as a value and as an object.", saved=False)
        tree = inner
    tree[path[-1] or str(len(tree))] = value


def _listed(value: Any) -> Any:
    """Objects whose keys are indices are lists."""
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(item) for key, item in value.items()}
    if inner and all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner
