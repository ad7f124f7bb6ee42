import pytest
from gateway_upstreams import CAMPAIGN_ID, DONATION_ID
from yarl import URL

AMOUNT = {"minor_units": "1500", "currency": "USD"}
GIFT = {"campaign_id": CAMPAIGN_ID, "amount": AMOUNT}
KEY = {"Idempotency-Key": "key-00000001"}


async def fields_of(answer):
    return [error["field"] for error in (await answer.json(content_type=None))["errors"]]


async def reason_of(answer):
    return (await answer.json(content_type=None))["reason"]


@pytest.mark.requirement("WEB-1")
async def test_a_post_with_a_body_reaches_its_rpc_with_every_field(rest, upstreams):
    async with rest.post("/v1/donations", json=GIFT | {"metadata": {"order": "7"}}, headers=KEY) as answer:
        assert answer.status == 200
        body = await answer.json()
    request = upstreams.donations.requests["CreateDonation"]
    assert request.amount.minor_units == 1500
    assert dict(request.metadata) == {"order": "7"}
    assert request.request_id == "key-00000001"
    assert body["donation"]["donation_id"] == DONATION_ID
    assert body["client_secret"] == ""


@pytest.mark.requirement("WEB-1")
async def test_a_custom_verb_after_a_variable_finds_its_rpc(rest, upstreams):
    async with rest.post(f"/v1/campaigns/{CAMPAIGN_ID}:activate", headers=KEY) as answer:
        assert answer.status == 200
    assert upstreams.campaigns.requests["ActivateCampaign"].campaign_id == CAMPAIGN_ID


@pytest.mark.requirement("WEB-1")
async def test_a_custom_verb_after_a_collection_finds_its_rpc(rest, upstreams):
    async with rest.post("/v1/donations:record", json=GIFT | {"payment_ref": "ch_1"}) as answer:
        assert answer.status == 200
    assert upstreams.donations.requests["RecordDonation"].payment_ref == "ch_1"


@pytest.mark.requirement("WEB-1")
async def test_query_parameters_reach_nested_fields(rest, upstreams):
    query = "order_total.minor_units=1999&order_total.currency=USD"
    async with rest.get(f"/v1/campaigns/{CAMPAIGN_ID}/offer?{query}") as answer:
        assert answer.status == 200
    request = upstreams.donations.requests["GetDonationOffer"]
    assert request.order_total.minor_units == 1999
    assert request.campaign_id == CAMPAIGN_ID


@pytest.mark.requirement("WEB-1")
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=ten", "page_size"),
        ("page_size=1&page_size=2", "page_size"),
        ("colour=red", "colour"),
        ("donor_id.x=5", "donor_id.x"),
        ("page_size=%E0%A5%A8", "page_size"),
        ("donor_id=%00", "donor_id"),
    ],
)
async def test_a_wrong_query_parameter_is_refused_by_its_name(rest, query, field):
    async with rest.get(URL(f"/v1/donations?{query}", encoded=True)) as answer:
        assert answer.status == 400
        assert await fields_of(answer) == [field]


@pytest.mark.parametrize("query", ["a", "a=%zz", "donor_id=%ff"])
async def test_a_malformed_query_is_refused(rest, query):
    async with rest.get(URL(f"/v1/donations?{query}", encoded=True)) as answer:
        assert answer.status == 400
        assert await reason_of(answer) == "MALFORMED_REQUEST"


async def test_a_field_that_the_path_carries_is_not_taken_from_the_body(rest):
    body = {"campaign_id": CAMPAIGN_ID}
    async with rest.post(f"/v1/campaigns/{CAMPAIGN_ID}:activate", json=body, headers=KEY) as answer:
        assert answer.status == 400
        assert await fields_of(answer) == ["campaign_id"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/nothing",
        "/v1//donations",
        "/v1/donations/",
        "/v1/donations/%2e%2e",
        "/v1/donations/a%2fb",
        "/v1/donations/a%5cb",
        "/v1/donations/a%00",
        "/v1/donations/%ff",
        "/v1/donations/%zz",
        "/v1/donations:",
        f"/v1/donations/{DONATION_ID}:unknown",
    ],
)
async def test_paths_that_no_template_means_are_not_found(rest, path):
    async with rest.get(URL(path, encoded=True)) as answer:
        assert answer.status == 404
        assert await reason_of(answer) == "ROUTE_NOT_FOUND"


