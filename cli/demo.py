"""`mesh demo`: sends donations through a running mesh, then compares every book with what was sent."""

from __future__ import annotations

import asyncio
import uuid

import aiohttp
from rich.console import Console

from cli import books, charges, gifts, promises, rest, status, verdict
from cli.books import Part, Reading, Unreadable
from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.gifts import Errand
from cli.places import Places, address_of, of_run
from cli.runfile import Run
from cli.sending import Sent, send
from cli.stripe import Stripe, sandbox_of
from cli.verdict import Found

_CATCH_UP_S_MAX = 60.0
_POLL_S = 0.2
_NOTHING_PAID = "no sandbox of Stripe runs here: gifts are recorded only, none is paid (the real Stripe is left alone)"


async def demo(*, folder: DataFolder, settings: MeshSettings, donations: int, paid_percent: int, console: Console) -> bool:
    """Whether all books agree.

    Raises:
        CommandRefused: no mesh runs here, or it did not take a donation within the bound.
    """
    run = status.running(folder)
    places = of_run(run, folder, settings)
    stripe = _sandbox(run, folder)
    if stripe is None and paid_percent:
        console.print(_NOTHING_PAID, soft_wrap=True)
    charity_id, campaign_id = await _open_campaign(places.rest_url, token=folder.secret("development_token"))
    sent = _plan(campaign_id, count=donations, paid_percent=paid_percent if stripe else 0)
    console.print(f"campaign {campaign_id}: {gifts.summary(sent.gifts)}", highlight=False)
    if sent.promises:
        console.print(promises.summary(sent.promises), highlight=False)
    errand = Errand(charity_id=charity_id, campaign_id=campaign_id)
    await send(errand, sent, places, stripe, target=address_of(run, "donation"), console=console)
    found = await _caught_up(places, stripe, campaign_id, sent)
    verdict.show(console, sent.expected(), found)
    return found.agrees(sent.expected())


def _plan(campaign_id: str, *, count: int, paid_percent: int) -> Sent:
    paid = count * paid_percent // 100
    return Sent(
        gifts=gifts.plan(seed=campaign_id, count=count - paid),
        promises=promises.plan(seed=campaign_id, count=paid),
        promised={},
    )


def _sandbox(run: Run, folder: DataFolder) -> Stripe | None:
    address = run.address("sandbox")
    return sandbox_of(folder, address=address) if address else None


async def _open_campaign(rest_url: str, *, token: str) -> tuple[str, str]:
    """A new charity and an active campaign in both currencies; their ids."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(rest_url, headers=headers, timeout=rest.TIMEOUT) as session:
        charity = await rest.post(session, "/v1/charities", _CHARITY, key=_key())
        charity_id = charity["charity"]["charity_id"]
        campaign = await rest.post(session, f"/v1/charities/{charity_id}/campaigns", _CAMPAIGN, key=_key())
        campaign_id = campaign["campaign"]["campaign_id"]
        await rest.post(session, f"/v1/campaigns/{campaign_id}:activate", {}, key=_key())
    return charity_id, campaign_id


def _key() -> str:
    return str(uuid.uuid4())


_CHARITY = {"display_name": "Demo", "mode": "MODE_TEST", "default_currency": "USD", "time_zone": "UTC"}
_CAMPAIGN = {
    "display_name": "Demo",
    "currency_rules": [
        {"currency": code, "minor_units_min": "1", "minor_units_max": str(gifts.MINOR_UNITS_MAX)}
        for code in gifts.CURRENCIES
    ],
}


async def _caught_up(places: Places, stripe: Stripe | None, campaign_id: str, sent: Sent) -> Found:
    """The books once all agree, or as they stand after the bound."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _CATCH_UP_S_MAX
    while True:
        found = await _read(places, stripe, campaign_id, sent)
        if loop.time() >= deadline or found.agrees(sent.expected()):
            return found
        await asyncio.sleep(_POLL_S)


async def _read(places: Places, stripe: Stripe | None, campaign_id: str, sent: Sent) -> Found:
    readings = await books.read_all(places, campaign_id)
    if stripe is None:
        return Found(readings, ())
    charged = await books.readable(charges.read_charges(stripe.sandbox_url, key=stripe.api_key, campaign_id=campaign_id))
    stored = await books.readable(charges.read_promised(places.databases["donation"], campaign_id=campaign_id))
    book = charged if isinstance(charged, Unreadable) else charges.book(charged)
    readings["sandbox's book"] = Reading(Part.PAID, book)
    if isinstance(charged, Unreadable) or isinstance(stored, Unreadable):
        return Found(readings, ("charges and donations could not be compared one by one",))
    return Found(readings, tuple(charges.contradictions(sent.promised, charged, stored)))
