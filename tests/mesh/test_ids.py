"""Ids: in the order of time, in the bucket of their tenant."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.ids import BUCKETS, bucket_of, new_id, new_tenant_id, shard_of


def milliseconds(any_id: UUID) -> int:
    return any_id.int >> 80


@pytest.mark.requirement("SCL-3")
def test_everything_of_a_tenant_lies_in_the_tenants_bucket() -> None:
    for _ in range(100):
        tenant = new_tenant_id()
        assert {bucket_of(new_id(tenant_id=tenant)) for _ in range(10)} == {bucket_of(tenant)}


@pytest.mark.requirement("SCL-3")
def test_a_tenants_bucket_is_the_hash_of_its_id_without_the_bucket() -> None:
    for _ in range(100):
        tenant = new_tenant_id()
        bare = (tenant.int >> 10) << 10
        digest = hashlib.sha256(bare.to_bytes(16, "big")).digest()
        assert bucket_of(tenant) == int.from_bytes(digest[:2], "big") % BUCKETS


@pytest.mark.requirement("SCL-3")
def test_tenants_spread_over_the_buckets() -> None:
    assert len({bucket_of(new_tenant_id()) for _ in range(4 * BUCKETS)}) > BUCKETS * 0.9


@pytest.mark.requirement("SCL-3")
def test_ids_are_unique_version_seven_and_ordered_by_time() -> None:
    tenant = new_tenant_id()
    made = [new_id(tenant_id=tenant) for _ in range(20_000)]
    assert len(set(made)) == len(made)
    assert {one.version for one in made} == {7}
    assert [milliseconds(one) for one in made] == sorted(milliseconds(one) for one in made)


@given(st.uuids(), st.integers(1, 1024))
def test_every_id_has_a_bucket_and_every_bucket_a_shard(any_id: UUID, shards: int) -> None:
    assert 0 <= bucket_of(any_id) < BUCKETS
    assert 0 <= shard_of(bucket_of(any_id), shards=shards) < shards
