"""Structured logs: one JSON object a line on stdout, with the correlation id of the call that caused it."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(*, service: str, level: str) -> None:
    """Sets up logging for the process; call once, at start."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    # A database that is away is reported by health, once; the driver would print a traceback per attempt.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
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
