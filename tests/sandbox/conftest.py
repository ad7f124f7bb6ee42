from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import stripe

from tests.support.sandbox import Sandbox, closing


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[stripe.StripeClient]:
    """The official SDK, which repeats nothing by itself. Faults that a test left are gone afterwards."""
    async with closing(sandbox.client()) as client:
        yield client
    await sandbox.clear()
