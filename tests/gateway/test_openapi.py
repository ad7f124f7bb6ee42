import json

import pytest
from openapi_spec_validator import validate

from gateway.clients import contract_methods
from gateway.transcode import routes_of


@pytest.fixture
async def contract(rest):
    async with rest.get("/openapi.json") as answer:
        assert answer.content_type == "application/json"
        return json.loads(await answer.read())


def operations(contract):
    return {operation["operationId"]: operation for verbs in contract["paths"].values() for operation in verbs.values()}


@pytest.mark.requirement("WEB-1")
async def test_the_document_is_valid_openapi(contract):
    assert contract["openapi"].startswith("3.1")
    validate(contract)


@pytest.mark.requirement("WEB-1")
async def test_every_route_is_documented_and_nothing_else(contract):
    documented = {(verb.upper(), path) for path, verbs in contract["paths"].items() for verb in verbs}
    assert documented == {(route.http_method, route.template.text) for route in routes_of(contract_methods())}


@pytest.mark.requirement("WEB-1")
async def test_operations_carry_the_contracts_comments_roles_and_keys(contract):
    create = operations(contract)["DonationService_CreateDonation"]
    assert create["summary"] == "Promises a donation and makes its payment ready; the donor confirms with the client secret"
    assert create["x-roles"] == ["public"]
    assert create["x-idempotency-field"] == "request_id"
    assert any(parameter["name"] == "Idempotency-Key" for parameter in create["parameters"])


async def test_amounts_are_strings_of_digits_with_their_rules(contract):
    money = contract["components"]["schemas"]["giving.common.v1.Money"]
    assert money["properties"]["minor_units"]["type"] == "string"
    assert money["properties"]["minor_units"]["format"] == "int64"
    assert money["properties"]["currency"]["pattern"] == "^[A-Z]{3}$"
    assert money["required"] == ["minor_units"]
    assert money["additionalProperties"] is False


async def test_what_the_path_carries_is_not_part_of_the_body(contract):
    activate = operations(contract)["CampaignService_ActivateCampaign"]
    schema = activate["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"request_id"}


async def test_every_reason_is_listed_with_its_status(contract):
    rows = {row["reason"]: row for row in contract["x-reasons"]}
    assert rows["IDEMPOTENCY_KEY_REUSED"]["status"] == 422
    assert all(row["description"] for row in rows.values())
