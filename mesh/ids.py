"""Resource ids: UUIDv7 whose last ten bits are a bucket.

A tenant's bucket is the hash of its own id without these bits; everything that belongs to the tenant carries the same
bucket. So any id names the database that holds it (bucket → DSN), without a look-up.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

from uuid_utils.compat import uuid7

BUCKETS = 1024
_MASK = BUCKETS - 1


def new_tenant_id() -> UUID:
    """A tenant's own id, carrying the bucket that its hash gives."""
    bare = uuid7().int & ~_MASK
    digest = hashlib.sha256(bare.to_bytes(16, "big")).digest()
    return UUID(int=bare | (int.from_bytes(digest[:2], "big") & _MASK))


def new_id(*, tenant_id: UUID) -> UUID:
    """An id for something that belongs to the tenant: time-ordered, in the tenant's bucket."""
    return UUID(int=(uuid7().int & ~_MASK) | bucket_of(tenant_id))


def bucket_of(any_id: UUID) -> int:
    """The bucket that an id carries, 0 to 1023."""
    return any_id.int & _MASK


def shard_of(bucket: int, *, shards: int) -> int:
    """The event shard of a bucket."""
    return bucket % shards
