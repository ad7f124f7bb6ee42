"""Calls of the load, each with one outcome of three: done, refused, unknown. Nobody here guesses.

An unknown outcome is asked again under the same key, for as long as the worker has patience; what stays unknown may have
happened or not, once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from giving_client import AsyncMeshClient, MeshError, RetryPolicy
from google.protobuf import json_format

from chaos.journal import Journal
from chaos.provider import Provider

ANSWER_S_MAX = 6.0
_TIMEOUT = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
ONCE = RetryPolicy(attempts_max=1)
_TRIES_MAX = 20
_PAUSE_S_MAX = 0.8
_GIVES_UP_SHARE = 0.04
# Another call with the key is under way, or there are too many: nothing is known of this one.
_PASSING = (409, 429)
_NOT_OURS = 500
_PASSING_CODES = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)


class Outcome(enum.StrEnum):
    """What the caller knows after his last attempt."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Way(enum.StrEnum):
    """Whom a request is for."""

    REST = "rest"
    CHECKOUT = "checkout"
    CARD = "card"
    CONTROL = "control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A logical call, as the journal keeps it.

    `id`: the operation's; `client_id`: of a guest's browser, empty for an operator; `about`: the donation, the payment
    reference or the operation that it follows.
    """

    id: str
    kind: str
    way: Way
    path: str
    body: Mapping[str, Any]
    key: str = ""
    client_id: str = ""
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: Outcome
    body: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""

    @property
    def donation_id(self) -> str:
        return str(self.body.get("donation", {}).get("donation_id", ""))


@dataclass(slots=True)
class Counts:
    """What the load has come to."""

    ops: int = 0
    done: int = 0
    refused: int = 0
    unknown: int = 0


class Calls:
    """Makes calls and keeps the journal. `rest_url`, `card_url`: over the proxies of the load."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        checkout: AsyncMeshClient,
        provider: Provider,
        journal: Journal,
        *,
        rest_url: str,
        card_url: str,
        token: str,
        publishable_key: str,
    ) -> None:
        self._session = session
        self._checkout = checkout
        self._provider = provider
        self._journal = journal
        self._rest_url = rest_url
        self._card_url = card_url
        self._token = token
        self._publishable_key = publishable_key
        self.counts = Counts()
        # Two answers to one key that name different donations.
        self.contradictions: list[tuple[str, str]] = []

    async def perform(self, request: Request, *, chance: random.Random, at_once: int = 1) -> Answer:
        """Sends until the outcome is known or patience ends; the first time `at_once` times, as a double click does."""
        await self._journal.write(what="send", **dataclasses.asdict(request))
        self.counts.ops += 1
        answer = await self._persist(request, chance=chance, at_once=at_once)
        await self._journal.write(what="answer", id=request.id, outcome=answer.outcome, words=answer.words, **_facts(answer))
        name = str(answer.outcome)
        setattr(self.counts, name, getattr(self.counts, name) + 1)
        return answer

    async def send(self, request: Request) -> Answer:
        """One attempt."""
        senders: Mapping[Way, Callable[[Request], Awaitable[Answer]]] = {
            Way.REST: self._rest,
            Way.CHECKOUT: self._record,
            Way.CARD: self._card,
            Way.CONTROL: self._control,
        }
        return await senders[request.way](request)

    async def _persist(self, request: Request, *, chance: random.Random, at_once: int) -> Answer:
        doubtful = False
        # The control knows no keys: twice would be two acts.
        tries = 1 if request.way is Way.CONTROL else _TRIES_MAX
        for _ in range(tries):
            answers = await asyncio.gather(*(self.send(request) for _ in range(at_once)))
            self._compare(request, answers)
            at_once = 1
            if done := [answer for answer in answers if answer.outcome is Outcome.DONE]:
                return done[0]
            refused = all(answer.outcome is Outcome.REFUSED for answer in answers)
            if refused and not doubtful:
                return answers[0]
            # A refusal after a lost answer says nothing about what the lost one did.
            doubtful = True
            if refused or chance.random() < _GIVES_UP_SHARE:
                break
            await asyncio.sleep(chance.uniform(0.1, _PAUSE_S_MAX))
        return Answer(Outcome.UNKNOWN, words=answers[0].words)

    def _compare(self, request: Request, answers: list[Answer]) -> None:
        ids = {answer.donation_id for answer in answers if answer.outcome is Outcome.DONE}
        if len(ids) > 1:
            self.contradictions.append((request.id, f"one key, answered with {', '.join(sorted(ids))}"))

    async def _rest(self, request: Request) -> Answer:
        headers = {"Idempotency-Key": request.key}
        if request.client_id:
            headers["Cookie"] = f"giving_client={request.client_id}"
        else:
            headers["Authorization"] = f"Bearer {self._token}"
        url = f"{self._rest_url}{request.path}"
        return await _answered(self._session.post(url, json=request.body, headers=headers, timeout=_TIMEOUT))

    async def _card(self, request: Request) -> Answer:
        """As Stripe.js sends it; a declined card is an outcome too."""
        form = {"key": self._publishable_key, **request.body}
        url = f"{self._card_url}{request.path}"
        return await _answered(self._session.post(url, data=form, timeout=_TIMEOUT))

    async def _control(self, request: Request) -> Answer:
        try:
            return Answer(Outcome.DONE, await self._provider.ask("POST", request.path, request.body))
        except aiohttp.ClientResponseError as error:
            return Answer(Outcome.REFUSED if error.status < _NOT_OURS else Outcome.UNKNOWN, words=str(error.status))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Answer(Outcome.UNKNOWN, words=type(error).__name__)

    async def _record(self, request: Request) -> Answer:
        method = getattr(self._checkout, request.path)
        try:
            answer = await method(**request.body, timeout_s=ANSWER_S_MAX)
        except MeshError as error:
            outcome = Outcome.UNKNOWN if error.code in _PASSING_CODES else Outcome.REFUSED
            return Answer(outcome, words=f"{error.code.name} {error.reason}")
        donation = json_format.MessageToDict(answer.donation, preserving_proto_field_name=True)
        return Answer(Outcome.DONE, {"donation": donation})


async def _answered(asked: Any) -> Answer:
    try:
        async with asked as answer:
            body = await answer.json()
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Answer(Outcome.UNKNOWN, words=type(error).__name__)
    if answer.ok:
        return Answer(Outcome.DONE, body)
    words = f"{status} {body.get('reason') or body.get('error', {}).get('code', '') or body.get('detail', '')}"
    if status in _PASSING or status >= _NOT_OURS:
        return Answer(Outcome.UNKNOWN, words=words)
    return Answer(Outcome.REFUSED, words=words)


def _facts(answer: Answer) -> dict[str, Any]:
    """What of an answer is held against the books later."""
    donation = answer.body.get("donation", {})
    facts = {"donation_id": donation.get("donation_id"), "status": answer.body.get("status")}
    facts["refunded"] = donation.get("refunded", {}).get("minor_units")
    facts["object"] = answer.body.get("id")
    return {name: value for name, value in facts.items() if value is not None}
