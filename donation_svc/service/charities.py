"""Charities: create, read, suspend."""

from __future__ import annotations

import zoneinfo
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from giving.donation.v1 import charity_service_pb2 as messages
from giving.donation.v1.event_pb2 import CharityChanged

from donation_svc import convert
from donation_svc.domain.causes import Charity, CharityState
from donation_svc.refusals import CharityNotFound
from donation_svc.store.charities import CharityStore, CommandStore
from mesh import money
from mesh.clock import Clock
from mesh.errors import InvalidArgument
from mesh.events.log import EventLog, NewEvent, new_event
from mesh.fence import make_fence
from mesh.ids import new_tenant_id
from mesh.postgres import Connection, Database

SOURCE = "giving/donation"


class Wake(Protocol):
    """Says that an event was committed."""

    def __call__(self) -> None: ...


class Charities:
    """Who receives."""

    def __init__(
        self,
        *,
        database: Database,
        charities: CharityStore,
        commands: CommandStore,
        log: EventLog,
        clock: Clock,
        wake: Wake,
    ) -> None:
        self._database = database
        self._charities = charities
        self._commands = commands
        self._log = log
        self._clock = clock
        self._wake = wake

    async def create_charity(self, request: messages.CreateCharityRequest) -> tuple[Charity, bool]:
        """The charity, and whether an earlier call had created it.

        Raises:
            InvalidArgument: the currency or the time zone is unknown.
            IdempotencyKeyReused: the request id was used for other content.
        """
        _demand_known(request)
        fence = make_fence(request, method="CreateCharity", key_field="request_id", tenant_id="")
        now = self._clock.now()
        charity = Charity(
            id=new_tenant_id(),
            display_name=request.display_name,
            state=CharityState.ACTIVE,
            mode=request.mode,
            default_currency=request.default_currency,
            time_zone=request.time_zone,
            provider_account="",
            version=1,
            create_time=now,
            update_time=now,
        )
        earlier = await self._charities.insert(charity, fence, charity_event(charity))
        if earlier is None:
            self._wake()
            return charity, False
        fence.demand_same(earlier[1])
        return earlier[0], True

    async def get_charity(self, charity_id: UUID) -> Charity:
        """The charity.

        Raises:
            CharityNotFound: there is none.
        """
        charity = await self._charities.get(charity_id)
        if charity is None:
            raise CharityNotFound("no such charity", charity_id=charity_id)
        return charity

    async def suspend_charity(self, request: messages.SuspendCharityRequest) -> tuple[Charity, bool]:
        """The suspended charity, and whether an earlier call had suspended it.

        Raises:
            CharityNotFound: there is none.
            IdempotencyKeyReused: the request id was used for other content.
        """
        result = await self._database.run(lambda connection: self._suspend(connection, request))
        self._wake()
        return result

    async def _suspend(self, connection: Connection, request: messages.SuspendCharityRequest) -> tuple[Charity, bool]:
        charity_id = UUID(request.charity_id)
        fence = make_fence(request, method="SuspendCharity", key_field="request_id", tenant_id=request.charity_id)
        charity = await self._charities.lock(connection, charity_id)
        if charity is None:
            raise CharityNotFound("no such charity", charity_id=charity_id)
        now = self._clock.now()
        is_new = await self._commands.is_new(
            connection,
            fence,
            charity_id=charity_id,
            method="SuspendCharity",
            subject_id=charity_id,
            reason=request.reason,
            now=now,
        )
        if not is_new or charity.state is CharityState.SUSPENDED:
            return charity, not is_new
        suspended = replace(charity, state=CharityState.SUSPENDED, version=charity.version + 1, update_time=now)
        await self._charities.set_state(connection, charity_id, suspended.state, fence, now=now)
        await self._log.append(connection, [charity_event(suspended)])
        return suspended, False


def charity_event(charity: Charity) -> NewEvent:
    """The announcement of a charity's change."""
    data = CharityChanged(charity=convert.charity_message(charity))
    return new_event(data, source=SOURCE, subject=charity.id, version=charity.version, time=charity.update_time)


def _demand_known(request: messages.CreateCharityRequest) -> None:
    if not money.is_supported(request.default_currency):
        raise InvalidArgument.of("default_currency", "is not a supported currency")
    if request.time_zone not in zoneinfo.available_timezones():
        raise InvalidArgument.of("time_zone", "is not an IANA time zone")
