"""Programs of ours, run as a person at a terminal would."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def environment(**settings: str) -> dict[str, str]:
    """What the terminal's environment holds: our code first, then what the tests themselves were told to import from."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "gen"), str(ROOT / "client"), os.environ.get("PYTHONPATH", "")])
    return {"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **settings}


async def python(*arguments: str, settings: Mapping[str, str] | None = None) -> Ended:
    """Runs a program of ours to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=environment(**(settings or {})),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    # A payment whose answer was cut off is asked about again after half a minute, and that may be cut off too.
    async with asyncio.timeout(240):
        out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


async def mesh(*arguments: str, **settings: str) -> Ended:
    return await python("-m", "cli", *arguments, settings=settings)


async def until(condition: Callable[[], bool], *, within_s: float = 20) -> None:
    """Waits for a condition; fails when it does not come."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - processes have no events to wait for
            await asyncio.sleep(0.01)
