"""Unary RPCs over HTTP: bind, call, render."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

from google.protobuf.message import Message

from gateway.clients import Clients
from gateway.convert import Readers
from gateway.exchange import Answer, Exchange
from gateway.identity import Doorkeeper, call_of
from gateway.transcode.answers import LocalAnswer, Rendered, Renderer, answer
from gateway.transcode.bind import bind
from gateway.transcode.routes import Match
from mesh import crashpoints
from mesh.rpc.call import REPLAYED_TRAILER, Call
from mesh.rpc.contract import Method

# By the method's path.
LocalAnswers: TypeAlias = Mapping[str, LocalAnswer]


class Transcoder:
    """Answers requests of unary methods."""

    def __init__(
        self, *, clients: Clients, doorkeeper: Doorkeeper, readers: Readers, renderer: Renderer, local: LocalAnswers
    ) -> None:
        self._clients = clients
        self._doorkeeper = doorkeeper
        self._readers = readers
        self._renderer = renderer
        self._local = local

    async def __call__(self, match: Match, exchange: Exchange) -> Answer:
        """The answer of the match's RPC.

        Raises:
            Refusal: the request is refused, here or by the service.
        """
        method = match.route.method
        identity = self._doorkeeper.identify(exchange)
        request = await bind(match, self._readers.of(method.descriptor.input_type), exchange)
        local = self._local.get(method.path)
        rendered = await local(request, partial(call_of, exchange, method, identity)) if local else None
        return answer(rendered or await self._ask(method, request, call_of(exchange, method, identity)), exchange)

    async def _ask(self, method: Method, request: Message, call: Call) -> Rendered:
        response = await self._clients.caller(method).unary(method, request, call)
        crashpoints.reach(f"gateway.{method.descriptor.name}")
        return self._renderer.render(method, response, replayed=(REPLAYED_TRAILER, "true") in call.trailers)
