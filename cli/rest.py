"""Calls to the mesh's REST, made until they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from cli.refusal import CommandRefused

# In flight, too many, not there for now, too late: ask again.
_COME_BACK = (409, 429, 502, 503, 504)
_TRIES_MAX = 120
_PAUSE_S = 0.5
TIMEOUT = aiohttp.ClientTimeout(total=30)
Sleep = Callable[[float], Awaitable[None]]


async def post(
    session: aiohttp.ClientSession,
    path: str,
    body: Mapping[str, object],
    *,
    key: str,
    headers: Mapping[str, str] | None = None,
    sleep: Sleep = asyncio.sleep,
) -> dict[str, Any]:
    """Posts until there is an answer: the key makes every repeat the same call.

    Raises:
        CommandRefused: the mesh refuses it, or does not answer within the bound.
    """
    problem = ""
    for _ in range(_TRIES_MAX):
        try:
            async with session.post(path, json=body, headers={"Idempotency-Key": key, **(headers or {})}) as answer:
                if answer.ok:
                    return dict(await answer.json())
                problem = f"{answer.status} {await answer.text()}"
                if answer.status not in _COME_BACK:
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = f"{error or 'no answer'}"
        await sleep(_PAUSE_S)
    raise CommandRefused(f"POST {path}: {problem}")
