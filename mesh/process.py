"""One process of the mesh, from its environment to its clean end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import structlog
import uvloop
from prometheus_client import start_http_server

from mesh import crashpoints, logs
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
    crashpoints.arm(values.crash_points)
    if values.chaos:
        crashpoints.live(Path(values.chaos), role=service)
    try:
        uvloop.run(_run(values, application))
    except (OSError, DependencyUnavailable, StartRefused) as error:
        print(f"{service}: {error}", file=sys.stderr)  # noqa: T201 - the one line that a person needs
        raise SystemExit(1) from None


class StartRefused(Exception):  # noqa: N818 - an answer to the operator
    """The process must not run like this; its text says what to do."""


async def _run(values: SettingsT, application: Callable[[SettingsT], AbstractAsyncContextManager[Any]]) -> None:
    """Serves until a signal. One that comes while the application is being entered ends it there."""
    stopping = _Stopping()
    serving = asyncio.create_task(_serve(values, application, stopping))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, serving, stopping)
    try:
        await serving
    except asyncio.CancelledError:
        _log.info("stopped before it served")
        return
    _log.info("stopped")


async def _serve(
    values: SettingsT,
    application: Callable[[SettingsT], AbstractAsyncContextManager[Any]],
    stopping: _Stopping,
) -> None:
    async with application(values):
        with _metrics(values):
            stopping.entered = True
            _log.info("ready")
            await stopping.asked.wait()
            _log.info("stopping")


class _Stopping:
    """Whether the process serves, and whether it was asked to stop."""

    def __init__(self) -> None:
        self.entered = False
        self.asked = asyncio.Event()


def _stop(serving: asyncio.Task[None], stopping: _Stopping) -> None:
    stopping.asked.set()
    if not stopping.entered:
        serving.cancel()


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
