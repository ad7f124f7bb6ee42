"""Path templates of `google.api.http`, compiled; and paths, taken apart without trusting them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

# What the contract's templates use: literals, {variable} as a whole segment, and a verb at the end.
_SEGMENT = re.compile(r"(?P<literal>[A-Za-z0-9_.-]+)|\{(?P<variable>[a-z][a-z0-9_.]*)(=\*)?\}")
# Most paths: nothing to decode and nothing to suspect.
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_-]+)+(?::[A-Za-z]+)?")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN = re.compile("[/\\\\\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. `literals` has None where `variables` names a field."""

    text: str
    literals: tuple[str | None, ...]
    variables: tuple[tuple[int, str], ...]
    verb: str


def compile_template(text: str) -> Template:
    """Compiles one template.

    Raises:
        LookupError: it uses what this gateway does not know, such as ** or a pattern inside of a variable.
    """
    path, _, verb = text.partition(":") if ":" in text.rpartition("/")[2] else (text, "", "")
    parts = [_SEGMENT.fullmatch(part) for part in path.removeprefix("/").split("/")]
    if not path.startswith("/") or not all(parts):
        raise LookupError(f"the path template {text} is not understood")
    found = [part for part in parts if part]
    variables = tuple((index, part["variable"]) for index, part in enumerate(found) if part["variable"])
    return Template(text, tuple(part["literal"] for part in found), variables, verb)


def take_apart(path: bytes) -> tuple[tuple[str, ...], str] | None:
    """The decoded segments and the verb of a raw path; None for a path that no template can mean.

    Segments are decoded one by one after splitting, so %2F never becomes a separator and %3A never a verb.
    """
    if not path.startswith(b"/"):
        return None
    if _PLAIN.fullmatch(path):
        text, _, word = path.decode("ascii").partition(":")
        return tuple(text[1:].split("/")), word
    *head, last = path[1:].split(b"/")
    value, colon, verb = last.partition(b":")
    segments = tuple(_decode(segment) for segment in (*head, value))
    return None if (colon and not verb) or not all(segments) else (segments, verb.decode("latin-1"))


def _decode(segment: bytes) -> str:
    """The segment as text; empty where it is a trick: dots, separators, control characters, broken escapes."""
    if b"%" not in segment:
        text = segment.decode("latin-1")
    elif _BAD_ESCAPE.search(segment):
        return ""
    else:
        text = unquote_to_bytes(segment).decode("utf-8", "replace")
    return "" if text in (".", "..") or "\ufffd" in text or _FORBIDDEN.search(text) else text
