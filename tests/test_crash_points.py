"""Each process dies, as by a power cut, at each step of a gift: one donation, one charge, and an end that is right."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from cli.servers.nats import nats
from cli.servers.postgres import postgres
from cli.servers.valkey import Valkey
from tests.support.folders import reachable_folder
from tests.support.lives import Lives, running_lives
from tests.support.mesh import fresh_key
from tests.support.waiting import until

# The process that reaches the point, the point, whether the donor is still making his promise when it dies.
PROMISING = [
    ("gateway", "gateway.CreateDonation"),
    ("donation", "donation.recorded"),
    ("donation", "donation.payment_made"),
    ("donation", "donation.awaiting"),
    ("payment", "payment.recorded"),
    ("payment", "payment.calling"),
    ("payment", "payment.called"),
    ("payment", "payment.learned"),
]
PAYING = [
    ("gateway", "gateway.webhook_taken"),
    ("gateway", "gateway.webhook_answered"),
    ("payment", "webhook.applied"),
    ("payment", "webhook.committed"),
    ("donation", "donation.settled"),
]
CALLING_OFF = [("payment", "payment.cancel_called")]
GIVING_BACK = [
    ("gateway", "gateway.RefundDonation"),
    ("donation", "donation.refund_recorded"),
    ("donation", "donation.refund_made"),
    ("payment", "payment.wished"),
    ("payment", "payment.refund_called"),
]
AMOUNT = 2500


@dataclass(frozen=True)
class Donor:
    """A guest's browser: one client id, and an address that he retries."""

    lives: Lives
    browser: aiohttp.ClientSession
    campaign_id: str

    async def promise(self, key: str) -> dict[str, Any]:
        """CreateDonation; empty where no answer came."""
        body = {"campaign_id": self.campaign_id, "amount": {"minor_units": str(AMOUNT), "currency": "USD"}}
        return await self._json("POST", "/v1/donations", json=body, headers={"Idempotency-Key": key})

    async def ready(self, key: str) -> dict[str, Any]:
        """The promise, repeated with its key until there is something to confirm."""
        return await until(lambda: self.promise(key), holds=lambda answer: bool(answer.get("client_secret")))

    async def confirm(self, client_secret: str, card: str = "pm_card_visa") -> None:
        intent = client_secret.partition("_secret_")[0]
        form = {
            "key": self.lives.publishable_key,
            "client_secret": client_secret,
            "payment_method": card,
            "return_url": "http://127.0.0.1/back",
        }
        async with self.browser.post(f"{self.lives.sandbox_url}/v1/payment_intents/{intent}/confirm", data=form) as answer:
            await answer.read()

    async def becomes(self, promised: dict[str, Any], *states: str) -> dict[str, Any]:
        """The donation, once it has come to one of the states for good."""
        path = f"/v1/donations/{promised['donation']['donation_id']}"
        headers = {"Authorization": f"Bearer {promised['access_token']}"}

        async def donation() -> dict[str, Any]:
            return dict((await self._json("GET", path, headers=headers)).get("donation", {}))

        return await until(donation, holds=lambda found: found.get("state") in states and not found.get("retryable"))

    async def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            async with self.browser.request(method, f"{self.lives.base}{path}", **more) as answer:
                return dict(await answer.json()) if answer.status == 200 else {}
        except aiohttp.ClientError:
            return {}


@pytest.fixture(scope="module")
async def lives(valkey_server: Valkey) -> AsyncIterator[Lives]:
    """With a database server and a broker of its own: roles and streams have the same names everywhere."""
    with reachable_folder() as base, reachable_folder() as folder:
        async with postgres(base / "postgres") as database, nats(base / "nats") as broker:
            urls = {"server_dsn": database.dsn, "nats_url": broker.url, "redis_url": valkey_server.url}
            async with running_lives(folder, **urls) as running:
                yield running


@pytest.fixture
async def donor(lives: Lives) -> AsyncIterator[Donor]:
    operator = {"Authorization": f"Bearer {lives.token}"}
    cookies = {"giving_client": str(uuid.uuid4())}
    async with aiohttp.ClientSession(headers=operator) as session:
        campaign_id = await _campaign(session, lives.base)
    async with aiohttp.ClientSession(cookies=cookies, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        browser.cookie_jar.update_cookies(cookies, aiohttp.client.URL(lives.base))
        yield Donor(lives, browser, campaign_id)


async def _campaign(session: aiohttp.ClientSession, base: str) -> str:
    async def post(path: str, **body: Any) -> dict[str, Any]:
        async with session.post(f"{base}{path}", json=body, headers={"Idempotency-Key": fresh_key()}) as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())

    charity = await post(
        "/v1/charities", display_name="Food", mode="MODE_TEST", default_currency="USD", time_zone="Europe/Vienna"
    )
    rules = [{"currency": "USD", "minor_units_min": "100", "minor_units_max": "100000"}]
    made = await post(
        f"/v1/charities/{charity['charity']['charity_id']}/campaigns", display_name="Bread", currency_rules=rules
    )
    campaign_id = str(made["campaign"]["campaign_id"])
    await post(f"/v1/campaigns/{campaign_id}:activate")
    return campaign_id


