"""`mesh demo`: sends donations through a running mesh, then compares every book with what was sent."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping

import aiohttp
from giving_client import AsyncMeshClient
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli import books, gifts, status
from cli.books import Book, Places, Unreadable
from cli.config import MeshSettings
from cli.folder import DataFolder
from cli.gifts import Errand, Gift
from cli.processes import SERVICES, batch_password, role_dsn
from cli.refusal import CommandRefused
from cli.runfile import Run
from cli.servers.postgres import administrator_dsn

_CONCURRENCY = 64
_CATCH_UP_S_MAX = 60.0
_POLL_S = 0.2
_COLUMNS = ("donations", "gross", "refunded", "net", "donors")


async def demo(*, folder: DataFolder, settings: MeshSettings, donations: int, console: Console) -> bool:
    """Whether all books agree.

    Raises:
        CommandRefused: no mesh runs here, or it did not take a donation within the bound.
    """
    run = status.running(folder)
    places = _places(run, folder, settings)
    charity_id, campaign_id = await _open_campaign(places.rest_url, token=folder.secret("development_token"))
    sent = gifts.plan(seed=campaign_id, count=donations)
    console.print(f"campaign {campaign_id}: {gifts.summary(sent)}", highlight=False)
    errand = Errand(charity_id=charity_id, campaign_id=campaign_id)
    await _send(errand, sent, target=_address(run, "donation"), console=console)
    expected = gifts.book(sent)
    found = await _caught_up(places, campaign_id, expected)
    _print(console, expected, found)
    return _judge(console, expected, found)


def _address(run: Run, name: str) -> str:
    address = run.address(name)
    if address is None:
        raise CommandRefused(f"{name} does not run: see `mesh status`")
    return address


def _places(run: Run, folder: DataFolder, settings: MeshSettings) -> Places:
    admin_dsn = settings.database_url.get_secret_value() if settings.database_url else ""
    admin_dsn = admin_dsn or administrator_dsn(folder, address=_embedded(run, "postgres", variable="DATABASE_URL"))
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    dsns = {
        service.name: role_dsn(admin_dsn, role=f"{service.schema}_batch", password=batch_password(folder, service))
        for service in SERVICES
    }
    return Places(
        rest_url=f"http://{_address(run, 'gateway')}",
        aggregator=_address(run, "aggregator"),
        payment=_address(run, "payment"),
        redis_url=redis_url or f"redis://{_embedded(run, 'valkey', variable='REDIS_URL')}/0",
        donation_dsn=dsns["donation"],
        aggregator_dsn=dsns["aggregator"],
    )


def _embedded(run: Run, name: str, *, variable: str) -> str:
    address = run.address(name)
    if address is None:
        raise CommandRefused(f"the mesh uses a {name} of yours: set {variable} here as for `mesh up`")
    return address


async def _open_campaign(rest_url: str, *, token: str) -> tuple[str, str]:
    """A new charity and an active campaign in both currencies; their ids."""
    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(rest_url, headers=headers, timeout=timeout) as session:
        charity = await _post(session, "/v1/charities", _CHARITY)
        charity_id = charity["charity"]["charity_id"]
        campaign = await _post(session, f"/v1/charities/{charity_id}/campaigns", _CAMPAIGN)
        campaign_id = campaign["campaign"]["campaign_id"]
        await _post(session, f"/v1/campaigns/{campaign_id}:activate", {})
    return charity_id, campaign_id


# In flight, too many, not there for now, too late: ask again.
_COME_BACK = (409, 429, 503, 504)
_TRIES_MAX = 60
_PAUSE_S = 0.5
_CHARITY = {"display_name": "Demo", "mode": "MODE_TEST", "default_currency": "USD", "time_zone": "UTC"}
_CAMPAIGN = {
    "display_name": "Demo",
    "currency_rules": [
        {"currency": code, "minor_units_min": "1", "minor_units_max": str(gifts.MINOR_UNITS_MAX)}
        for code in gifts.CURRENCIES
    ],
}


async def _post(session: aiohttp.ClientSession, path: str, body: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Posts until there is an answer: the key makes every repeat the same call."""
    key = str(uuid.uuid4())
    for _ in range(_TRIES_MAX):
        try:
            async with session.post(path, json=body, headers={"Idempotency-Key": key}) as answer:
                if answer.ok:
                    return dict(await answer.json())
                problem = f"{answer.status} {await answer.text()}"
                if answer.status not in _COME_BACK:
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"{error or 'no answer'}"
        await asyncio.sleep(_PAUSE_S)
    raise CommandRefused(f"POST {path}: {problem}")


async def _send(errand: Errand, sent: list[Gift], *, target: str, console: Console) -> None:
    columns = (
        TextColumn("recording"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    gate = asyncio.Semaphore(_CONCURRENCY)
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(sent), note="")

        async def pause(seconds: float) -> None:
            progress.update(bar, note="no answer, asking again")
            await asyncio.sleep(seconds)

        async with AsyncMeshClient(target, retries=gifts.PATIENCE, sleep=pause) as mesh:
            courier = gifts.Courier(mesh, errand)

            async def deliver(gift: Gift) -> None:
                async with gate:
                    await courier.deliver(gift)
                    progress.update(bar, advance=1, note="")

            await asyncio.gather(*map(deliver, sent))


async def _caught_up(places: Places, campaign_id: str, expected: Book) -> dict[str, Book | Unreadable]:
    """The books once all agree, or as they stand after the bound."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _CATCH_UP_S_MAX
    while True:
        found = await books.read_all(places, campaign_id)
        if loop.time() >= deadline or all(books.agrees(book, expected) for book in found.values()):
            return found
        await asyncio.sleep(_POLL_S)


def _print(console: Console, expected: Book, found: Mapping[str, Book | Unreadable]) -> None:
    for currency in sorted(expected):
        table = Table("book", *(f"{name}" for name in _COLUMNS), title=f"{currency}, in minor units")
        for name, book in {"sent": expected, **found}.items():
            table.add_row(name, *_cells(book, expected, currency))
        console.print(table)


def _cells(book: Book | Unreadable, expected: Book, currency: str) -> list[str]:
    line = None if isinstance(book, Unreadable) else book.get(currency)
    if line is None:
        return ["[red]missing[/]"] * len(_COLUMNS)
    return [_cell(getattr(line, name), getattr(expected[currency], name)) for name in _COLUMNS]


def _cell(value: int | None, wanted: int) -> str:
    if value is None:
        return "·"
    return f"{value:,}" if value == wanted else f"[red]{value:,} ({value - wanted:+,})[/]"


def _judge(console: Console, expected: Book, found: Mapping[str, Book | Unreadable]) -> bool:
    wrong = {name: book for name, book in found.items() if not books.agrees(book, expected)}
    for name, book in wrong.items():
        reason = book.reason if isinstance(book, Unreadable) else "differs from what was sent"
        console.print(f"{name}: {reason}", style="red", markup=False, soft_wrap=True)
    console.print("the books do not agree" if wrong else "all books agree", style="red" if wrong else "bold green")
    return not wrong
