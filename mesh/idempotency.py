"""The idempotency fence: two columns of the row that a call creates. It has no life time of its own."""

from __future__ import annotations

import hashlib
from uuid import UUID

from google.protobuf.message import Message


def request_key(*, caller: str, method: str, tenant_id: str, key: str) -> UUID:
    """The first 128 bits of SHA-256 over scope and key. Parts are length-prefixed, so that none runs into the next."""
    parts = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in (caller, method, tenant_id, key))
    return UUID(bytes=hashlib.sha256(parts).digest()[:16])


def request_digest(request: Message, *, key_field: str) -> int:
    """The first 64 bits of SHA-256 over the request without its key, as PostgreSQL's bigint."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField(key_field)
    digest = hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
