"""Webhooks: signed, sent, tried again until they are taken. The queue is the book, so a killed process forgets nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
from prometheus_client import Counter

from sandbox.stripe.engine import Engine
from sandbox.stripe.work import Work

WEBHOOKS = Counter("sandbox_webhooks_total", "Attempts to deliver an event", ["result"])
SKEW = "signature_skew_s"
# Attempts at the same time; more would only queue at the receiver.
_CONCURRENCY = 32
# Deliveries that were read from the book and wait for their attempt, so that each look fetches many at once.
_READ_AHEAD = 256
_ANSWER_S_MAX = 10.0
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_GIVEN_UP_AFTER_S = 3 * 86_400
# The longest sleep without a look into the queue.
_LOOK_S = 1.0
_USER_AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"


class Delivery(NamedTuple):
    """`event` is the event's row."""

    id: int
    attempts: int
    since: float
    event: int
    type: str
    body: str


class Outcome(NamedTuple):
    delivery: Delivery
    taken: bool
    answer: str


class Look(NamedTuple):
    """What the queue holds: what is due, when the next is, and how wrong the clock of signatures is to go."""

    due: list[Delivery]
    next_at: float | None
    skew_s: int


def signature(body: bytes, secrets: Iterable[str], *, at: int) -> str:
    """The value of Stripe-Signature: a v1 for each secret."""
    signed = f"{at}.".encode() + body
    made = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={value}" for value in made)])


def pause_s(attempts: int) -> float:
    """How long to wait after so many failed attempts."""
    return _PAUSES_S[min(attempts, len(_PAUSES_S)) - 1]


class Deliveries:
    """Sends what is due to the endpoint; runs as one loop beside the API."""

    def __init__(self, engine: Engine, *, url: str, secrets: Sequence[str], session: aiohttp.ClientSession) -> None:
        self._engine = engine
        self._url = url
        self._secrets = secrets
        self._session = session
        self._woken = asyncio.Event()
        # By delivery; those that have ended stay until the book knows.
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._outcomes: list[Outcome] = []
        self._tried: dict[int, asyncio.Event] = {}
        self._skew_s = 0
        self._attempts = asyncio.Semaphore(_CONCURRENCY)

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        while True:
            self._woken.clear()
            look = await self._look()
            self._skew_s = look.skew_s
            for delivery in look.due:
                self._under_way[delivery.id] = asyncio.create_task(self._attempt(delivery))
            await self._sleep(look.next_at)

    async def tried(self, events: Iterable[int]) -> None:
        """Waits until each of the events was tried once, for as long as an attempt may take."""
        waited = [self._tried.setdefault(event, asyncio.Event()) for event in events]
        self.wake()
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                for event in waited:
                    await event.wait()
        except TimeoutError:
            return

    async def _sleep(self, next_at: float | None) -> None:
        delay_s = _LOOK_S if next_at is None else min(max(next_at - time.time(), 0.0), _LOOK_S)
        try:
            async with asyncio.timeout(delay_s):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _look(self) -> Look:
        """Records what has ended and reads what is due, in one transaction."""
        ended, self._outcomes = self._outcomes, []
        room = _READ_AHEAD + len(ended) - len(self._under_way)
        limit = room + len(self._under_way) if room > 0 else 0
        look = await self._engine.transact(lambda work: _turn(work, ended, limit=limit))
        for outcome in ended:
            del self._under_way[outcome.delivery.id]
            if event := self._tried.pop(outcome.delivery.event, None):
                event.set()
        fresh = [delivery for delivery in look.due if delivery.id not in self._under_way]
        return look._replace(due=fresh[: max(room, 0)])

    async def _attempt(self, delivery: Delivery) -> None:
        async with self._attempts:
            taken, answer = await self._send(delivery.body.encode())
        WEBHOOKS.labels("taken" if taken else "refused").inc()
        self._outcomes.append(Outcome(delivery, taken, answer))
        self.wake()

    async def _send(self, body: bytes) -> tuple[bool, str]:
        """Whether the endpoint took it, and what it said."""
        at = int(time.time()) + self._skew_s
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(body, self._secrets, at=at),
            "User-Agent": _USER_AGENT,
        }
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                return 200 <= answer.status < 300, str(answer.status)  # noqa: PLR2004
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return False, type(error).__name__


def _turn(work: Work, ended: Iterable[Outcome], *, limit: int) -> Look:
    now = time.time()
    for outcome in ended:
        _record(work, outcome, now)
    due = [Delivery(*row) for row in work.ask_named("due_deliveries", now=now, limit=limit)] if limit else []
    return Look(due, work.one("next_delivery", now), int(work.one("get_setting", SKEW) or 0))


def _record(work: Work, outcome: Outcome, now: float) -> None:
    delivery = outcome.delivery
    given_up = now - delivery.since > _GIVEN_UP_AFTER_S
    state = "done" if outcome.taken else "dead" if given_up else "due"
    next_at = now + pause_s(delivery.attempts + 1)
    work.ask_named("record_attempt", id=delivery.id, state=state, next_at=next_at, answer=outcome.answer)


@asynccontextmanager
async def endpoint_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections that are kept between deliveries."""
    connector = aiohttp.TCPConnector(limit=_CONCURRENCY, keepalive_timeout=30)
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S_MAX)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        yield session
