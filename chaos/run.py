"""One run: the mesh comes up, is loaded and disturbed, heals, and is judged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos import judging, points, reading, schedule
from chaos.books import Violation
from chaos.load import Worker
from chaos.nemesis import Nemesis
from chaos.plan import Plan, RunFolder
from chaos.progress import Display
from chaos.schedule import Fault
from chaos.stage import Stage, staged
from chaos.verdict import Verdict

_TICK_S = 0.25
_HEALTHY_S_MAX = 30.0
_LAST_ANSWER_S_MAX = 5.0


async def run(plan: Plan, folder: RunFolder, faults: Sequence[Fault], *, display: Display) -> Verdict:
    """The verdict; nothing is left running.

    Raises:
        MeshDied: the mesh did not come up, or its supervisor ended.
    """
    plan.save(folder.plan)
    schedule.save(folder.schedule, faults)
    folder.points.write_text(json.dumps(points.choose(plan.seed, on=plan.points), indent=1))
    async with staged(plan, folder, display) as stage:
        healed = await _disturb(stage, faults)
        return await _judge(stage, faults, healed)


@dataclass(frozen=True, slots=True)
class _Healed:
    """How many faults there were, and when the last had ended, by the loop's clock."""

    faults: int
    at: float


async def _disturb(stage: Stage, faults: Sequence[Fault]) -> _Healed:
    """Load and faults together, then everything healed and the load at its end."""
    stage.display.step("faults", total_s=stage.plan.seconds)
    failing: list[str] = []
    nemesis, over = Nemesis(stage.mesh, stage.provider, tell=failing.append), asyncio.Event()
    sampling = asyncio.create_task(stage.sampler.run())
    working = [asyncio.create_task(worker.run(over)) for worker in _workers(stage)]
    disturbing = asyncio.create_task(nemesis.run(faults))
    try:
        await _watch(stage, failing, [sampling, disturbing, *working])
        await disturbing
        await stage.mesh.heal()
        over.set()
        stage.display.step("healing")
        healed = _Healed(faults=nemesis.done, at=asyncio.get_running_loop().time())
        # Whoever has no answer by then goes, and never learns what became of his call.
        await asyncio.wait(working, timeout=_LAST_ANSWER_S_MAX)
    finally:
        ended = await _cancelled(sampling, disturbing, *working)
    for error in ended:
        raise error
    return healed


def _workers(stage: Stage) -> Iterator[Worker]:
    for number in range(stage.plan.workers):
        yield Worker(number, stage.plan.source(f"worker {number}"), stage.calls, stage.errand)


async def _watch(stage: Stage, failing: Sequence[str], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Shows how it goes until the time is over; raises what one of the tasks ended with."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while (passed_s := clock() - began) < stage.plan.seconds:
        stage.display.note(_words(stage, failing), done_s=passed_s)
        await asyncio.wait(tasks, timeout=_TICK_S, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()


async def _cancelled(*tasks: asyncio.Task[None]) -> list[BaseException]:
    """Ends them all; what they ended with otherwise."""
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return [result for result in results if result is not None and not isinstance(result, asyncio.CancelledError)]


def _words(stage: Stage, failing: Sequence[str]) -> str:
    counts = stage.calls.counts
    return f"{counts.ops} ops, {counts.done} acked, {counts.unknown} unknown │ {failing[-1] if failing else 'no fault yet'}"


@dataclass(frozen=True, slots=True)
class _Recovery:
    """After how many seconds every part answered, and every book said the same; None: not within the bound."""

    healthy_s: float | None
    recover_s: float | None
    differing: Sequence[Violation]


async def _judge(stage: Stage, faults: Sequence[Fault], healed: _Healed) -> Verdict:
    """First whether it recovers, then whether everything is right."""
    losses = any(fault.loses for fault in faults)
    recovery = await _recover(stage, healed, losses=losses)
    repairs, found = 0, [*stage.sampler.violations, *recovery.differing]
    if recovery.healthy_s is not None:
        stage.display.step("checking")
        await asyncio.sleep(judging.CALM_S)
        repairs = await reading.repairs(stage.mesh.places)
        found += judging.repaired_without_cause(repairs, losses=losses)
        found += await _differences(stage)
    counts, met = stage.calls.counts, points.coverage(stage.folder.lives)
    return Verdict(
        seed=stage.plan.seed,
        losses=losses,
        faults=healed.faults,
        self_kills=sum(point["ended"] for point in met.values()),
        ops=counts.ops,
        acked=counts.done,
        refused=counts.refused,
        unknown=counts.unknown,
        samples=stage.sampler.samples,
        healthy_s=recovery.healthy_s,
        recover_s=recovery.recover_s,
        repairs=repairs,
        coverage=met,
        violations=found,
        folder=str(stage.folder.path),
    )


async def _recover(stage: Stage, healed: _Healed, *, losses: bool) -> _Recovery:
    clock = asyncio.get_running_loop().time
    if not await stage.mesh.healthy(within_s=_HEALTHY_S_MAX):
        words = f"not every part answered {_HEALTHY_S_MAX:g} s after the faults"
        return _Recovery(None, None, [Violation("P15", "health", words)])
    healthy_s = round(clock() - healed.at, 2)
    await stage.provider.heal()
    stage.display.step("converging")
    differing = await judging.converge(stage.mesh.places, stage.provider, losses=losses, tell=stage.display.step)
    return _Recovery(healthy_s, None if differing else round(clock() - healed.at, 2), differing)


async def _differences(stage: Stage) -> list[Violation]:
    """Between what callers were told, what the books say, and what repeats are answered."""
    places = stage.mesh.places
    return [
        *[Violation("P4", *contradiction) for contradiction in stage.calls.contradictions],
        *await judging.compare_journal(places, stage.journal, charity_id=stage.errand.charity_id),
        *await judging.taken(stage.provider),
        *await judging.examine(places),
        *await judging.repeat(places, stage.calls, stage.journal, chance=stage.plan.source("repeats")),
    ]
