"""The fence: the same call has the same key and digest, another one has not."""

from __future__ import annotations

from typing import Any

import pytest
from giving.donation.v1.donation_service_pb2 import RecordDonationRequest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import IdempotencyKeyReused
from mesh.fence import make_fence
from mesh.idempotency import request_digest, request_key
from tests.support.pretend import gift

parts = st.tuples(st.text(), st.text(), st.text(), st.text())


def key_of(scope: tuple[str, str, str, str]) -> Any:
    caller, method, tenant_id, key = scope
    return request_key(caller=caller, method=method, tenant_id=tenant_id, key=key)


@pytest.mark.requirement("IDM-4")
@given(parts, parts)
def test_keys_are_equal_where_every_part_is(one: tuple[str, str, str, str], other: tuple[str, str, str, str]) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


@pytest.mark.requirement("IDM-4")
@given(parts, st.integers(0, 2), st.integers(1, 3))
def test_parts_never_run_together(scope: tuple[str, str, str, str], place: int, length: int) -> None:
    moved = list(scope)
    taken, moved[place + 1] = moved[place + 1][:length], moved[place + 1][length:]
    moved[place] += taken
    assert (key_of(scope) == key_of((moved[0], moved[1], moved[2], moved[3]))) == (taken == "")


@pytest.mark.requirement("IDM-4")
@given(st.text(min_size=1), st.text(min_size=1))
def test_the_digest_ignores_the_key(one: str, other: str) -> None:
    digests = {request_digest(gift(payment_ref=key), key_field="payment_ref") for key in (one, other)}
    assert len(digests) == 1


@pytest.mark.requirement("IDM-4")
@given(st.dictionaries(st.text(), st.text(), max_size=8), st.randoms(use_true_random=False))
def test_the_digest_is_equal_for_maps_in_another_order(metadata: dict[str, str], chance: Any) -> None:
    shuffled = list(metadata.items())
    chance.shuffle(shuffled)
    digests = {request_digest(gift(metadata=one), key_field="payment_ref") for one in (metadata, dict(shuffled))}
    assert len(digests) == 1


@pytest.mark.requirement("IDM-2")
@given(st.integers(1, 2**62), st.integers(1, 2**62))
def test_the_digest_tells_contents_apart(one: int, other: int) -> None:
    def digest(number: int) -> int:
        request = gift()
        request.amount.minor_units = number
        return request_digest(request, key_field="payment_ref")

    assert (digest(one) == digest(other)) == (one == other)
    assert -(2**63) <= digest(one) < 2**63


def test_a_digest_leaves_the_request_as_it_was() -> None:
    request = gift()
    request_digest(request, key_field="payment_ref")
    assert request == gift()


@pytest.mark.requirement("IDM-2")
def test_a_key_that_comes_with_another_content_is_refused() -> None:
    fence = make_fence(gift(), method="m", key_field="payment_ref", tenant_id="t")
    fence.demand_same(fence.digest)
    with pytest.raises(IdempotencyKeyReused):
        fence.demand_same(fence.digest + 1)
    assert (fence.caller, fence.correlation_id) == ("", "")
    assert isinstance(gift(), RecordDonationRequest)
