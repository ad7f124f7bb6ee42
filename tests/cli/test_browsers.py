"""A donor's browser in the demonstration, against a mesh and a provider whose answers a test scripts."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from cli.browsers import Browsers, Checkout
from cli.promises import Course, Promise
from cli.refusal import CommandRefused

SUCCEEDED = {"status": "succeeded"}
OPEN = {"status": "requires_payment_method", "last_payment_error": None}
DECLINED = {"status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}}
CARD_ERROR = {"error": {"type": "card_error", "code": "card_declined"}}
ENDED = {"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}}
READY = {"donation": {"donation_id": "d1"}, "client_secret": "pi_1_secret_2"}
LOST = None


@dataclass
class Outside:
    """What is asked, and the answers; LOST cuts the connection, as a kill does. The last answer stays."""

    promises: deque[Any]
    confirms: deque[Any] = field(default_factory=deque)
    looks: deque[Any] = field(default_factory=deque)
    asked: list[str] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)

    async def promise(self, request: web.Request) -> web.Response:
        self.seen.append((request.headers["Idempotency-Key"], request.cookies["giving_client"], await request.json()))
        return self._answer("promise", request, self.promises)

    async def confirm(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.seen.append((form["key"], form["client_secret"]))
        return self._answer(f"confirm {form['payment_method']}", request, self.confirms)

    async def look(self, request: web.Request) -> web.Response:
        assert dict(request.query) == {"key": "pk", "client_secret": "pi_1_secret_2"}
        return self._answer("look", request, self.looks)

    def _answer(self, name: str, request: web.Request, answers: deque[Any]) -> web.Response:
        self.asked.append(name)
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if answer is LOST:
            request.transport.close()
            return web.Response()
        status = answer.get("http", 402 if "error" in answer else 200)
        return web.json_response(answer, status=status)


@asynccontextmanager
async def browsers_before(outside: Outside) -> AsyncIterator[Browsers]:
    app = web.Application()
    app.router.add_post("/v1/donations", outside.promise)
    app.router.add_post("/v1/payment_intents/pi_1/confirm", outside.confirm)
    app.router.add_get("/v1/payment_intents/pi_1", outside.look)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    url = f"http://{host}:{port}"
    checkout = Checkout(rest_url=url, stripe_url=url, publishable_key="pk", campaign_id="c1")
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield Browsers(session, checkout, sleep=at_once)
    finally:
        await runner.cleanup()


async def at_once(_: float) -> None:
    """Nobody waits."""


async def asked(outside: Outside, course: Course) -> list[str]:
    async with browsers_before(outside) as browsers:
        assert await browsers.give(Promise("key-1", "browser-1", "USD", 500, course)) == "d1"
    return outside.asked


async def test_a_promise_whose_payment_is_not_ready_is_asked_again_with_the_same_key_and_cookie():
    pending = {"donation": {"donation_id": "d1"}}
    outside = Outside(deque([LOST, {"http": 503}, pending, READY]), deque([SUCCEEDED]))
    assert await asked(outside, Course.PAYS) == [*["promise"] * 4, "confirm pm_card_visa"]
    body = {"campaign_id": "c1", "amount": {"minor_units": "500", "currency": "USD"}}
    assert outside.seen == [*[("key-1", "browser-1", body)] * 4, ("pk", "pi_1_secret_2")]


@pytest.mark.requirement("PAY-3")
async def test_after_a_lost_answer_the_donor_looks_before_he_pays_again():
    paid = Outside(deque([READY]), deque([LOST]), deque([SUCCEEDED]))
    assert await asked(paid, Course.PAYS) == ["promise", "confirm pm_card_visa", "look"]
    unpaid = Outside(deque([READY]), deque([LOST, SUCCEEDED]), deque([OPEN]))
    assert await asked(unpaid, Course.PAYS) == ["promise", "confirm pm_card_visa", "look", "confirm pm_card_visa"]


async def test_a_payment_that_had_succeeded_unheard_is_found():
    outside = Outside(deque([READY]), deque([LOST, ENDED]), deque([LOST, SUCCEEDED]))
    assert (await asked(outside, Course.PAYS))[-1] == "look"


async def test_a_declined_card_is_followed_by_another_one():
    outside = Outside(deque([READY]), deque([CARD_ERROR, LOST, SUCCEEDED]), deque([DECLINED]))
    first, second = "confirm pm_card_chargeDeclined", "confirm pm_card_mastercard"
    # The look after the lost answer shows the first card's decline still.
    assert await asked(outside, Course.PAYS_AFTER_DECLINE) == ["promise", first, second, "look", second]


async def test_a_decline_that_was_not_heard_is_not_asked_for_again():
    outside = Outside(deque([READY]), deque([LOST]), deque([DECLINED]))
    assert await asked(outside, Course.DECLINED) == ["promise", "confirm pm_card_chargeDeclined", "look"]


async def test_who_leaves_confirms_nothing():
    assert await asked(Outside(deque([READY])), Course.LEAVES) == ["promise"]


async def test_a_refused_promise_and_a_provider_that_says_nothing_end_the_demonstration():
    with pytest.raises(CommandRefused, match="POST http"):
        await asked(Outside(deque([{"http": 400}])), Course.PAYS)
    with pytest.raises(CommandRefused, match="pm_card_visa was to be succeeded and was not answered"):
        await asked(Outside(deque([READY]), deque([ENDED]), deque([OPEN])), Course.PAYS)
