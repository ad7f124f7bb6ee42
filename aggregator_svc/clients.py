"""Calls to the donation service, as the aggregator itself."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from uuid import UUID

import grpc
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.policy_pb2 import ROLE_INTERNAL
from giving.donation.v1 import donation_operations_service_pb2 as messages

from aggregator_svc import convert
from aggregator_svc.domain.rebuilding import Complete, Portion
from mesh.errors import DependencyUnavailable, from_rpc_error
from mesh.rpc.call import Call
from mesh.rpc.channel import Caller, own_call
from mesh.rpc.contract import Method, methods_of, services_of

_SERVICE = "/giving.donation.v1.DonationOperationsService"
_PEER = "donation"
_SELF = Identity(roles=[ROLE_INTERNAL], subject="aggregator")


class DonationClient:
    """What totals need of DonationOperationsService."""

    def __init__(self, caller: Caller) -> None:
        methods = methods_of(services_of([messages]))
        self._caller = caller
        self._tallies = methods[f"{_SERVICE}/StreamTallies"]
        self._changes = methods[f"{_SERVICE}/ListChanges"]

    async def tallies(self, campaign_id: UUID | None) -> AsyncGenerator[Portion, None]:
        """The base, then tallies, then returns; of one campaign, or of all.

        Raises:
            Refusal: the donation service does not answer, or stopped before it had sent everything.
        """
        request = messages.StreamTalliesRequest(campaign_id=str(campaign_id) if campaign_id else "")
        stream = self._caller.stream(self._tallies, request, _call(self._tallies))
        portion: Portion | None = None
        try:
            async for answer in stream:
                portion = convert.portion(answer)
                yield portion
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, dependency=_PEER) from error
        finally:
            stream.cancel()
        if not isinstance(portion, Complete):
            raise DependencyUnavailable("the stream of tallies was cut", retry_after_s=1, dependency=_PEER)

    async def changes(
        self, position: messages.LogPosition | None, *, limit: int, with_events: bool = False
    ) -> messages.ListChangesResponse:
        """A page of changes after a position.

        Raises:
            Refusal: the donation service does not answer.
        """
        request = messages.ListChangesRequest(position=position, page_size=limit, with_events=with_events)
        answer: messages.ListChangesResponse = await self._caller.unary(self._changes, request, _call(self._changes))
        return answer


def _call(method: Method) -> Call:
    """A call in our own name: what it is for goes on when whoever asked for it has gone."""
    return own_call(subject=method.path, identity=_SELF, deadline=time.monotonic() + method.deadline_s)
