"""Output of the parts on the terminal: each line behind its part's name, JSON logs made readable."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

_COLOURS = {
    "mesh": "bold white",
    "postgres": "blue",
    "nats": "cyan",
    "valkey": "magenta",
    "donation": "green",
    "payment": "yellow",
    "aggregator": "bright_blue",
    "gateway": "bright_green",
    "live": "bright_magenta",
}
_LEVEL_STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red"}
_NAME_WIDTH = max(map(len, _COLOURS))
# What servers say about their everyday life; only `debug` shows it.
_CHATTER = {
    "postgres": (" LOG:  ", "the database system is starting up"),
    "nats": ("[INF]",),
    "valkey": ("signal-handler", "bye bye", "overcommit"),
}
# A log may repeat what a stranger sent; it must not steer the terminal.
_CONTROL = dict.fromkeys(code for code in (*range(32), *range(127, 160)) if code != ord("\n"))
# Shown already: in front of the line, or by its place in it.
_TAKEN = ("timestamp", "level", "event", "service")


class Terminal:
    def __init__(self, console: Console, *, chatter: bool = False) -> None:
        self._console = console
        self._chatter = chatter

    def show(self, name: str, line: str) -> None:
        if not self._chatter and is_chatter(name, line):
            return
        prefix = Text(f"{name:>{_NAME_WIDTH}} │ ", style=_COLOURS.get(name, "white"))
        self._console.print(prefix + readable(line), soft_wrap=True, highlight=False)


def harmless(text: str) -> str:
    """A text of somebody else, without what steers a terminal."""
    return text.translate(_CONTROL)


def is_chatter(name: str, line: str) -> bool:
    return any(mark in line for mark in _CHATTER.get(name, ()))


def readable(line: str) -> Text:
    """One line for people: time, level, event, key=value. What is no JSON log stays as it is."""
    fields = _fields(line)
    if fields is None:
        return Text.from_ansi(line)
    level = str(fields.get("level", ""))
    rest = " ".join(f"{key}={_value(value)}" for key, value in fields.items() if key not in _TAKEN)
    clock = str(fields.get("timestamp", ""))[11:23]
    return Text(harmless(f"{clock} {level:<7} {fields['event']} {rest}".strip()), style=_LEVEL_STYLES.get(level, ""))


def _fields(line: str) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and "event" in fields else None


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
