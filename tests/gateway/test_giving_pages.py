"""The pages on which people give, as documents: what they may do, and what they tell."""

import json

import pytest
from gateway_upstreams import CAMPAIGN_ID
from prometheus_client import REGISTRY, generate_latest
from pydantic import ValidationError

from mesh.money import EXPONENTS

SANDBOX = {"stripe_publishable_key": "pk_test_1", "stripe_browser_base": "http://127.0.0.1:9"}


async def policy_of(session, path="/"):
    async with session.get(path) as answer:
        directives = answer.headers["Content-Security-Policy"].split("; ")
    return {name: sources.split() for name, _, sources in (directive.partition(" ") for directive in directives)}


async def configuration_of(session):
    async with session.get("/page.json") as answer:
        assert answer.headers["Cache-Control"] == "no-cache"
        return json.loads(await answer.read())


@pytest.mark.requirement("WEB-4", "SEC-8")
async def test_with_the_sandbox_the_page_runs_our_files_only_and_talks_to_us_and_the_sandbox(gateway_of):
    async with gateway_of(**SANDBOX) as session:
        policy = await policy_of(session, f"/c/{CAMPAIGN_ID}")
    assert policy["default-src"] == policy["frame-src"] == policy["frame-ancestors"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == ["'self'"]
    assert policy["connect-src"] == ["'self'", "http://live.example", "http://127.0.0.1:9"]


@pytest.mark.requirement("WEB-4", "SEC-8")
async def test_with_a_real_key_the_page_may_also_run_stripes_script(gateway_of):
    async with gateway_of(stripe_publishable_key="pk_live_1") as session:
        policy = await policy_of(session)
    assert policy["script-src"] == ["'self'", "https://js.stripe.com", "https://*.js.stripe.com"]
    assert policy["connect-src"] == ["'self'", "http://live.example", "https://api.stripe.com"]
    assert "https://hooks.stripe.com" in policy["frame-src"]
    assert policy["style-src"] == ["'self'"]


@pytest.mark.requirement("WEB-4", "SEC-8")
async def test_without_a_key_nothing_of_stripes_is_let_in(rest):
    assert not [source for sources in (await policy_of(rest)).values() for source in sources if "stripe" in source]


@pytest.mark.requirement("WEB-4")
async def test_the_page_learns_where_things_are(gateway_of):
    async with gateway_of(**SANDBOX, featured_campaign=CAMPAIGN_ID) as session:
        configuration = await configuration_of(session)
    assert configuration["publishable_key"] == "pk_test_1"
    assert configuration["stripe_base"] == "http://127.0.0.1:9"
    assert configuration["live_url"] == "http://live.example"
    assert configuration["featured_campaign"] == CAMPAIGN_ID
    assert configuration["sends_receipts"] is False
    assert set(configuration["currencies"]) == set(EXPONENTS)
    assert configuration["currencies"]["KWD"] == {"exponent": 3, "step": 10}


@pytest.mark.requirement("WEB-4")
async def test_everything_that_the_page_names_is_served_by_us(rest):
    async with rest.get("/") as answer:
        page = await answer.text()
    assert "://" not in page
    names = [part.partition('"')[0] for part in page.split('="/page/')[1:]]
    assert "page.js" in names
    for name in names:
        async with rest.get(f"/page/{name}") as answer:
            assert answer.status == 200
            assert answer.content_type in ("text/css", "text/javascript", "image/svg+xml")


@pytest.mark.requirement("SEC-8")
@pytest.mark.parametrize("path", ["/page/", "/page/page.html", "/page/..%2fdocs.html", "/c", f"/c/{CAMPAIGN_ID}/x"])
async def test_nothing_else_is_served(rest, path):
    async with rest.get(path) as answer:
        assert answer.status == 404


async def test_an_address_that_can_be_no_campaigns_is_not_found_and_still_the_page(rest):
    async with rest.get("/c/nonsense") as answer:
        assert (answer.status, answer.content_type) == (404, "text/html")
        assert "/page/page.js" in await answer.text()
    async with rest.get(f"/c/{CAMPAIGN_ID.upper()}") as answer:
        assert answer.status == 200


async def test_campaigns_do_not_become_labels_of_metrics(rest):
    labels = {"method": "GET", "route": "/c/{campaign_id}", "status": "200"}
    before = REGISTRY.get_sample_value("http_requests_total", labels) or 0
    async with rest.get(f"/c/{CAMPAIGN_ID}"):
        pass
    assert REGISTRY.get_sample_value("http_requests_total", labels) == before + 1
    assert CAMPAIGN_ID.encode() not in generate_latest()


@pytest.mark.requirement("SEC-8")
@pytest.mark.parametrize("name", ["stripe_browser_base", "live_url"])
@pytest.mark.parametrize("origin", ["http://a b", "http://a;script-src *", "http://a/b", "ftp://a", "http://a\n"])
def test_an_origin_cannot_change_the_pages_policy(settings_for, name, origin):
    with pytest.raises(ValidationError, match=name):
        settings_for(**{name: origin})


@pytest.mark.requirement("SEC-8")
def test_a_secret_key_is_not_taken_for_the_publishable_one(settings_for):
    with pytest.raises(ValidationError, match="stripe_publishable_key"):
        settings_for(stripe_publishable_key="sk_test_1")
