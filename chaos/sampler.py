"""What must hold at every instant, looked at while parts fail: displays first, then what is committed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg

from chaos import reading
from chaos.books import Violation
from cli import check
from cli.check import Verdict
from cli.places import Places

_EVERY_S = 0.25
# Each takes the whole of a table: less often than the displays.
_CHECK_EVERY_S = 2.0
# Those that may be told while money moves and parts are away.
_AT_EVERY_INSTANT = ("P5", "P10", "P12", "P14")
_READ = aiohttp.ClientTimeout(total=3)
_AWAY = (
    aiohttp.ClientError,
    TimeoutError,
    OSError,
    ValueError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Sampler:
    """Gathers violations until it is cancelled; what does not answer is not looked at that time."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        places: Places,
        *,
        charity_id: str,
        campaign_ids: Sequence[str],
        only: Collection[str] = _AT_EVERY_INSTANT,
    ) -> None:
        self._session = session
        self._places = places
        self._charity_id = charity_id
        self._campaign_ids = campaign_ids
        self._only = only
        self.violations: list[Violation] = []
        self.samples = 0

    async def run(self) -> None:
        """Three looks at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._displays())
            group.create_task(self._invariants())
            for campaign_id in self._campaign_ids:
                group.create_task(self._listen(campaign_id))

    async def _displays(self) -> None:
        while True:
            for campaign_id in self._campaign_ids:
                try:
                    url = f"{self._places.rest_url}/v1/campaigns/{campaign_id}/totals"
                    async with self._session.get(url, timeout=_READ, raise_for_status=True) as answer:
                        totals = (await answer.json())["totals"]
                    await self._never_above("REST", totals)
                except _AWAY:
                    continue
            await asyncio.sleep(_EVERY_S)

    async def _never_above(self, display: str, totals: Mapping[str, Any]) -> None:
        committed = await reading.gross(self._places, self._charity_id)
        self.samples += 1
        for words in above(totals, committed):
            self._add("P14", totals["campaign_id"], f"{display} shows {words}")

    async def _invariants(self) -> None:
        while True:
            async for line in check.check(self._places, only=self._only):
                if line.verdict is Verdict.VIOLATED:
                    for found in line.findings.violations:
                        self._add(line.invariant.number, found.key, f"during faults: {found.words}")
            await asyncio.sleep(_CHECK_EVERY_S)

    async def _listen(self, campaign_id: str) -> None:
        """One reader of a campaign, connected again whenever he is cut off."""
        url = f"{self._places.rest_url}/v1/campaigns/{campaign_id}/totals:watch"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=20)
        while True:
            try:
                headers = {"Accept": "text/event-stream"}
                async with self._session.get(url, timeout=timeout, headers=headers, raise_for_status=True) as answer:
                    await self._follow(answer, campaign_id)
            except _AWAY:
                pass
            await asyncio.sleep(_EVERY_S)

    async def _follow(self, answer: aiohttp.ClientResponse, campaign_id: str) -> None:
        reader = Reader()
        async for line in answer.content:
            if not line.startswith(b"data:"):
                continue
            totals = json.loads(line[5:]).get("totals")
            if not totals:
                continue
            for words in reader.take(totals):
                self._add("P14", campaign_id, f"a reader {words}")
            try:
                await self._never_above("SSE", totals)
            except _AWAY:
                continue

    def _add(self, number: str, key: str, words: str) -> None:
        violation = Violation(number, key, words)
        if violation not in self.violations:
            self.violations.append(violation)


@dataclass(slots=True)
class Reader:
    """Somebody at one connection: versions grow, and what came in never becomes less."""

    version: int = -1
    gross: Mapping[str, int] = field(default_factory=dict)

    def take(self, totals: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong about what comes after the last."""
        version, gross = int(totals["version"]), gross_of(totals)
        if version <= self.version:
            yield f"was shown version {version} after {self.version}"
        if fallen := [currency for currency, figure in self.gross.items() if gross.get(currency, 0) < figure]:
            yield f"saw the gross of {', '.join(fallen)} fall: {self.gross}, then {gross}"
        self.version, self.gross = version, gross


def above(totals: Mapping[str, Any], committed: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """What is shown and not committed, by campaign and currency."""
    for currency, figure in gross_of(totals).items():
        known = committed.get((totals["campaign_id"], currency), 0)
        if figure > known:
            yield f"{figure} {currency}, {known} is committed"


def gross_of(totals: Mapping[str, Any]) -> dict[str, int]:
    """Gross by currency; int64 travels as a text in JSON."""
    return {item["currency"]: int(item["gross"]) for item in totals.get("currencies", ())}
