"""Stripe's sandbox from outside: its switches, and what a browser, a bank and the dashboard do there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from chaos.schedule import Fault

_TIMEOUT = aiohttp.ClientTimeout(total=5)


class Provider:
    """The control is asked past every proxy; a sandbox that is away at the moment takes no fault, and that is all."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, key: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}

    async def ask(self, method: str, path: str, members: Mapping[str, object] | None = None) -> dict[str, Any]:
        """An act of the control.

        Raises:
            aiohttp.ClientError, TimeoutError: no answer, or a refusal.
        """
        url = f"{self._url}/sandbox/{path}"
        async with self._session.request(
            method, url, json=members, headers=self._headers, timeout=_TIMEOUT, raise_for_status=True
        ) as answer:
            return dict(await answer.json())

    async def untaken(self) -> list[tuple[str, str]]:
        """Ids and types of the newest events that its webhook has not answered with 2xx, as Stripe lists them.

        Raises:
            aiohttp.ClientError, TimeoutError: no answer, or a refusal.
        """
        url, query = f"{self._url}/v1/events", {"delivery_success": "false", "limit": "100"}
        async with self._session.get(
            url, params=query, headers=self._headers, timeout=_TIMEOUT, raise_for_status=True
        ) as answer:
            return [(event["id"], event["type"]) for event in (await answer.json())["data"]]

    async def disturb(self, fault: Fault) -> None:
        """Something that happens to the next calls or webhooks."""
        asked: dict[str, object] = {"fault": fault.kind, "times": fault.amount, "seconds": fault.seconds}
        if fault.target == "webhooks":
            await self.ask("POST", "webhooks/faults", {**asked, "copies": fault.amount})
        else:
            await self.ask("POST", "faults", asked)

    async def heal(self) -> None:
        """Takes all faults back and sends what is still under way, whatever its time was."""
        await self.ask("DELETE", "faults")
        await self.ask("POST", "webhooks/release")
        await self.hurry()

    async def hurry(self) -> None:
        """Webhooks that failed come now: Stripe's own patience is not the mesh's."""
        await self.ask("POST", "webhooks/retry")
