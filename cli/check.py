"""`mesh check`: evaluates the money invariants from outside, read-only, and says of each whether it holds."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field

import aiohttp
import asyncpg
import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError
from redis.exceptions import RedisError

from cli import places as whereabouts
from cli import status
from cli.config import CheckSettings, MeshSettings
from cli.folder import DataFolder
from cli.invariants.catalogue import INVARIANTS
from cli.invariants.invariant import Findings, Invariant
from cli.invariants.quiet import NotQuiet
from cli.invariants.view import NotHere, Sleep, View, open_view
from cli.places import Places
from cli.refusal import CommandRefused

EXIT_VIOLATED = 1
EXIT_UNREAD = 2
_AWAY = (
    OSError,
    aiohttp.ClientError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # how the driver reports a connection that broke between two of its steps
    asyncpg.PostgresError,
    grpc.aio.AioRpcError,
    NatsError,
    RedisError,
    # Something answered, and not what it should.
    DecodeError,
    json_format.ParseError,
)


class Verdict(enum.StrEnum):
    HOLDS = "holds"
    VIOLATED = "violated"
    SKIPPED = "skipped"
    """It cannot be told on this mesh, or not from here."""
    UNREAD = "unread"
    """It could not be told: something did not answer, or the mesh did not become quiet in the time that it was given."""


@dataclass(frozen=True, slots=True)
class Line:
    """What was found of an invariant, and how long it took; `reason`: why not all of it was looked at."""

    invariant: Invariant
    verdict: Verdict
    ms: int
    findings: Findings = field(default_factory=Findings)
    reason: str = ""


async def check(
    places: Places, *, wait_s: float | None = None, only: Collection[str] = (), sleep: Sleep = asyncio.sleep
) -> AsyncIterator[Line]:
    """A line for each invariant, or for those of `only`, as soon as it is known.

    `wait_s`: how long the mesh may take to become quiet, for the one that needs it.
    """
    async with open_view(places, wait_s=wait_s, sleep=sleep) as view:
        for invariant in INVARIANTS:
            if not only or invariant.number in only:
                yield await examine(invariant, view)


async def examine(invariant: Invariant, view: View, *, clock: Callable[[], float] = time.monotonic) -> Line:
    """One invariant; whatever does not answer is told, never raised."""
    began, findings = clock(), Findings()

    def line(verdict: Verdict, reason: str = "") -> Line:
        # What was found before something did not answer does not hold, whatever the rest would have been.
        verdict = Verdict.VIOLATED if findings.violated else verdict
        return Line(invariant, verdict, round((clock() - began) * 1000), findings, reason)

    try:
        await invariant.check(view, findings)
    except NotHere as error:
        return line(Verdict.SKIPPED, str(error))
    except NotQuiet as error:
        # Whoever gave it time to become quiet wants it told.
        return line(Verdict.UNREAD if view.wait_s else Verdict.SKIPPED, f"not quiet: {error}")
    except _AWAY as error:
        return line(Verdict.UNREAD, _words(error))
    return line(Verdict.HOLDS)


def _words(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def exit_code(lines: Iterable[Line]) -> int:
    """0: what could be told holds; 1: something does not; 2: something could not be told that should."""
    verdicts = {line.verdict for line in lines}
    if Verdict.VIOLATED in verdicts:
        return EXIT_VIOLATED
    return EXIT_UNREAD if Verdict.UNREAD in verdicts else 0


def find(folder: DataFolder, settings: MeshSettings, named: CheckSettings) -> Places:
    """The mesh that the environment names, otherwise the one that runs on this machine.

    Raises:
        CommandRefused: there is none.
    """
    return whereabouts.of_environment(named) or whereabouts.of_run(status.running(folder), folder, settings)


def chosen(names: str) -> list[str]:
    """The numbers in a list such as `P1,P8`; of an empty one none.

    Raises:
        CommandRefused: one of them is no invariant that can be checked.
    """
    wanted = [name.strip().upper() for name in names.split(",") if name.strip()]
    known = [invariant.number for invariant in INVARIANTS]
    if strange := [name for name in wanted if name not in known]:
        raise CommandRefused(f"{', '.join(strange)} cannot be checked: name some of {', '.join(known)}")
    return wanted
