"""/v1 over HTTP: Stripe's heads and bodies, keys in flight, and what faults do to answers on their way."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, MutableMapping
from typing import Any

from prometheus_client import Counter
from starlette.types import Message, Receive, Scope, Send

from sandbox.stripe import forms, ids, service
from sandbox.stripe.engine import Engine
from sandbox.stripe.refusals import Refused, key_in_use
from sandbox.stripe.service import Answer, Credentials, Request
from sandbox.stripe.shapes.account import API_VERSION
from sandbox.stripe.webhooks import Deliveries
from sandbox.stripe.work import Cause

CALLS = Counter("sandbox_calls_total", "Answered calls of Stripe's API", ["call", "status"])
_BODY_BYTES_MAX = 1 << 20
_ACCOUNT = "acct_sandbox"
_SLOW_S = 1.0
_GARBAGE = b"\x00\xff<garbled>"
# A browser may call from anywhere: its key only opens what it has the secret of.
_CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Request-Id, Stripe-Version, Idempotent-Replayed, Retry-After"),
)
_PREFLIGHT = (
    *_CORS,
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Idempotency-Key, Stripe-Version, Stripe-Account"),
    (b"access-control-max-age", b"300"),
    (b"content-length", b"0"),
)


class StripeApi:
    """An ASGI application for everything below /v1."""

    def __init__(self, engine: Engine, credentials: Credentials, deliveries: Deliveries | None, *, public_url: str) -> None:
        self._engine = engine
        self._credentials = credentials
        self._deliveries = deliveries
        self._public_url = public_url
        self._in_flight: set[tuple[str, str]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
            await send({"type": "http.response.body", "body": b""})
            return
        request_id = ids.new_id("request")
        try:
            request = await self._request(scope, receive, request_id)
        except Refused as refused:
            await _send(send, service.refusal(refused, request_id))
            return
        await self._exclusively(request, _Wire(scope, receive, send))

    async def _request(self, scope: Scope, receive: Receive, request_id: str) -> Request:
        heads = {name: value.decode("latin-1") for name, value in scope["headers"]}
        body = await _body(receive)
        _check_version(heads)
        params = forms.parse(scope["query_string"].decode("latin-1"))
        if scope["method"] == "POST":
            params |= forms.parse(body.decode("utf-8", errors="replace"))
        origin = self._public_url or f"http://{heads.get(b'host', 'localhost')}"
        return Request(
            id=request_id,
            method=scope["method"],
            path=scope["path"].removeprefix("/v1/"),
            credential=_credential(heads, params),
            params=params,
            key=heads.get(b"idempotency-key", ""),
            account=heads.get(b"stripe-account", _ACCOUNT),
            origin=origin,
        )

    async def _exclusively(self, request: Request, wire: _Wire) -> None:
        """Lets one call at a time use an idempotency key."""
        name = (request.account, request.key)
        if request.key and name in self._in_flight:
            refused = key_in_use(request.key)
            await _send(wire.send, service.refusal(refused, request.id))
            return
        if request.key:
            self._in_flight.add(name)
        try:
            answer = await self._answer(request)
            if answer.fault is not None and answer.fault.fault == "slow":
                await asyncio.sleep(answer.fault.seconds or _SLOW_S)
        finally:
            self._in_flight.discard(name)
        CALLS.labels(answer.call, answer.status).inc()
        await wire.answer(answer)

    async def _answer(self, request: Request) -> Answer:
        cause = Cause(request.id, request.key or None)
        answer = await self._engine.transact(lambda work: service.serve(work, request, self._credentials), cause)
        if answer.before_answer and self._deliveries is not None:
            await self._deliveries.tried(answer.announced)
        return answer


class _Wire:
    """The connection of one call."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._transport: asyncio.Transport = scope["sandbox.transport"]
        self._receive = receive
        self.send = send

    async def answer(self, answer: Answer) -> None:
        """Sends it, or does to it what its fault says."""
        fault = answer.fault.fault if answer.fault else ""
        if fault in ("answer_lost", "refuse_connection"):
            self._transport.abort()
        elif fault == "hang":
            await self._gone()
        elif fault == "truncated":
            await self._truncated(answer)
        else:
            await _send(self.send, answer, garbled=fault == "garbled")

    async def _gone(self) -> None:
        """Waits until the caller has given up."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _truncated(self, answer: Answer) -> None:
        body = answer.body.encode()
        await self.send(_head(answer, length=len(body)))
        await self.send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        self._transport.close()


def _credential(heads: Mapping[bytes, str], params: MutableMapping[str, Any]) -> str:
    """The API key, from wherever it came: a bearer's, a user name, or as browsers send it, a field."""
    scheme, _, value = heads.get(b"authorization", "").partition(" ")
    field = str(params.pop("key", ""))
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return value
    return field


def _check_version(heads: Mapping[bytes, str]) -> None:
    version = heads.get(b"stripe-version", API_VERSION)
    if version != API_VERSION:
        message = f"Invalid Stripe API version: {version}. This sandbox speaks {API_VERSION} only."
        raise Refused(message, saved=False)


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body.extend(message.get("body", b""))
        if len(body) > _BODY_BYTES_MAX:
            raise Refused("The request is too large.", status=413, saved=False)
        if not message.get("more_body"):
            return bytes(body)


def _head(answer: Answer, *, length: int) -> Message:
    named = {**answer.headers, "Content-Type": "application/json", "Content-Length": str(length)}
    if answer.status in (409, 429) or answer.status >= 500:  # noqa: PLR2004
        named["Stripe-Should-Retry"] = "false" if "Idempotent-Replayed" in named else "true"
    heads = [(name.lower().encode(), value.encode("latin-1", errors="replace")) for name, value in named.items()]
    return {"type": "http.response.start", "status": answer.status, "headers": [*heads, *_CORS]}


async def _send(send: Send, answer: Answer, *, garbled: bool = False) -> None:
    body = answer.body.encode()
    if garbled:
        body = _GARBAGE + body[len(_GARBAGE) :: 2]
    await send(_head(answer, length=len(body)))
    await send({"type": "http.response.body", "body": body})
