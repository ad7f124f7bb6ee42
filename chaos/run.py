"""One run: the mesh comes up, is loaded and disturbed, heals, and is judged."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from giving_client import AsyncMeshClient

from chaos import edges, journal, judging, points, reading, schedule
from chaos.books import Violation
from chaos.calls import ONCE, Calls
from chaos.journal import Journal
from chaos.load import CURRENCIES, Errand, Worker
from chaos.nemesis import Nemesis
from chaos.plan import Plan, RunFolder
from chaos.processes import Mesh, MeshDied
from chaos.progress import Display
from chaos.provider import Provider
from chaos.sampler import Sampler
from chaos.schedule import Fault
from chaos.verdict import Verdict
from cli import rest

_CAMPAIGNS = 3
_TICK_S = 0.25
_HEALTHY_S_MAX = 30.0
_LAST_ANSWER_S_MAX = 5.0


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """Everything that a run acts with."""

    plan: Plan
    folder: RunFolder
    mesh: Mesh
    provider: Provider
    calls: Calls
    journal: Journal
    sampler: Sampler
    errand: Errand
    display: Display


async def run(plan: Plan, folder: RunFolder, faults: Sequence[Fault], *, display: Display) -> Verdict:
    """The verdict; nothing is left running.

    Raises:
        MeshDied: the mesh did not come up, or its supervisor ended.
    """
    plan.save(folder.plan)
    schedule.save(folder.schedule, faults)
    folder.points.write_text(json.dumps(points.choose(plan.seed), indent=1))
    async with _stage(plan, folder, display) as stage:
        healed = await _disturb(stage, faults)
        return await _judge(stage, faults, healed)


@asynccontextmanager
async def _stage(plan: Plan, folder: RunFolder, display: Display) -> AsyncIterator[_Stage]:
    async with AsyncExitStack() as stack:
        mesh = Mesh(folder=folder, tree=Path(plan.tree))
        await stack.enter_async_context(mesh.running())
        # No jar: each request carries its own donor's cookie. A connection that was cut is not used again.
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=connector)
        )
        target = mesh.proxies[edges.CHECKOUT].address
        checkout = await stack.enter_async_context(AsyncMeshClient(target, retries=ONCE))
        places = mesh.places
        if places.sandbox is None:
            raise RuntimeError("a run without the sandbox has no oracle")
        written = await stack.enter_async_context(journal.opened(folder.journal))
        provider = Provider(session, url=places.sandbox.sandbox_url, key=places.sandbox.api_key)
        token = mesh.data.secret("development_token")
        errand = await _open(places.rest_url, token=token, seed=plan.seed)
        yield _Stage(
            plan=plan,
            folder=folder,
            mesh=mesh,
            provider=provider,
            calls=Calls(
                session,
                checkout,
                provider,
                written,
                rest_url=mesh.url(edges.BROWSER),
                card_url=mesh.url(edges.CARD),
                token=token,
                publishable_key=places.sandbox.publishable_key,
            ),
            journal=written,
            sampler=Sampler(session, places, charity_id=errand.charity_id, campaign_ids=errand.campaign_ids),
            errand=errand,
            display=display,
        )


async def _open(rest_url: str, *, token: str, seed: str) -> Errand:
    """A charity with active campaigns in both currencies."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(rest_url, headers=headers, timeout=rest.TIMEOUT) as session:

        async def post(path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
            return await rest.post(session, path, body, key=str(uuid.uuid4()))

        names = {"display_name": "Chaos", "mode": "MODE_TEST", "default_currency": "USD", "time_zone": "UTC"}
        charity_id = (await post("/v1/charities", dict(names)))["charity"]["charity_id"]
        rules = [{"currency": code, "minor_units_min": "1", "minor_units_max": "100000"} for code in CURRENCIES]
        campaigns = []
        for number in range(_CAMPAIGNS):
            wanted: dict[str, object] = {"display_name": f"Chaos {number}", "currency_rules": rules}
            made = await post(f"/v1/charities/{charity_id}/campaigns", wanted)
            campaigns.append(made["campaign"]["campaign_id"])
            await post(f"/v1/campaigns/{campaigns[-1]}:activate", {})
    return Errand(name=f"c{seed}", charity_id=charity_id, campaign_ids=campaigns)


@dataclass(frozen=True, slots=True)
class _Healed:
    """How many faults there were, and when the last had ended, by the loop's clock."""

    faults: int
    at: float


async def _disturb(stage: _Stage, faults: Sequence[Fault]) -> _Healed:
    """Load and faults together, then everything healed and the load at its end."""
    stage.display.step("faults", total_s=stage.plan.seconds)
    failing: list[str] = []
    nemesis = Nemesis(stage.mesh, stage.provider, tell=failing.append)
    over = asyncio.Event()
    sampling = asyncio.create_task(stage.sampler.run())
    working = [
        asyncio.create_task(worker.run(over))
        for number in range(stage.plan.workers)
        for worker in [Worker(number, stage.plan.source(f"worker {number}"), stage.calls, stage.errand)]
    ]
    disturbing = asyncio.create_task(nemesis.run(faults))
    began = asyncio.get_running_loop().time()
    while (passed_s := asyncio.get_running_loop().time() - began) < stage.plan.seconds:
        stage.display.note(_words(stage, failing), done_s=passed_s)
        await asyncio.wait({disturbing, *working}, timeout=_TICK_S, return_when=asyncio.FIRST_EXCEPTION)
        for task in (disturbing, sampling, *working):
            if task.done():
                task.result()
    await disturbing
    await stage.mesh.heal()
    over.set()
    stage.display.step("healing")
    healed = _Healed(faults=nemesis.done, at=asyncio.get_running_loop().time())
    # Whoever has no answer by then goes, and never learns what became of his call.
    await asyncio.wait(working, timeout=_LAST_ANSWER_S_MAX)
    for task in (*working, sampling):
        task.cancel()
    for task in (*working, sampling):
        with suppress(asyncio.CancelledError):
            await task
    return healed


def _words(stage: _Stage, failing: list[str]) -> str:
    counts = stage.calls.counts
    return f"{counts.ops} ops, {counts.done} acked, {counts.unknown} unknown │ {failing[-1] if failing else 'no fault yet'}"


async def _judge(stage: _Stage, faults: Sequence[Fault], healed: _Healed) -> Verdict:
    """First whether it recovers, then whether everything is right."""
    losses, clock = any(fault.loses for fault in faults), asyncio.get_running_loop().time
    if not await stage.mesh.healthy(within_s=_HEALTHY_S_MAX):
        raise MeshDied(f"not every part was healthy {_HEALTHY_S_MAX:g} s after the faults")
    healthy_s = round(clock() - healed.at, 2)
    await stage.provider.heal()
    stage.display.step("converging")
    differing = await judging.converge(stage.mesh.places, stage.provider, losses=losses)
    recover_s = None if differing else round(clock() - healed.at, 2)
    stage.display.step("checking")
    await asyncio.sleep(judging.CALM_S)
    repairs = await reading.repairs(stage.mesh.places)
    found = [
        *stage.sampler.violations,
        *differing,
        *judging.repaired_without_cause(repairs, losses=losses),
        *[Violation("P4", *contradiction) for contradiction in stage.calls.contradictions],
        *await judging.compare_journal(stage.mesh.places, stage.journal, charity_id=stage.errand.charity_id),
        *await judging.examine(stage.mesh.places),
        *await judging.repeat(stage.mesh.places, stage.calls, stage.journal, chance=stage.plan.source("repeats")),
    ]
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
        healthy_s=healthy_s,
        recover_s=recover_s,
        repairs=repairs,
        coverage=met,
        violations=found,
        folder=str(stage.folder.path),
    )
