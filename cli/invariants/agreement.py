"""P13: when the mesh is quiet, every book says the same."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from cli.invariants import stripe
from cli.invariants.displays import CAMPAIGNS_MAX, NOTHING, Book, Figures, shown
from cli.invariants.invariant import Findings
from cli.invariants.quiet import NotQuiet, log_ends, under_way
from cli.invariants.view import View

_LOOK_AGAIN_S = 0.2


@dataclass(slots=True)
class _Comparison:
    """What differs, by key and book. `compared`: how many campaigns and currencies were held side by side."""

    compared: int
    notes: list[str] = field(default_factory=list)
    differing: dict[tuple[str, str], str] = field(default_factory=dict)


async def same_when_quiet(view: View, findings: Findings) -> None:
    """Donations, ledger, totals, REST, gRPC and Redis by campaign and currency; payments and Stripe's sandbox.

    Raises:
        NotQuiet: it was not quiet, nor became so within the view's bound.
        NotHere: that cannot be told here.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (view.wait_s or 0)
    while True:
        words = await under_way(view)
        if not words:
            ends = await log_ends(view)
            found = await _agreement(view)
            words = await under_way(view)
            if not words and await log_ends(view) == ends:
                findings.checked, findings.notes = found.checked, found.notes
                findings.take(found)
                return
        if loop.time() >= deadline:
            raise NotQuiet("; ".join(words or ["money moved while the books were read"]))
        await view.sleep(_LOOK_AGAIN_S)


async def _agreement(view: View) -> Findings:
    """What differs twice, a moment apart: displays follow the databases within two seconds, webhooks the provider."""
    first = second = await _compare(view)
    if first.differing:
        await view.moment()
        second = await _compare(view)
    findings = Findings(checked=second.compared, notes=second.notes)
    for place in first.differing.keys() & second.differing.keys():
        findings.add(place[0], second.differing[place])
    return findings


async def _compare(view: View) -> _Comparison:
    """Displays first, then the databases behind them."""
    async with view.snapshot("aggregator") as reading:
        campaigns = [str(row["id"]) for row in await reading.all("newest_campaigns", CAMPAIGNS_MAX)]
    displays = await shown(view, campaigns)
    books = {
        "the aggregator": await _book(view, "aggregator", "totals"),
        "the ledger": await _ledger(view),
    }
    truth = await _book(view, "donation", "committed")
    comparison = _Comparison(len(truth), [f"read donations, {', '.join([*books, *displays])}"])
    for name, book in books.items():
        _compare_book(comparison, name, book, truth)
    for name, display in displays.items():
        of_shown = {place: figures for place, figures in truth.items() if place[0] in display.versions}
        _compare_book(comparison, name, display.book, of_shown)
    await _compare_stripe(view, comparison)
    return comparison


async def _book(view: View, service: str, statement: str) -> Book:
    async with view.snapshot(service) as reading:
        return {(str(row["campaign_id"]), row["currency"]): _figures(row) for row in await reading.all(statement)}


async def _ledger(view: View) -> Book:
    """What was posted, day by day."""
    sums: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    async with view.snapshot("payment") as reading:
        async for day in reading.days("posting_days"):
            for row in await reading.all("posted_of_day", day):
                moved = {name: row[name] for name in ("gross", "refunded", "disputed")}
                sums[str(row["campaign_id"]), row["currency"]].update(moved)
    return {place: _figures(sum_) for place, sum_ in sums.items()}


def _figures(row: Any) -> Figures:
    """Those of a row that has all of them, or only the amounts."""
    return Figures(row["gross"], row["refunded"], row["disputed"], row.get("donations"), row.get("donors"))


def _compare_book(comparison: _Comparison, name: str, book: Book, truth: Book) -> None:
    places: Collection[tuple[str, str]] = truth.keys() | book.keys()
    for place in places:
        wanted, found = truth.get(place, NOTHING), book.get(place, NOTHING)
        if found.differs_from(wanted):
            key = " ".join(place)
            comparison.differing[key, name] = f"{name}: {_words(found)}; the donations: {_words(wanted)}"


def _words(figures: Figures) -> str:
    named = [(name, getattr(figures, name)) for name in Figures.__slots__]
    return ", ".join(f"{name} {figure}" for name, figure in named if figure is not None)


async def _compare_stripe(view: View, comparison: _Comparison) -> None:
    side = await stripe.compare(view)
    comparison.notes.append(f"compared with {side.intents} intents in the sandbox's book" if side else stripe.ABSENT)
    if side:
        comparison.differing |= {(payment, "Stripe"): words for payment, words in side.differing.items()}
