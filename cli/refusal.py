from __future__ import annotations


class CommandRefused(Exception):  # noqa: N818 - an answer to the person at the terminal
    """What stops a command: one line that says what to do, shown without a traceback."""
