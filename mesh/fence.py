"""Who asks, and under which key: what every row that a call creates is stamped with."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from giving.common.v1.identity_pb2 import Identity
from google.protobuf.message import Message

from mesh.errors import IdempotencyKeyReused
from mesh.idempotency import request_digest, request_key
from mesh.rpc.call import current_call


@dataclass(frozen=True, slots=True)
class Fence:
    """The idempotency columns and the audit columns of a row."""

    key: UUID
    digest: int
    caller: str
    correlation_id: str

    def demand_same(self, digest: int) -> None:
        """Compares with what the key was used for before.

        Raises:
            IdempotencyKeyReused: it was other content.
        """
        if digest != self.digest:
            raise IdempotencyKeyReused("this key was used before with another content")


def make_fence(request: Message, *, method: str, key_field: str, tenant_id: str) -> Fence:
    """The fence of the current call for `request`, scoped by caller, method and tenant."""
    call = current_call()
    caller = scope_of(call.identity) if call else ""
    key = request_key(caller=caller, method=method, tenant_id=tenant_id, key=getattr(request, key_field))
    digest = request_digest(request, key_field=key_field)
    return Fence(key, digest, caller, call.correlation_id if call else "")


def scope_of(identity: Identity) -> str:
    """The caller's part of a key's scope: his stable name; a guest's browser has only its random client id."""
    return identity.subject or f"guest {identity.client_id}"
