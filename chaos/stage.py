"""Everything that a run acts with, brought up and taken down."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from giving_client import AsyncMeshClient

from chaos import edges, journal
from chaos.calls import ONCE, Calls
from chaos.journal import Journal
from chaos.load import CURRENCIES, Errand
from chaos.plan import Plan, RunFolder
from chaos.processes import Mesh
from chaos.progress import Display
from chaos.provider import Provider
from chaos.sampler import Sampler
from cli import rest

_CAMPAIGNS = 3


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A mesh that runs, and whoever calls, disturbs and watches it."""

    plan: Plan
    folder: RunFolder
    mesh: Mesh
    provider: Provider
    calls: Calls
    journal: Journal
    sampler: Sampler
    errand: Errand
    display: Display


@asynccontextmanager
async def staged(plan: Plan, folder: RunFolder, display: Display) -> AsyncIterator[Stage]:
    """A mesh with an open charity; nothing is left running afterwards.

    Raises:
        MeshDied: it did not come up.
    """
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
        yield Stage(
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
