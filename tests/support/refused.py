"""What a call is refused with."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from mesh.errors import from_rpc_error


async def refused(call: Any, *, whole: bool = False) -> Any:
    """The reason of the refusal, or all of it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    refusal = from_rpc_error(caught.value, dependency="service")
    return refusal if whole else refusal.reason_name
