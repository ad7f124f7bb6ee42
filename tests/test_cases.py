"""One set of cases through both doors: gRPC and REST refuse the same, by the same reason and the same field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api import annotations_pb2
from google.protobuf import json_format

from mesh.rpc.contract import Method, methods_of, services_of
from tests.shape.test_contract import MODULES
from tests.support.books import counted
from tests.support.giving import Cause, gift
from tests.support.mesh import Mesh, fresh_key
from tests.support.refusals import fields_of, refusal_of

CASES = json.loads((Path(__file__).parent / "cases/refusals.json").read_text())
METHODS = methods_of(services_of(MODULES))
UNKNOWN = "0190b4a2-0000-7000-8000-000000000000"
TABLES = ("charity", "campaign", "donation", "reversal", "command", "event")


def filled(value: Any, words: dict[str, str]) -> Any:
    """A request with `$words` replaced; `$fresh` is another key each time."""
    if isinstance(value, dict):
        return {key: filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, words) for item in value]
    if value == "$fresh":
        return fresh_key()
    return words.get(value, value) if isinstance(value, str) else value


@pytest.fixture
async def words(mesh: Mesh, cause: Cause) -> dict[str, str]:
    request = gift(cause.campaign_id, 250)
    donation = (await mesh.donations.RecordDonation(request)).donation
    return {
        "$campaign": cause.campaign_id,
        "$charity": cause.charity_id,
        "$unknown": UNKNOWN,
        "$recorded": request.payment_ref,
        "$donation": donation.donation_id,
        "$long": "x" * 256,
    }


async def rows(mesh: Mesh) -> list[int]:
    return [await counted(mesh.schemas, table) for table in TABLES]


def port_of(mesh: Mesh, method: Method) -> int:
    package = method.descriptor.containing_service.file.package.split(".")[1]
    return {"donation": mesh.donation_port, "payment": mesh.payment_port, "aggregate": mesh.aggregator_port}[package]


@pytest.mark.requirement("INT-1", "IDM-2", "WEB-2")
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_grpc_refuses(mesh: Mesh, words: dict[str, str], case: dict[str, Any]) -> None:
    method = METHODS[f"/{case['method']}"]
    request = json_format.ParseDict(filled(case["request"], words), method.request_class())
    before = await rows(mesh)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port_of(mesh, method)}") as channel:
        call = channel.unary_unary(method.path, request_serializer=method.request_class.SerializeToString)
        refusal = await refusal_of(call(request, timeout=10))

    assert (refusal.reason_name, refusal.form.http_status) == (case["reason"], case["status"])
    assert fields_of(refusal) >= set(case.get("fields", ()))
    assert set(refusal.metadata) == set(refusal.form.metadata)
    assert await rows(mesh) == before


@pytest.mark.requirement("INT-1", "IDM-2", "WEB-1", "WEB-2")
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_rest_refuses(mesh: Mesh, words: dict[str, str], case: dict[str, Any]) -> None:
    request = filled(case["request"], words)
    verb, path, body = http_of(METHODS[f"/{case['method']}"], request)
    before = await rows(mesh)
    async with mesh.rest.request(verb, path, json=body, params=None if body is not None else flat(request)) as response:
        problem = await response.json(content_type="application/problem+json")

    assert (problem["reason"], response.status) == (case["reason"], case["status"])
    assert problem["status"] == case["status"]
    assert {error["field"] for error in problem["errors"]} >= set(case.get("fields", ()))
    assert problem["request_id"] == response.headers["X-Request-Id"]
    assert await rows(mesh) == before


def http_of(method: Method, request: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """Verb, path and body of a request by its route in the contract; what the path takes leaves the request."""
    rule = method.descriptor.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    path = re.sub(r"{(\w+)}", lambda found: str(request.pop(found[1])), getattr(rule, verb))
    return verb.upper(), path, request if rule.body else None


def flat(request: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """A request as query parameters, nested fields with dots."""
    parameters: dict[str, str] = {}
    for key, value in request.items():
        parameters |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": str(value)}
    return parameters
