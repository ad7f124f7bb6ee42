"""Who a browser is, and which other sites' pages may use that."""

import uuid
from http.cookies import SimpleCookie

import pytest
from gateway_upstreams import CAMPAIGN_ID, DONATION_ID
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_PUBLIC

CLIENT = "5f0f6a5e-8d0c-4b7e-9a53-0d9f4f1f2a10"
COOKIE = {"Cookie": f"giving_client={CLIENT}"}
TOKEN = "gdt_a-token.of_one-donation"


def identity_at(upstreams, name):
    return Identity.FromString(upstreams.donations.metadata[name]["giving-identity-bin"])


async def promised_by(rest, upstreams, **headers):
    """Who the donation service saw when a donation was promised with these headers."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": "key-00000001", **headers}
    async with rest.post("/v1/donations", data=b"{}", headers=headers) as answer:
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
    return identity_at(upstreams, "CreateDonation")


@pytest.mark.requirement("INT-10")
@pytest.mark.parametrize("path", ["/", f"/c/{CAMPAIGN_ID}", f"/?campaign={CAMPAIGN_ID}"])
async def test_a_page_gives_a_new_browser_its_number(rest, path):
    async with rest.get(path) as answer:
        cookie = SimpleCookie(answer.headers["Set-Cookie"])["giving_client"]
        assert answer.headers["Cache-Control"] == "private, no-cache"
    assert str(uuid.UUID(cookie.value)) == cookie.value
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert cookie["secure"] == ""
    assert int(cookie["max-age"]) == 400 * 86_400


@pytest.mark.requirement("INT-10")
async def test_two_browsers_get_two_numbers(rest):
    async with rest.get("/") as first, rest.get("/") as second:
        assert first.headers["Set-Cookie"] != second.headers["Set-Cookie"]


@pytest.mark.requirement("INT-10", "SEC-8")
async def test_a_number_given_over_https_travels_over_https_only(rest):
    async with rest.get("/", headers={"X-Forwarded-Proto": "https"}) as answer:
        assert SimpleCookie(answer.headers["Set-Cookie"])["giving_client"]["secure"]


@pytest.mark.requirement("INT-10")
async def test_a_browser_keeps_the_number_that_it_has(rest):
    async with rest.get("/", headers=COOKIE) as answer:
        assert "Set-Cookie" not in answer.headers


@pytest.mark.requirement("INT-10")
@pytest.mark.parametrize(
    "path", ["/docs", "/page.json", "/page/page.js", "/healthz", f"/v1/donations/{DONATION_ID}", "/v1/no"]
)
async def test_nothing_but_a_page_gives_a_number(rest, path):
    async with rest.get(path) as answer:
        assert "Set-Cookie" not in answer.headers


@pytest.mark.requirement("INT-10")
async def test_a_promise_is_made_in_the_browsers_own_scope(rest, upstreams):
    who = await promised_by(rest, upstreams, Cookie=f'theme="dark; x"; giving_client={CLIENT.upper()}; other=1')
    assert who == Identity(roles=[ROLE_PUBLIC], client_id=CLIENT)


@pytest.mark.requirement("INT-10")
@pytest.mark.parametrize(
    "cookie", ["", "giving_client=", "giving_client=1", f"giving_client={CLIENT}0", f"xgiving_client={CLIENT}", "=;;,"]
)
async def test_a_cookie_of_another_form_is_nobodys(rest, upstreams, cookie):
    assert await promised_by(rest, upstreams, Cookie=cookie) == Identity(roles=[ROLE_PUBLIC])


@pytest.mark.requirement("INT-10", "SEC-8")
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://shop.example.evil"])
async def test_another_sites_page_does_not_act_as_the_browsers_guest(rest, upstreams, origin):
    assert (await promised_by(rest, upstreams, **COOKIE, Origin=origin)).client_id == ""


@pytest.mark.requirement("INT-10", "SEC-8")
async def test_our_own_page_and_listed_sites_act_as_the_browsers_guest(rest, upstreams):
    own = str(rest._base_url).rstrip("/")
    for origin in (own, "https://shop.example"):
        assert (await promised_by(rest, upstreams, **COOKIE, Origin=origin)).client_id == CLIENT


@pytest.mark.requirement("INT-10")
async def test_a_donations_token_reaches_whoever_checks_it(rest, upstreams):
    headers = {"Authorization": f"Bearer {TOKEN}", **COOKIE}
    async with rest.get(f"/v1/donations/{DONATION_ID}", headers=headers) as answer:
        assert answer.status == 200
    expected = Identity(roles=[ROLE_PUBLIC], client_id=CLIENT, access_token=TOKEN)
    assert identity_at(upstreams, "GetDonation") == expected


@pytest.mark.requirement("INT-10", "INT-8")
async def test_a_donations_token_opens_its_stream(live, upstreams):
    headers = {"Authorization": f"bearer {TOKEN}", "Origin": "https://shop.example"}
    async with live.get(f"/v1/donations/{DONATION_ID}:watch", headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert DONATION_ID in await answer.text()
    assert identity_at(upstreams, "WatchDonation").access_token == TOKEN


@pytest.mark.requirement("INT-10", "INT-8")
async def test_a_page_may_ask_the_live_process_with_a_token(live):
    preflight = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,last-event-id",
    }
    async with live.options(f"/v1/donations/{DONATION_ID}:watch", headers=preflight) as answer:
        assert answer.status == 204
        allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"authorization", "last-event-id"} <= set(allowed)


@pytest.mark.requirement("INT-10")
@pytest.mark.parametrize("token", ["gdt_", "gdt_with space", "gdt_" + "x" * 252, "gdt_ünïcödé", "gdt"])
async def test_a_token_of_another_form_proves_nothing(rest, token):
    headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
    async with rest.get(f"/v1/donations/{DONATION_ID}", headers=headers) as answer:
        assert answer.status == 401
