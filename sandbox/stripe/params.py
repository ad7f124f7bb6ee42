"""What a call takes: names with a reader each. Whatever a table does not name is unknown, as at Stripe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.stripe.refusals import Refused, malformed, missing_parameter, unknown_parameters

Reader = Callable[[Any, str], Any]
Table = Mapping[str, Reader]

_METADATA_KEYS_MAX = 50
_METADATA_KEY_MAX = 40
_METADATA_VALUE_MAX = 500
_TEXT_MAX = 5_000
_DIGITS_MAX = 18


def read(given: Mapping[str, Any], table: Table, *, required: tuple[str, ...] = (), within: str = "") -> dict[str, Any]:
    """The values that were given, by name.

    Raises:
        Refused: one is unknown, missing, or no value of its kind; nothing is saved under the key.
    """
    unknown = [_name(within, name) for name in given if name not in table]
    if unknown:
        raise unknown_parameters(unknown)
    for name in required:
        if name not in given:
            raise missing_parameter(_name(within, name))
    return {name: table[name](value, _name(within, name)) for name, value in given.items()}


def _name(within: str, name: str) -> str:
    return f"{within}[{name}]" if within else name


def text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise malformed("Invalid string: " + str(value), param=name, code="parameter_invalid_string")
    if value == "":
        message = f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; "
        raise malformed(
            message + f"however '{name}' cannot be unset. You should remove '{name}' from your request or supply a value.",
            param=name,
            code="parameter_invalid_empty",
        )
    if len(value) > _TEXT_MAX:
        raise malformed(f"Invalid string: {name} must be at most {_TEXT_MAX} characters", param=name)
    return value


def unsettable(value: Any, name: str) -> str | None:
    """A text; the empty one unsets."""
    return None if value == "" else text(value, name)


def integer(value: Any, name: str) -> int:
    if isinstance(value, str) and value.lstrip("-").isdecimal() and value.isascii() and len(value) <= _DIGITS_MAX:
        return int(value)
    raise malformed(f"Invalid integer: {value}", param=name, code="parameter_invalid_integer")


def boolean(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise malformed(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def one_of(*choices: str) -> Reader:
    def choice(value: Any, name: str) -> str:
        if value not in choices:
            raise malformed(f"Invalid {name}: must be one of {', '.join(choices)}", param=name)
        return str(value)

    return choice


def texts(value: Any, name: str) -> list[str]:
    if value == "":
        return []
    if not isinstance(value, list):
        raise malformed("Invalid array", param=name)
    return [text(item, f"{name}[{index}]") for index, item in enumerate(value)]


def fields(table: Table, *required: str) -> Reader:
    """An object with these fields."""

    def parsed(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise malformed("Invalid object", param=name)
        return read(value, table, required=required, within=name)

    return parsed


def anything(value: Any, _name: str) -> Any:
    """What the sandbox takes and does not act on, such as what browsers tell about themselves."""
    return value


def metadata(value: Any, name: str) -> dict[str, str | None] | None:
    """Keys with a text each; an empty text unsets the key, an empty metadata all of them (None)."""
    if value == "":
        return None
    if not isinstance(value, dict):
        raise malformed("Invalid object", param=name)
    for key, item in value.items():
        _check_metadata(key, item, name)
    return {key: item or None for key, item in value.items()}


def _check_metadata(key: str, item: Any, name: str) -> None:
    if not isinstance(item, str):
        raise malformed(
            f"Metadata values must be strings, but for key `{key}` you passed in a value of another type.", param=name
        )
    if len(key) > _METADATA_KEY_MAX:
        raise malformed(f"Metadata keys can have up to {_METADATA_KEY_MAX} characters: {key}", param=name)
    if len(item) > _METADATA_VALUE_MAX:
        message = (
            f"Metadata values can have up to {_METADATA_VALUE_MAX} characters, but you passed in a value that is "
            f"{len(item)} characters. Invalid value: {item[:100]}"
        )
        raise malformed(message, param=f"{name}[{key}]")


def merged(known: Mapping[str, str], change: Mapping[str, str | None] | None) -> dict[str, str]:
    """Metadata after a change.

    Raises:
        Refused: that would be too many keys.
    """
    if change is None:
        return {}
    both = {key: value for key, value in {**known, **change}.items() if value is not None}
    if len(both) > _METADATA_KEYS_MAX:
        message = f"Metadata can have up to {_METADATA_KEYS_MAX} keys"
        raise Refused(message, param="metadata", saved=False)
    return both


# What a range of times or amounts takes.
_BOUNDS: Table = {"gt": integer, "gte": integer, "lt": integer, "lte": integer}


def moments(value: Any, name: str) -> dict[str, int]:
    """`created=5` or `created[gte]=5`, as bounds."""
    if isinstance(value, dict):
        return read(value, _BOUNDS, within=name)
    exact = integer(value, name)
    return {"gte": exact, "lte": exact}
