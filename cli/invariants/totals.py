"""P12 and P14: totals are the sum of what was counted, and no display shows more than is committed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.invariants.displays import CAMPAIGNS_MAX, Figures, Shown, shown
from cli.invariants.invariant import Findings
from cli.invariants.rows import demand_guards
from cli.invariants.view import Reading, View

_COUNTED = ("gross", "refunded", "disputed", "donations")


async def totals_are_sums(view: View, findings: Findings) -> None:
    """P12: in one snapshot each total is its base and the events applied since, and its course; each donor counted once."""
    async with view.snapshot("aggregator") as reading:
        sums, courses = await _counted(reading), _Sums()
        async for row in reading.rows("courses"):
            courses.take(row)
        async for row in reading.rows("totals"):
            findings.checked += 1
            key = str(row["campaign_id"]), row["currency"]
            _compare(findings, row, sums.taken(key), courses.taken(key))
        await demand_guards(findings, reading, "applied_pkey", "totals_pkey", "course_pkey", "campaign_donor_pkey")
    for what, found in (("events", sums), ("course", courses)):
        for (campaign, currency), counted in found.items():
            findings.add(f"{campaign} {currency}", f"has no total; its {what} sum to {_words(counted)}")


class _Sums(dict[tuple[str, str], list[int]]):
    """Figures by campaign and currency; what is missing is nothing."""

    def take(self, row: Any) -> None:
        place = self.setdefault((str(row["campaign_id"]), row["currency"]), [0] * len(_COUNTED))
        place[:] = [total + row[name] for total, name in zip(place, _COUNTED, strict=True)]

    def taken(self, key: tuple[str, str]) -> list[int]:
        """Those of a key, which are not here any more then."""
        return self.pop(key, [0] * len(_COUNTED))


async def _counted(reading: Reading) -> _Sums:
    sums = _Sums()
    async for row in reading.rows("based"):
        sums.take(row)
    async for day in reading.days("applied_days"):
        async for row in reading.rows("counted_of_day", day):
            sums.take(row)
    return sums


def _compare(findings: Findings, row: Any, counted: list[int], course: list[int]) -> None:
    key, total = f"{row['campaign_id']} {row['currency']}", [row[name] for name in _COUNTED]
    if total != counted:
        findings.add(key, f"the total is {_words(total)}, its events sum to {_words(counted)}")
    elif total != course:
        findings.add(key, f"the total is {_words(total)}, its course sums to {_words(course)}")
    elif row["donors"] != row["donors_listed"]:
        findings.add(key, f"{row['donors']} donors are counted, {row['donors_listed']} are listed")


def _words(figures: list[int]) -> str:
    return ", ".join(f"{name} {figure}" for name, figure in zip(_COUNTED, figures, strict=True))


async def never_above(view: View, findings: Findings) -> None:
    """P14: displays are read first, then what is behind them: nothing shows more than is committed by then."""
    async with view.present("aggregator") as reading:
        campaigns = [str(row["id"]) for row in await reading.all("newest_campaigns", CAMPAIGNS_MAX)]
        found = await shown(view, campaigns)
        versions = {str(row["id"]): row["version"] for row in await reading.all("versions", campaigns)}
        found["the aggregator"] = Shown(await _totals(reading), {})
    async with view.snapshot("donation") as reading:
        committed = {(str(row["campaign_id"]), row["currency"]): row["gross"] for row in await reading.all("committed")}
    findings.checked = sum(len(display.book) for display in found.values())
    findings.note(f"read {', '.join(found)}; displays of the {len(campaigns)} campaigns that changed last")
    for name, display in found.items():
        _compare_display(findings, name, display, committed=committed, versions=versions)


async def _totals(reading: Reading) -> dict[tuple[str, str], Figures]:
    return {
        (str(row["campaign_id"]), row["currency"]): Figures(row["gross"], row["refunded"], row["disputed"])
        for row in await reading.all("totals")
    }


def _compare_display(
    findings: Findings,
    name: str,
    display: Shown,
    *,
    committed: Mapping[tuple[str, str], int],
    versions: Mapping[str, int],
) -> None:
    for (campaign, currency), figures in display.book.items():
        if figures.gross > (gross := committed.get((campaign, currency), 0)):
            findings.add(f"{campaign} {currency}", f"{name} shows {figures.gross}, {gross} is committed")
    for campaign, version in display.versions.items():
        if version > versions.get(campaign, 0):
            findings.add(campaign, f"{name} shows version {version}, which is newer than {versions.get(campaign, 0)}")
