import gzip
import io
import json

import pytest
from gateway_upstreams import CAMPAIGN_ID, DONATION_ID
from prometheus_client import REGISTRY, generate_latest
from pydantic import ValidationError

from gateway.config import GatewaySettings
from mesh.errors import IdempotencyKeyReused, InvalidArgument, RequestInFlight

DONATION = f"/v1/donations/{DONATION_ID}"
TOTALS = f"/v1/campaigns/{CAMPAIGN_ID}/totals"
KEY = {"Idempotency-Key": "key-00000001"}
ORIGIN = "https://shop.example"


async def post(rest, data, **headers):
    headers = {"Content-Type": "application/json", **KEY, **headers}
    async with rest.post("/v1/donations", data=data, headers=headers) as answer:
        return answer, json.loads(await answer.read())


@pytest.mark.requirement("WEB-2")
async def test_a_refusal_becomes_a_problem_document_with_the_same_reason(rest, upstreams):
    upstreams.donations.refusals["CreateDonation"] = IdempotencyKeyReused("the key came with other content")
    answer, problem = await post(rest, b"{}", **{"X-Request-Id": "request-0001"})
    assert answer.status == 422
    assert answer.content_type == "application/problem+json"
    assert problem == {
        "type": "/docs#IDEMPOTENCY_KEY_REUSED",
        "title": "Idempotency key reused",
        "status": 422,
        "detail": "the key came with other content",
        "reason": "IDEMPOTENCY_KEY_REUSED",
        "request_id": "request-0001",
        "errors": [],
        "metadata": {},
    }
    assert answer.headers["X-Request-Id"] == "request-0001"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.requirement("WEB-2")
async def test_violations_of_the_service_keep_their_fields(rest, upstreams):
    upstreams.donations.refusals["CreateDonation"] = InvalidArgument.of("amount.minor_units", "must be positive")
    _, problem = await post(rest, b"{}")
    assert problem["errors"] == [{"field": "amount.minor_units", "description": "must be positive"}]


@pytest.mark.requirement("WEB-3", "IDM-2")
async def test_a_call_in_flight_says_when_to_come_back_in_whole_seconds(rest, upstreams):
    upstreams.donations.refusals["CreateDonation"] = RequestInFlight("still running", retry_after_s=1.2)
    answer, _ = await post(rest, b"{}")
    assert answer.status == 409
    assert answer.headers["Retry-After"] == "2"


@pytest.mark.requirement("WEB-2")
async def test_an_unexpected_failure_shows_nothing_but_its_request_id(rest, monkeypatch):
    def explode(*_):
        raise RuntimeError("postgres://secret@db")

    monkeypatch.setattr("gateway.transcode.rest.answer", explode)
    async with rest.get(DONATION) as answer:
        text = await answer.text()
    assert answer.status == 500
    assert json.loads(text)["reason"] == "INTERNAL"
    assert json.loads(text)["request_id"] == answer.headers["X-Request-Id"]
    assert "secret" not in text


@pytest.mark.requirement("WEB-2")
@pytest.mark.parametrize("given", ["short", "with space 123", "x" * 129, "ünïcödé-123"])
async def test_a_request_id_of_another_form_is_replaced(rest, given):
    async with rest.get(DONATION, headers={"X-Request-Id": given}) as answer:
        assert answer.headers["X-Request-Id"] != given


@pytest.mark.requirement("SEC-6")
async def test_a_body_over_the_methods_limit_is_refused_before_parsing(rest):
    answer, problem = await post(rest, io.BytesIO(b"[" * 2_000_000))
    assert answer.status == 413
    assert problem["reason"] == "REQUEST_TOO_LARGE"
    assert problem["metadata"] == {"max_request_bytes": "65536"}


@pytest.mark.requirement("SEC-6")
async def test_a_body_without_a_length_is_limited_while_it_is_read(rest):
    async def parts():
        for _ in range(3):
            yield b" " * 40_000

    answer, problem = await post(rest, parts())
    assert answer.status == 413
    assert problem["reason"] == "REQUEST_TOO_LARGE"


@pytest.mark.requirement("SEC-6")
async def test_a_head_without_an_end_is_refused(rest, raw):
    answer = await raw(rest, "GET / HTTP/1.1\r\n" + "X-Filler: " + "x" * 70_000)
    assert answer.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=latin-1", "application/jsonp", ""])
async def test_a_body_of_another_media_type_is_refused(rest, content_type):
    answer, problem = await post(rest, b"{}", **{"Content-Type": content_type})
    assert answer.status == 415
    assert problem["reason"] == "UNSUPPORTED_MEDIA_TYPE"


