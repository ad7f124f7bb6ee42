"""Whether the process lives, and whether it takes requests."""

from __future__ import annotations

from gateway.exchange import Answer, Exchange
from gateway.pages.page import NO_STORE, Page


def signs_of_life(ready: Page) -> dict[bytes, Page]:
    """The pages that supervisors and load balancers ask for."""
    return {b"/healthz": _alive, b"/readyz": ready}


async def _alive(_: Exchange) -> Answer:
    return Answer(200, b'{"status":"alive"}', b"application/json", NO_STORE)
