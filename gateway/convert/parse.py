"""Bytes → JSON values that keep what Python's json would lose: duplicate keys and numbers as they were written."""

from __future__ import annotations

import json
import re
from typing import TypeAlias

from mesh.errors import MalformedRequest

# The contract nests five levels; the parser recurses, so depth is checked before it runs.
DEPTH_MAX = 32
# Possessive and with an optional end: one pass also over unterminated strings.
_STRUCTURE = re.compile(r'"(?:[^"\\]+|\\.)*+"?|[\[\]{}]', re.DOTALL)

Json: TypeAlias = "Members | list[Json] | Number | str | bool | None"


class Number(str):
    """A JSON number as it was written, also NaN and Infinity."""

    __slots__ = ()


class Members(list[tuple[str, "Json"]]):
    """The members of a JSON object, in order, duplicates kept."""

    __slots__ = ()

    def get(self, name: str) -> Json:
        """The first member of that name; None where there is none."""
        return next((value for key, value in self if key == name), None)


def parse(raw: bytes) -> Json:
    """The value that `raw` holds.

    Raises:
        MalformedRequest: it is not UTF-8, no JSON, or nested too deeply.
    """
    try:
        text = raw.decode()
        _check_depth(text)
        value: Json = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise MalformedRequest("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"the body is no JSON, at character {error.pos}") from None
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    depth = 0
    for token in _STRUCTURE.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth > DEPTH_MAX:
            raise MalformedRequest(f"the body is nested deeper than {DEPTH_MAX} levels")


_DECODER = json.JSONDecoder(object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=Number)
