"""The demonstration's gifts on their way: charged ones by gRPC, promised ones as donors' browsers send them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
from giving_client import AsyncMeshClient
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli import books, gifts, promises, rest
from cli.books import Expected, Part
from cli.browsers import Browsers, Checkout
from cli.gifts import Errand, Gift
from cli.places import Places
from cli.promises import Promise
from cli.stripe import Stripe

_CONCURRENCY = 64
# Each browser makes several calls, and each of them one at the provider.
_BROWSERS = 16
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What was planned for a campaign; `promised` by the donation's id, once it was."""

    gifts: list[Gift]
    promises: list[Promise]
    promised: dict[str, Promise]

    def expected(self) -> Expected:
        recorded, paid = gifts.book(self.gifts), promises.book(self.promises)
        return {Part.ALL: books.total(recorded, paid), Part.RECORDED: recorded, Part.PAID: paid}


async def send(errand: Errand, sent: Sent, places: Places, stripe: Stripe | None, *, target: str, console: Console) -> None:
    """Sends everything at once, each gift until it is acknowledged; `stripe`: None where nothing is paid.

    Raises:
        CommandRefused: one of them was refused, or not taken within the bound.
    """
    columns = (
        TextColumn("giving"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(sent.gifts) + len(sent.promises), note="")

        async def pause(seconds: float) -> None:
            progress.update(bar, note="no answer, asking again")
            await asyncio.sleep(seconds)

        def advance() -> None:
            progress.update(bar, advance=1, note="")

        await asyncio.gather(
            _record(errand, sent, target=target, pause=pause, advance=advance),
            *([_pay(errand, sent, places, stripe, pause=pause, advance=advance)] if stripe else []),
        )


async def _record(errand: Errand, sent: Sent, *, target: str, pause: rest.Sleep, advance: Callable[[], None]) -> None:
    async with AsyncMeshClient(target, retries=gifts.PATIENCE, sleep=pause) as mesh:
        courier = gifts.Courier(mesh, errand)

        async def deliver(gift: Gift) -> None:
            await courier.deliver(gift)
            advance()

        await _each(sent.gifts, deliver, at_once=_CONCURRENCY)


async def _pay(
    errand: Errand, sent: Sent, places: Places, stripe: Stripe, *, pause: rest.Sleep, advance: Callable[[], None]
) -> None:
    checkout = Checkout(
        rest_url=places.rest_url,
        stripe_url=stripe.sandbox_url,
        publishable_key=stripe.publishable_key,
        campaign_id=errand.campaign_id,
    )
    # No jar: each request carries its own donor's cookie.
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(timeout=rest.TIMEOUT, cookie_jar=jar) as session:
        browsers = Browsers(session, checkout, sleep=pause)

        async def give(promise: Promise) -> None:
            sent.promised[await browsers.give(promise)] = promise
            advance()

        await _each(sent.promises, give, at_once=_BROWSERS)


async def _each(items: Iterable[ItemT], act: Callable[[ItemT], Awaitable[None]], *, at_once: int) -> None:
    gate = asyncio.Semaphore(at_once)

    async def guarded(item: ItemT) -> None:
        async with gate:
            await act(item)

    await asyncio.gather(*map(guarded, items))
