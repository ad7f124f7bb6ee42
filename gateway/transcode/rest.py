"""Unary RPCs over HTTP: bind, call, render."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from gateway.clients import Clients
from gateway.convert import Readers
from gateway.exchange import Answer, Exchange
from gateway.identity import Doorkeeper
from gateway.transcode.answers import LocalAnswer, Renderer, answer
from gateway.transcode.bind import bind
from gateway.transcode.routes import Match

# By the method's path: what may answer from memory. None from it means: ask the service.
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
        call = self._doorkeeper.call(exchange, method)
        request = await bind(match, self._readers.of(method.descriptor.input_type), exchange)
        local = self._local.get(method.path)
        rendered = await local(request, call) if local else None
        if rendered is None:
            response = await self._clients.caller(method).unary(method, request, call)
            rendered = self._renderer.render(method, response)
        return answer(method, rendered, call=call, exchange=exchange)
