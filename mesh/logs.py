"""Structured logs: one JSON object a line on stdout, with the correlation id of the call that caused it."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from mesh.rpc.call import current_call


def configure(*, service: str, level: str) -> None:
    """Sets up logging for the process; call once, at start."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    # A database that is away is reported by health, once; the driver would print a traceback per attempt.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _correlate,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def _correlate(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Names the call that the line belongs to, where it belongs to one."""
    call = current_call()
    if call:
        line.setdefault("correlation_id", call.correlation_id)
    return line
