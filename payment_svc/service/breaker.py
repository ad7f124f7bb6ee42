"""Operators and the circuit breaker: how it stands, what one of them decides, and that every replica follows."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from giving.payment.v1 import payment_operations_service_pb2 as messages

from mesh.clock import Clock
from mesh.errors import Refusal
from mesh.fence import Fence, make_fence
from mesh.postgres import Connection, Database
from payment_svc.domain import breaker as rules
from payment_svc.domain.breaker import Breaker, Decision, Standing
from payment_svc.store.breaker import BreakerStore
from payment_svc.store.commands import Command, CommandStore

# Replicas follow a decision within twice this.
_LOOK_S = 0.5
_log = structlog.get_logger()


class ReplicaBreaker(Protocol):
    """This process's breaker."""

    @property
    def breaker(self) -> Breaker:
        """As it stands now."""
        ...

    def hold(self) -> None:
        """Holds it open until it is released."""
        ...

    def release(self) -> None:
        """Closes it and leaves it to itself."""
        ...


class BreakerDecisions:
    """One decision for the breakers of all replicas, kept in the database."""

    def __init__(
        self, *, database: Database, store: BreakerStore, commands: CommandStore, breaker: ReplicaBreaker, clock: Clock
    ) -> None:
        self._database = database
        self._store = store
        self._commands = commands
        self._breaker = breaker
        self._clock = clock
        self._followed = 0
        # A decision that was read before another one was made must not be followed after it.
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Follows what other replicas were told, until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.follow()
            except Refusal as refusal:
                _log.warning("the breaker stays as it is: nobody says how it should be", error=refusal.reason_name)

    async def follow(self) -> Decision:
        """Makes this replica's breaker follow the decision that holds; returns the decision.

        Raises:
            DependencyUnavailable: the database does not answer.
        """
        async with self._turn:
            async with self._database.connection() as connection:
                decision = await self._store.get(connection)
            self._obey(decision)
        return decision

    async def get_breaker(self) -> Standing:
        """This replica's breaker."""
        decision = await self.follow()
        return self._standing(self._breaker.breaker, decision)

    async def set_breaker(self, request: messages.SetBreakerRequest) -> tuple[Standing, bool]:
        """The breaker after an operator's decision, and whether an earlier call had made it. A dry run changes nothing.

        Raises:
            IdempotencyKeyReused: the request id was used for other content.
        """
        fence = make_fence(request, method="SetBreaker", key_field="request_id", tenant_id="")
        if request.dry_run:
            return await self._rehearse(request, fence), False
        async with self._turn:
            decision, is_new = await self._database.run(lambda connection: self._decide(connection, request, fence))
            self._obey(decision)
        return self._standing(self._breaker.breaker, decision), not is_new

    async def _decide(
        self, connection: Connection, request: messages.SetBreakerRequest, fence: Fence
    ) -> tuple[Decision, bool]:
        now = self._clock.now()
        if not await self._commands.is_new(connection, _command(request), fence, now=now):
            return await self._store.get(connection), False
        held = request.state == messages.Breaker.STATE_OPEN
        return await self._store.decide(connection, held=held, reason=request.reason, fence=fence, now=now), True

    async def _rehearse(self, request: messages.SetBreakerRequest, fence: Fence) -> Standing:
        async with self._database.connection() as connection:
            await self._commands.demand_unused(connection, _command(request), fence)
            decision = await self._store.get(connection)
        held = request.state == messages.Breaker.STATE_OPEN
        after = (rules.hold if held else rules.release)(self._breaker.breaker)
        return self._standing(after, Decision(held, request.reason, fence.caller, decision.version + 1))

    def _obey(self, decision: Decision) -> None:
        if decision.version == self._followed:
            return
        # A process that has just begun is closed already.
        if decision.held:
            self._breaker.hold()
        elif self._followed:
            self._breaker.release()
        self._followed = decision.version

    def _standing(self, breaker: Breaker, decision: Decision) -> Standing:
        return Standing(breaker, len(rules.recent_failures(breaker, now=self._clock.now())), decision)


def _command(request: messages.SetBreakerRequest) -> Command:
    return Command(method="SetBreaker", subject="breaker", reason=request.reason)
