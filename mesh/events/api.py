"""The gRPC edge of the plumbing: what every service that consumes events serves."""

from __future__ import annotations

from typing import Any

import grpc
from giving.common.v1 import dead_letter_service_pb2 as messages
from giving.common.v1 import dead_letter_service_pb2_grpc

from mesh.events.dead_letters import DeadLetters

Context = grpc.aio.ServicerContext[Any, Any]


class DeadLetterApi(dead_letter_service_pb2_grpc.DeadLetterServiceServicer):
    """DeadLetterService."""

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    async def ListDeadLetters(
        self, request: messages.ListDeadLettersRequest, context: Context
    ) -> messages.ListDeadLettersResponse:
        letters, token = await self._letters.list_dead_letters(request)
        return messages.ListDeadLettersResponse(dead_letters=letters, next_page_token=token)

    async def ReplayDeadLetter(
        self, request: messages.ReplayDeadLetterRequest, context: Context
    ) -> messages.ReplayDeadLetterResponse:
        return messages.ReplayDeadLetterResponse(dead_letter=await self._letters.replay_dead_letter(request))

    async def DiscardDeadLetter(
        self, request: messages.DiscardDeadLetterRequest, context: Context
    ) -> messages.DiscardDeadLetterResponse:
        return messages.DiscardDeadLetterResponse(dead_letter=await self._letters.discard_dead_letter(request))
