"""Responses of RPCs as HTTP answers: JSON, caching by the policy, conditional requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from google.protobuf.message import Message

from gateway.convert import Writers
from gateway.exchange import Answer, Exchange
from mesh.rpc.call import Call
from mesh.rpc.contract import Method

JSON_TYPE = b"application/json"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A response in JSON with its headers and its entity tag; the tag is empty where the policy has none."""

    body: bytes
    etag: str
    headers: list[tuple[bytes, bytes]]


# What may answer from memory; the call is made only where memory is not enough. None: the service has to be asked.
LocalAnswer: TypeAlias = Callable[[Message, Callable[[], Call]], Awaitable[Rendered | None]]


class Renderer:
    """Renders responses as their method's policy says."""

    def __init__(self, writers: Writers) -> None:
        self._writers = writers

    def render(self, method: Method, response: Message, *, replayed: bool = False) -> Rendered:
        """The response's JSON and what its HTTP answer says about it."""
        caching = method.policy.http_caching
        etag = f'"v{_at(response, caching.etag_field)}"' if caching.etag_field else ""
        headers = [(b"cache-control", (caching.cache_control or "no-store").encode())]
        if etag:
            headers.append((b"etag", etag.encode()))
        if replayed:
            headers.append((b"idempotent-replayed", b"true"))
        return Rendered(self._writers.render(response), etag, headers)


def answer(rendered: Rendered, exchange: Exchange) -> Answer:
    """The HTTP answer; 304 where the caller has the version already."""
    if rendered.etag and _has(exchange.header(b"if-none-match"), rendered.etag):
        return Answer(304, b"", b"", rendered.headers)
    return Answer(200, rendered.body, JSON_TYPE, rendered.headers)


def _has(if_none_match: str, etag: str) -> bool:
    """Whether the header names the tag; weak and strong tags compare alike here (RFC 9110, 13.1.2)."""
    if not if_none_match:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def _at(message: Message, path: str) -> object:
    value: object = reduce(getattr, path.split("."), message)
    return value
