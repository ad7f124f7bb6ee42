"""Responses of RPCs as HTTP answers: JSON, caching by the policy, conditional requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from google.protobuf.message import Message

from gateway.convert import Writers
from gateway.exchange import Answer, Exchange
from mesh.rpc.call import REPLAYED_TRAILER, Call
from mesh.rpc.contract import Method

JSON_TYPE = b"application/json"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A response in JSON with its entity tag; the tag is empty where the policy has none."""

    body: bytes
    etag: str


LocalAnswer: TypeAlias = Callable[[Message, Call], Awaitable[Rendered | None]]


class Renderer:
    """Renders responses as their method's policy says."""

    def __init__(self, writers: Writers) -> None:
        self._writers = writers

    def render(self, method: Method, response: Message) -> Rendered:
        """The response's JSON and its tag."""
        field = method.policy.http_caching.etag_field
        etag = f'"v{_at(response, field)}"' if field else ""
        return Rendered(self._writers.render(response), etag)


def answer(method: Method, rendered: Rendered, *, call: Call, exchange: Exchange) -> Answer:
    """The HTTP answer; 304 where the caller has the version already."""
    cache_control = method.policy.http_caching.cache_control or "no-store"
    headers = [(b"cache-control", cache_control.encode())]
    if rendered.etag:
        headers.append((b"etag", rendered.etag.encode()))
    if any(key == REPLAYED_TRAILER for key, _ in call.trailers):
        headers.append((b"idempotent-replayed", b"true"))
    if rendered.etag and _has(exchange.header(b"if-none-match"), rendered.etag):
        return Answer(304, b"", b"", headers)
    return Answer(200, rendered.body, JSON_TYPE, headers)


def _has(if_none_match: str, etag: str) -> bool:
    """Whether the header names the tag; weak and strong tags compare alike here (RFC 9110, 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def _at(message: Message, path: str) -> object:
    value: object = reduce(getattr, path.split("."), message)
    return value
