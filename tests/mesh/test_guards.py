"""What a call must pass before its handler runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from giving.common.v1.error_pb2 import ErrorReason
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_CHARITY, ROLE_DONOR, ROLE_PUBLIC
from giving.donation.v1 import donation_service_pb2 as donation
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument, Refusal, Unauthenticated, from_rpc_error
from mesh.rpc.call import IDENTITY_KEY
from mesh.rpc.contract import methods_of, services_of
from mesh.rpc.guards import check, refuse_plaintext, trust_loopback
from tests.support.pretend import MODULES, Pretend, gift, method, pretend


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Pretend]:
    async with pretend() as running:
        yield running


async def refusal_of(call: Any) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value, dependency="pretend")


async def reason_of(call: Any) -> str:
    return (await refusal_of(call)).reason_name


def identity(*roles: Any) -> tuple[tuple[str, bytes]]:
    return ((IDENTITY_KEY, Identity(roles=roles, subject="someone").SerializeToString()),)


# Form


@pytest.mark.requirement("SEC-6")
async def test_bytes_that_are_no_message_are_malformed(service: Pretend) -> None:
    assert await reason_of(service.raw("RecordDonation")(b"\xff\xff\xff")) == "MALFORMED_REQUEST"


@pytest.mark.requirement("SEC-6")
async def test_text_that_is_no_utf8_is_malformed(service: Pretend) -> None:
    assert await reason_of(service.raw("RecordDonation")(b"\x0a\x02\xc3\x28")) == "MALFORMED_REQUEST"


@pytest.mark.requirement("SEC-6")
async def test_a_request_above_its_methods_bound_is_too_large_and_says_the_bound(service: Pretend) -> None:
    bound = method("RecordDonation").max_request_bytes
    refusal = await refusal_of(service.raw("RecordDonation")(b"\x00" * (bound + 1)))
    assert refusal.reason_name == "REQUEST_TOO_LARGE"
    assert refusal.metadata == {"max_request_bytes": str(bound)}


@pytest.mark.requirement("SEC-6")
async def test_a_request_above_every_bound_is_too_large_too(service: Pretend) -> None:
    wall = max(method(name).max_request_bytes for name in ("RecordDonation", "RecordDonations"))
    assert await reason_of(service.raw("RecordDonation")(b"\x00" * (2 * wall))) == "REQUEST_TOO_LARGE"
    await service.record()


@pytest.mark.requirement("SEC-6")
async def test_headers_above_the_bound_are_refused_and_the_server_lives(service: Pretend) -> None:
    await refusal_of(service.record(metadata=(("x-large", "x" * 100_000),)))
    await service.record()


@pytest.mark.requirement("SEC-6")
async def test_fields_that_the_contract_does_not_know_are_dropped(service: Pretend) -> None:
    seen = []

    async def remember(request: donation.RecordDonationRequest) -> donation.RecordDonationResponse:
        seen.append(request)
        return donation.RecordDonationResponse()

    service.donations.record = remember
    await service.raw("RecordDonation")(gift().SerializeToString() + b"\xfa\xff\x7f\x03abc")
    assert [request.SerializeToString() for request in seen] == [gift().SerializeToString()]


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize("name", ["RecordDonation", "GetTotals"])
async def test_no_bytes_make_an_untyped_answer(service: Pretend, name: str) -> None:
    @given(raw=st.binary(max_size=200))
    def fuzz(raw: bytes) -> None:
        answers.append(raw)

    answers: list[bytes] = []
    fuzz()
    results = await asyncio.gather(*(service.raw(name)(raw) for raw in answers), return_exceptions=True)
    reasons = {from_rpc_error(result, dependency="x").reason_name for result in results if isinstance(result, grpc.RpcError)}
    assert reasons <= {"MALFORMED_REQUEST", "INVALID_ARGUMENT"}


# Rules


@pytest.mark.requirement("SEC-6")
async def test_a_field_that_breaks_its_rule_is_named_with_its_rule(service: Pretend) -> None:
    refusal = await refusal_of(service.record(gift(campaign_id="x", payment_ref="")))
    assert refusal.reason_name == "INVALID_ARGUMENT"
    assert {violation.field for violation in refusal.fields} == {"campaign_id", "payment_ref"}
    assert all(violation.description for violation in refusal.fields)


@pytest.mark.requirement("SEC-6")
async def test_a_thousand_mistakes_make_an_answer_that_still_arrives(service: Pretend) -> None:
    request = donation.RecordDonationsRequest(donations=[gift(campaign_id="x", payment_ref=" ")] * 1000)
    call = service.record_many(iter([request]))
    refusal = await refusal_of(call.read())
    assert refusal.reason_name == "INVALID_ARGUMENT"
    assert "donations[0].campaign_id" in {violation.field for violation in refusal.fields}


@pytest.mark.requirement("SEC-6")
async def test_a_mistake_in_a_long_key_makes_an_answer_that_still_arrives(service: Pretend) -> None:
    refusal = await refusal_of(service.record(gift(metadata={"k" * 60_000: "\x01"})))
    assert refusal.reason_name == "INVALID_ARGUMENT"


def violations(message: Any) -> list[str]:
    try:
        check(message)
    except InvalidArgument as refusal:
        return [violation.field for violation in refusal.fields]
    return []


@pytest.mark.requirement("SEC-6")
@pytest.mark.parametrize("mark", ["\x00", "\t", "\n", "\x1b", "\x7f", "\x85", "\u202e", "\u2066"])
def test_control_and_reordering_characters_are_refused_by_the_path_of_their_field(mark: str) -> None:
    request = donation.RecordDonationsRequest(
        donations=[gift(), gift(metadata={"good": f"a{mark}b"}), gift(metadata={f"k{mark}": "v"})]
    )
    assert violations(request) == ["donations[1].metadata['good']", f"donations[2].metadata[{f'k{mark}'!r}]"]


@pytest.mark.requirement("SEC-6")
def test_control_characters_are_found_however_deep_they_are() -> None:
    struct = struct_pb2.Struct()
    struct.update({"a": {"b": ["fine", "b\x00d"]}})
    [path] = violations(struct)
    assert path == "fields['a'].struct_value.fields['b'].list_value.values[1].string_value"


def test_other_scripts_and_signs_are_fine() -> None:
    assert violations(struct_pb2.Value(string_value="a \u2013 \u017c\u00f3 \U0001f642 \u200f\u05e2")) == []


# Identity


@pytest.mark.requirement("SEC-1")
async def test_a_stranger_is_unauthenticated_and_the_known_who_may_not_is_denied(service: Pretend) -> None:
    assert await reason_of(service.record(metadata=identity())) == "UNAUTHENTICATED"
    assert await reason_of(service.record(metadata=identity(ROLE_PUBLIC))) == "UNAUTHENTICATED"
    assert await reason_of(service.record(metadata=identity(ROLE_DONOR))) == "PERMISSION_DENIED"
    await service.totals(metadata=identity(ROLE_PUBLIC))


@pytest.mark.requirement("SEC-1")
async def test_roles_are_asked_for_before_the_request_is_read(service: Pretend) -> None:
    call = service.raw("RecordDonation")(b"\xff", metadata=identity(ROLE_DONOR))
    assert await reason_of(call) == "PERMISSION_DENIED"


@pytest.mark.requirement("SEC-2")
async def test_an_identity_that_cannot_be_read_proves_nothing(service: Pretend) -> None:
    assert await reason_of(service.totals(metadata=((IDENTITY_KEY, b"\xff\xff"),))) == "UNAUTHENTICATED"


@pytest.mark.requirement("SEC-2")
async def test_production_without_certificates_knows_nobody() -> None:
    async with pretend(mesh_mode="production") as service:
        assert await reason_of(service.totals()) == "UNAUTHENTICATED"
        assert await reason_of(service.totals(metadata=identity(ROLE_CHARITY))) == "UNAUTHENTICATED"
        assert await reason_of(service.watch().read()) == "UNAUTHENTICATED"


@pytest.mark.requirement("SEC-2")
@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:5000", "ipv4:127.9.9.9:1", "ipv6:[::1]:5000", "ipv6:%5B::1%5D:5", "unix:"])
def test_loopback_peers_are_trusted_in_development(peer: str) -> None:
    assert trust_loopback(peer=peer, metadata={}).subject == "development"


@pytest.mark.requirement("SEC-2")
@pytest.mark.parametrize(
    "peer",
    ["ipv4:10.0.0.1:5000", "ipv6:%5Bfe80::1%25eth0%5D:5", "ipv6:[2001:db8::1]:5", "ipv4:", "", "ipv4:localhost:1", "what"],
)
def test_other_peers_are_refused(peer: str) -> None:
    with pytest.raises(Unauthenticated):
        trust_loopback(peer=peer, metadata={})
    with pytest.raises(Unauthenticated):
        refuse_plaintext(peer=peer, metadata={})


# Policy


@pytest.mark.requirement("SEC-1")
def test_every_method_of_the_contract_has_a_complete_policy() -> None:
    for found in methods_of(services_of(MODULES)).values():
        assert found.policy.roles
        assert found.max_request_bytes > 0
        assert found.deadline_s > 0


@pytest.mark.requirement("SEC-1")
def test_a_method_without_a_policy_is_refused() -> None:
    from grpc_health.v1 import health_pb2  # noqa: PLC0415

    with pytest.raises(LookupError, match="policy"):
        methods_of(services_of([health_pb2]))


def test_every_reason_has_a_name_of_its_own() -> None:
    assert len(set(ErrorReason.values())) == len(ErrorReason.keys())
