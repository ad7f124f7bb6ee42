"""A part of the mesh as it is started: as a direct child that dies with us, as another user if need be."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.refusal import CommandRefused

_LAUNCHER = Path(__file__).with_name("launch.py")
_LINE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Account:
    """A user other than ours that a part runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """What runs, where it answers, and how it is asked to stop."""

    name: str
    command: tuple[str, ...]
    probe: str
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # holds secrets
    folder: Path | None = None
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    # Sent by the kernel when the supervisor is killed: at once, because nobody is left to wait for a slow end.
    death_signal: signal.Signals = signal.SIGKILL
    start_s_max: float = 30.0
    stop_s_max: float = 15.0


async def spawn(part: Part) -> asyncio.subprocess.Process:
    """Starts its program; stdout and stderr come as one stream."""
    user = (str(part.account.uid), str(part.account.gid)) if part.account else ("-", "-")
    launcher = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(int(part.death_signal)), *user)
    return await asyncio.create_subprocess_exec(
        *launcher,
        *part.command,
        env=dict(part.environment),
        cwd=part.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_LINE_BYTES_MAX,
        start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops its parts in order
    )


async def run(part: Part) -> None:
    """Runs a program that ends by itself, within `start_s_max`.

    Raises:
        CommandRefused: it failed; carries its last line.
    """
    process = await spawn(part)
    try:
        async with asyncio.timeout(part.start_s_max):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandRefused(f"{part.name} did not end within {part.start_s_max:g} s") from None
    if process.returncode:
        raise CommandRefused(f"{part.name} failed{last_line(output.decode(errors='replace').splitlines())}")


def last_line(lines: Iterable[str]) -> str:
    """The last line that says something, as the end of a message."""
    telling = [line.strip() for line in lines if line.strip()]
    return f": {telling[-1]}" if telling else ""