async def total(donor: Donor, figure: str) -> int:
    totals = (await donor._json("GET", f"/v1/campaigns/{donor.campaign_id}/totals")).get("totals", {})
    return sum(int(share[figure]) for share in totals.get("currencies", []))


async def gross(donor: Donor) -> int:
    return await total(donor, "gross")


async def charges(donor: Donor, promised: dict[str, Any]) -> list[tuple[str, int]]:
    """Status and captured amount of every intent of a donation, by the sandbox's own book."""
    donation_id = promised["donation"]["donation_id"]
    return [
        (entry["status"], entry["captured"])
        for entry in await donor.lives.book()
        if entry["metadata"].get("donation_id") == donation_id
    ]


@pytest.mark.requirement("IDM-6", "INT-7", "RES-1")
@pytest.mark.parametrize(("name", "point"), PROMISING)
async def test_a_crash_while_a_gift_is_promised(donor: Donor, name: str, point: str) -> None:
    await donor.lives.restart(name, crash_points=point)
    key = str(uuid.uuid4())
    assert await donor.lives.died(name, meanwhile=lambda: donor.promise(key))
    await donor.lives.restart(name)
    promised = await donor.ready(key)
    assert await charges(donor, promised) == [("requires_payment_method", 0)]
    await donor.confirm(promised["client_secret"])
    await donor.becomes(promised, "STATE_SUCCEEDED")
    assert await charges(donor, promised) == [("succeeded", AMOUNT)]
    assert await until(lambda: gross(donor)) == AMOUNT


@pytest.mark.requirement("HKI-2", "INT-7", "RES-1")
@pytest.mark.parametrize(("name", "point"), PAYING)
async def test_a_crash_while_a_payment_is_announced(donor: Donor, name: str, point: str) -> None:
    promised = await donor.ready(str(uuid.uuid4()))
    await donor.lives.restart(name, crash_points=point)
    await donor.confirm(promised["client_secret"])
    assert await donor.lives.died(name)
    await donor.lives.restart(name)
    await donor.becomes(promised, "STATE_SUCCEEDED")
    assert await charges(donor, promised) == [("succeeded", AMOUNT)]
    assert await until(lambda: gross(donor)) == AMOUNT


@pytest.mark.requirement("INT-7", "RES-1")
@pytest.mark.parametrize(("name", "point"), CALLING_OFF)
async def test_a_crash_while_an_intent_is_called_off(donor: Donor, name: str, point: str) -> None:
    promised = await donor.ready(str(uuid.uuid4()))
    await donor.lives.restart(name, crash_points=point)
    for _ in range(3):
        await donor.confirm(promised["client_secret"], "pm_card_chargeDeclined")
    assert await donor.lives.died(name)
    await donor.lives.restart(name)
    ended = await donor.becomes(promised, "STATE_FAILED")
    assert ended["failure_code"] == "generic_decline"
    assert await charges(donor, promised) == [("canceled", 0)]


@pytest.mark.requirement("PAY-5", "PAY-3", "RES-1")
@pytest.mark.parametrize(("name", "point"), GIVING_BACK)
async def test_a_crash_while_money_goes_back(donor: Donor, name: str, point: str) -> None:
    promised = await donor.ready(str(uuid.uuid4()))
    await donor.confirm(promised["client_secret"])
    await donor.becomes(promised, "STATE_SUCCEEDED")
    key, donation_id = str(uuid.uuid4()), promised["donation"]["donation_id"]
    headers = {"Authorization": f"Bearer {donor.lives.token}", "Idempotency-Key": key}
    body = {"amount": {"minor_units": "1000", "currency": "USD"}}

    async def give_back() -> dict[str, Any]:
        return await donor._json("POST", f"/v1/donations/{donation_id}:refund", json=body, headers=headers)

    await donor.lives.restart(name, crash_points=point)
    assert await donor.lives.died(name, meanwhile=give_back)
    await donor.lives.restart(name)
    refunded = await until(give_back, holds=lambda answer: answer.get("donation", {}).get("refunded", {}) != {})
    assert refunded["donation"]["refunded"]["minor_units"] == "1000"
    ours = [entry for entry in await donor.lives.book() if entry["metadata"].get("donation_id") == donation_id]
    assert [entry["refunded"] for entry in ours] == [1000]
    await until(lambda: total(donor, "net"), holds=lambda net: net == AMOUNT - 1000)


@pytest.mark.requirement("PAY-3", "RES-1")
async def test_a_provider_that_dies_under_a_gift_finds_its_books_again(donor: Donor) -> None:
    promised = await donor.ready(str(uuid.uuid4()))
    await donor.confirm(promised["client_secret"])
    await donor.lives.restart("sandbox")
    await donor.becomes(promised, "STATE_SUCCEEDED")
    assert await charges(donor, promised) == [("succeeded", AMOUNT)]