async def test_a_charset_of_utf_8_may_be_named(rest):
    answer, _ = await post(rest, b"{}", **{"Content-Type": "application/json; charset=utf-8"})
    assert answer.status == 200


async def test_a_compressed_body_is_refused(rest):
    answer, problem = await post(rest, gzip.compress(b"{}"), **{"Content-Encoding": "gzip"})
    assert answer.status == 415
    assert problem["reason"] == "UNSUPPORTED_MEDIA_TYPE"


@pytest.mark.requirement("WEB-3")
async def test_totals_carry_their_version_as_a_tag_and_may_be_cached(rest):
    async with rest.get(TOTALS) as answer:
        assert answer.headers["ETag"] == '"v1"'
        assert answer.headers["Cache-Control"] == "public, max-age=1, stale-while-revalidate=5"


@pytest.mark.requirement("WEB-3")
@pytest.mark.parametrize("tags", ['"v1"', 'W/"v1"', '"v0", "v1"', "*"])
async def test_a_version_that_the_caller_has_is_not_sent_again(rest, tags):
    async with rest.get(TOTALS, headers={"If-None-Match": tags}) as answer:
        assert answer.status == 304
        assert answer.headers["ETag"] == '"v1"'
        assert await answer.read() == b""


@pytest.mark.requirement("WEB-3")
async def test_everything_without_a_caching_policy_is_not_stored(rest):
    async with rest.get(DONATION) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers


@pytest.mark.requirement("WEB-3")
async def test_long_answers_are_compressed_where_that_is_accepted(rest):
    async with rest.get("/v1/donations", headers={"Accept-Encoding": "br, gzip;q=0.5"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        packed = gzip.decompress(await answer.read())
    async with rest.get("/v1/donations", headers={"Accept-Encoding": "gzip;q=0"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert await answer.read() == packed


@pytest.mark.requirement("WEB-3")
async def test_short_answers_are_not_compressed(rest):
    async with rest.get("/healthz", headers={"Accept-Encoding": "gzip"}) as answer:
        assert "Content-Encoding" not in answer.headers


@pytest.mark.requirement("WEB-3")
async def test_a_listed_origin_may_call_and_read_our_headers(rest):
    async with rest.get(DONATION, headers={"Origin": ORIGIN}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.requirement("WEB-3")
@pytest.mark.parametrize("origin", ["https://evil.example", "https://shop.example.evil", "null", "http://shop.example"])
async def test_another_origin_is_not_let_in(rest, origin):
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with rest.options("/v1/donations", headers=preflight) as answer:
        assert answer.status == 405
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.requirement("WEB-3")
async def test_a_preflight_names_the_paths_methods(rest):
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with rest.options("/v1/donations", headers=preflight) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
        assert "idempotency-key" in answer.headers["Access-Control-Allow-Headers"]


async def test_refusals_are_readable_by_a_listed_origin(rest):
    async with rest.get("/v1/nothing", headers={"Origin": ORIGIN}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_metrics_count_by_template_and_never_by_id(rest):
    labels = {"method": "GET", "route": "/v1/donations/{donation_id}", "status": "200"}
    before = REGISTRY.get_sample_value("http_requests_total", labels) or 0
    async with rest.get(DONATION):
        pass
    assert REGISTRY.get_sample_value("http_requests_total", labels) == before + 1
    assert DONATION_ID.encode() not in generate_latest()


@pytest.mark.requirement("SEC-8")
async def test_metrics_are_not_for_the_public(rest):
    async with rest.get("/metrics") as answer:
        assert answer.status == 404


@pytest.mark.requirement("WEB-1")
async def test_the_docs_page_runs_no_foreign_script(rest):
    async with rest.get("/docs") as answer:
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "://" not in page


def test_production_refuses_to_start_with_a_development_token():
    targets = dict.fromkeys(("donation_target", "payment_target", "aggregator_target"), "127.0.0.1:1")
    with pytest.raises(ValidationError, match="development_token"):
        GatewaySettings(mesh_mode="production", development_token="a development token", **targets)


async def test_a_taken_port_is_one_clear_line(rest, gateway_of):
    port = rest._base_url.port
    with pytest.raises(OSError, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use$"):
        async with gateway_of(listen_port=port):
            pass


@pytest.mark.requirement("TOT-8")
async def test_the_rest_process_sends_readers_of_streams_to_the_live_one(rest):
    async with rest.get(f"{TOTALS}:watch?after_version=3", allow_redirects=False) as answer:
        assert answer.status == 307
        assert answer.headers["Location"] == f"http://live.example{TOTALS}:watch?after_version=3"
