"""One process of the mesh, from its environment to its clean end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import structlog
import uvloop
from prometheus_client import start_http_server

from mesh import logs
from mesh.config import ProcessSettings, load
from mesh.errors import DependencyUnavailable

SettingsT = TypeVar("SettingsT", bound=ProcessSettings)
_log = structlog.get_logger()


def main(
    *,
    service: str,
    settings: type[SettingsT],
    application: Callable[[SettingsT], AbstractAsyncContextManager[Any]],
) -> None:
    """Runs `application` until SIGTERM or SIGINT; exits with 1 and one line where it cannot start."""
    values = load(settings)
    logs.configure(service=service, level=values.log_level)
    try:
        uvloop.run(_run(values, application))
    except (OSError, DependencyUnavailable, StartRefused) as error:
        print(f"{service}: {error}", file=sys.stderr)  # noqa: T201 - the one line that a person needs
        raise SystemExit(1) from None


class StartRefused(Exception):  # noqa: N818 - an answer to the operator
    """The process must not run like this; its text says what to do."""


async def _run(values: SettingsT, application: Callable[[SettingsT], AbstractAsyncContextManager[Any]]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with application(values):
        with _metrics(values):
            _log.info("ready")
            await stopping.wait()
            _log.info("stopping")
    _log.info("stopped")


@contextlib.contextmanager
def _metrics(values: ProcessSettings) -> Any:
    if not values.metrics_port:
        yield
        return
    server, thread = start_http_server(values.metrics_port, addr="127.0.0.1")
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
