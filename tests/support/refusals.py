"""What a refused call says."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from mesh.errors import Refusal, from_rpc_error


async def refusal_of(call: Awaitable[Any]) -> Refusal:
    """The refusal with which a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value, dependency="the peer")


def fields_of(refusal: Refusal) -> set[str]:
    """The fields that it names."""
    return {violation.field for violation in refusal.fields}


async def is_replay(call: Any) -> bool:
    """Whether an answer repeats an earlier one."""
    await call
    return ("idempotent-replayed", "true") in [tuple(item) for item in await call.trailing_metadata()]