@pytest.mark.parametrize("path", ["/v1/x/../donations", "/docs/../v1/donations", "/v1/./donations", "//docs"])
async def test_dots_and_double_slashes_are_not_resolved(rest, raw, path):
    answer = await raw(rest, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404")


async def test_an_escaped_segment_is_decoded_once_and_never_a_verb(rest, upstreams):
    async with rest.get(URL("/v1/donations/a%253A%3Awatch", encoded=True)) as answer:
        assert answer.status == 200
    assert upstreams.donations.requests["GetDonation"].donation_id == "a%3A:watch"


@pytest.mark.requirement("WEB-1")
async def test_a_known_path_with_another_method_names_those_that_it_takes(rest):
    async with rest.delete("/v1/donations") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD, POST"
        assert await reason_of(answer) == "METHOD_NOT_ALLOWED"


@pytest.mark.requirement("WEB-3")
async def test_head_answers_as_get_without_a_body(rest):
    path = f"/v1/donations/{DONATION_ID}"
    async with rest.get(path) as whole, rest.head(path) as head:
        assert head.status == 200
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
        assert await head.read() == b""


@pytest.mark.requirement("WEB-1")
async def test_a_service_that_is_not_configured_answers_not_implemented(rest):
    async with rest.get(f"/v1/donations/{DONATION_ID}/receipt") as answer:
        assert answer.status == 501
        assert await reason_of(answer) == "NOT_IMPLEMENTED"


@pytest.mark.requirement("IDM-1")
async def test_a_mutating_call_without_a_key_is_refused(rest):
    async with rest.post("/v1/donations", json=GIFT) as answer:
        assert answer.status == 400
        assert await reason_of(answer) == "IDEMPOTENCY_KEY_MISSING"


@pytest.mark.requirement("IDM-1")
async def test_a_key_in_the_body_suffices(rest, upstreams):
    async with rest.post("/v1/donations", json=GIFT | {"request_id": "key-in-the-body"}) as answer:
        assert answer.status == 200
    assert upstreams.donations.requests["CreateDonation"].request_id == "key-in-the-body"


@pytest.mark.requirement("IDM-1")
async def test_two_different_keys_are_refused_and_the_field_named(rest):
    async with rest.post("/v1/donations", json=GIFT | {"request_id": "another-key"}, headers=KEY) as answer:
        assert answer.status == 400
        assert await fields_of(answer) == ["request_id"]


@pytest.mark.requirement("IDM-1")
async def test_a_replayed_answer_says_so(rest, upstreams):
    upstreams.donations.replayed = True
    async with rest.post("/v1/donations", json=GIFT, headers=KEY) as answer:
        assert answer.headers["Idempotent-Replayed"] == "true"
    upstreams.donations.replayed = False
    async with rest.post("/v1/donations", json=GIFT, headers=KEY) as answer:
        assert "Idempotent-Replayed" not in answer.headers


async def test_what_a_caller_says_about_himself_does_not_reach_the_service(rest, upstreams):
    forged = {"giving-identity-bin": "AAAA", "giving-correlation-id": "forged-000000"}
    async with rest.get(f"/v1/donations/{DONATION_ID}", headers=forged) as answer:
        assert answer.status == 200
    metadata = upstreams.donations.metadata["GetDonation"]
    assert metadata["giving-identity-bin"] == b"\x0a\x01\x01"
    assert metadata["giving-correlation-id"] == answer.headers["X-Request-Id"] != "forged-000000"


async def test_the_development_token_acts_as_internal_and_operator(rest, upstreams, token):
    async with rest.get(f"/v1/donations/{DONATION_ID}", headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status == 200
    assert b"development" in upstreams.donations.metadata["GetDonation"]["giving-identity-bin"]


@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer", "Basic eDp5", "Bearer a development tokenx", "Bearer ünï"])
async def test_credentials_that_prove_nothing_are_refused(rest, given):
    async with rest.get(f"/v1/donations/{DONATION_ID}", headers={"Authorization": given}) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert await reason_of(answer) == "UNAUTHENTICATED"


async def test_the_trace_goes_on_into_the_service(rest, upstreams):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with rest.get(f"/v1/donations/{DONATION_ID}", headers={"traceparent": trace}) as answer:
        assert answer.status == 200
    assert upstreams.donations.metadata["GetDonation"]["traceparent"].startswith(trace[:35])
