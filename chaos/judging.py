"""After the faults: does everything converge, and does it agree with what callers were told?"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Iterator

import aiohttp

from chaos import books, reading
from chaos.books import Violation
from chaos.calls import Answer, Calls, Outcome, Request, Way
from chaos.journal import Entry, Journal
from chaos.provider import Provider
from cli import check
from cli.check import Line, Verdict
from cli.places import Places

# From the moment at which every part answers until every book says the same; longer where a log is published again.
CONVERGED_S_MAX = 10.0
CONVERGED_AFTER_LOSS_S_MAX = 30.0
# Late duplicates must move nothing.
CALM_S = 2.0
_QUIET_S_MAX = 10.0
_LOOK_S = 1.0
_REPEATED_MAX = 200
_REPEATED_AT_ONCE = 8
_REPEAT_TRIES_MAX = 30
_REPEAT_PAUSE_S = 0.5
_REPEATABLE = ("record", "reverse", "promise", "refund")


async def converge(places: Places, provider: Provider, *, losses: bool, tell: Callable[[str], None]) -> list[Violation]:
    """Returns nothing as soon as every book says the same, and what still differs after the bound.

    `tell` hears what it waits for.
    """
    bound_s = CONVERGED_AFTER_LOSS_S_MAX if losses else CONVERGED_S_MAX
    loop = asyncio.get_running_loop()
    began = loop.time()
    found: list[Violation] = []
    while loop.time() < began + bound_s:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            await provider.hurry()
        (line,) = [line async for line in check.check(places, wait_s=_LOOK_S, only=["P13"])]
        if line.verdict is Verdict.HOLDS:
            return []
        found = list(_violations(line))
        tell(f"converging: {'; '.join(violation.words for violation in found)}")
    return [Violation("P15", "convergence", f"not within {bound_s:g} s"), *found]


async def taken(provider: Provider) -> list[Violation]:
    """P7: nothing that the provider tells is turned away for ever, not even where the books agree without it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    untaken = await provider.untaken()
    while untaken and loop.time() < began + _QUIET_S_MAX:
        await provider.hurry()
        await asyncio.sleep(_LOOK_S)
        untaken = await provider.untaken()
    return [Violation("P7", event_id, f"{kind} is turned away whenever it comes") for event_id, kind in untaken]


async def examine(places: Places) -> list[Violation]:
    """Everything that `mesh check` knows; what could not be told is a violation here."""
    lines = [line async for line in check.check(places, wait_s=_QUIET_S_MAX)]
    return [violation for line in lines for violation in _violations(line)]


def _violations(line: Line) -> Iterator[Violation]:
    number = line.invariant.number
    if line.verdict is Verdict.UNREAD:
        yield Violation(number, "unread", line.reason)
    if line.verdict is Verdict.VIOLATED:
        for found in line.findings.violations:
            yield Violation(number, found.key, found.words)


async def compare_journal(places: Places, journal: Journal, *, charity_id: str) -> list[Violation]:
    """P1 to P4 and P11: what callers were told beside what is stored."""
    return list(books.compare(books.operations(journal.entries), await reading.rows(places, charity_id)))


async def repeat(places: Places, calls: Calls, journal: Journal, *, chance: random.Random) -> list[Violation]:
    """P4: what was answered once is answered so again, and has no second effect."""
    done = [
        (entry, operation.facts.get("donation_id", ""))
        for operation in books.operations(journal.entries).values()
        if operation.is_done and (entry := operation.request)["kind"] in _REPEATABLE
    ]
    chosen = chance.sample(done, min(len(done), _REPEATED_MAX))
    before = await reading.effects(places)
    gate = asyncio.Semaphore(_REPEATED_AT_ONCE)

    async def again(entry: Entry, told: str) -> Violation | None:
        async with gate:
            answer = await _answer(calls, request_of(entry))
        if answer.outcome is not Outcome.DONE:
            return Violation("P4", entry["id"], f"was done, and is {answer.outcome} now: {answer.words}")
        if answer.donation_id != told:
            return Violation("P4", entry["id"], f"was answered with {told}, and is {answer.donation_id} now")
        return None

    found = [violation for violation in await asyncio.gather(*(again(*one) for one in chosen)) if violation]
    after = await reading.effects(places)
    if after != before:
        found.append(Violation("P4", "rows", f"{before} rows before {len(chosen)} repeats, {after} after them"))
    return found


async def _answer(calls: Calls, request: Request) -> Answer:
    """What a repeat is answered; a breaker that the faults have opened lets one call through at first, the others later."""
    for _ in range(_REPEAT_TRIES_MAX):
        answer = await calls.send(request)
        if answer.outcome is not Outcome.UNKNOWN:
            break
        await asyncio.sleep(_REPEAT_PAUSE_S)
    return answer


def request_of(entry: Entry) -> Request:
    """The request as it was sent."""
    names = ("id", "kind", "path", "body", "key", "client_id", "about")
    return Request(way=Way(entry["way"]), **{name: entry[name] for name in names})


def repaired_without_cause(repairs: int, *, losses: bool) -> Iterable[Violation]:
    """P19: a healer must not hide a mistake."""
    if repairs and not losses:
        yield Violation("P19", "repairs", f"{repairs}, and nothing was lost")
