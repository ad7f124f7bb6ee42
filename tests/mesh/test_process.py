"""One process, from its environment to its end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from contextlib import asynccontextmanager
from mesh.config import ProcessSettings
from mesh.process import main

@asynccontextmanager
async def application(settings):
    print("entering", flush=True)
    if sys.argv[1] == "waits":
        await asyncio.Event().wait()
    if sys.argv[1] == "refuses":
        raise OSError("127.0.0.1:1 is in use; set LISTEN_PORT to a free port")
    yield
    print("left", flush=True)

main(service="pretend", settings=ProcessSettings, application=application)
"""


async def started(kind: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, kind),
        env={"PYTHONPATH": f"{ROOT}:{ROOT}/gen", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert await process.stdout.readline() == b"entering\n"
    return process


@pytest.mark.requirement("OPS-6")
async def test_a_signal_ends_a_process_that_serves_in_order() -> None:
    process = await started("serves")
    assert process.stdout
    assert b"ready" in await process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, _ = await process.communicate()

    assert b"left" in out
    assert process.returncode == 0


@pytest.mark.requirement("OPS-6")
async def test_a_signal_ends_a_process_that_is_still_starting() -> None:
    process = await started("waits")
    process.send_signal(signal.SIGTERM)
    out, _ = await process.communicate()

    assert b"stopped before it served" in out
    assert process.returncode == 0


async def test_what_keeps_a_process_from_starting_is_one_line() -> None:
    process = await started("refuses")
    _, err = await process.communicate()

    assert err == b"pretend: 127.0.0.1:1 is in use; set LISTEN_PORT to a free port\n"
    assert process.returncode == 1
