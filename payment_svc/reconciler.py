"""Asks the provider whatever has to be asked: intents made, taken and called off, money given back, lost answers found out.

Each asking runs in a task of its own, which no caller's deadline ends. A lease, prolonged while its holder lives, keeps two
from asking the same at once. Only politeness rests on it: what is asked twice is asked under the same idempotency key, and
what is learned twice is the same fact.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol
from uuid import UUID

import structlog

from mesh import crashpoints
from mesh.errors import Refusal
from mesh.postgres import Connection
from mesh.tasks import TaskSet, background
from payment_svc.domain import reasons
from payment_svc.domain.answers import Absent, Answer, Found, NotReached, Refused, Seen, Unproven
from payment_svc.domain.asking import Step, absent_for_sure, ask_again_at, must_look_up, next_step, open_call, retry_at
from payment_svc.domain.facts import CallRefused, CallUnproven, Contradiction, Fact, IntentRefused, IntentSeen, ReturnsListed
from payment_svc.domain.payments import Attempt, AttemptKind, IntentStatus, Payment
from payment_svc.service.changes import Desk

ACTOR = "payment"
# The provider was not reached, so nothing happened: it is asked again soon.
REACH_AGAIN = datetime.timedelta(seconds=5)
# What contradicts our books is for an operator; it is looked at again in case the provider was wrong.
CONTRADICTED_AGAIN = datetime.timedelta(hours=1)
# Where the provider could not be read, or what it lists does not add up yet.
REVIEW_AGAIN = datetime.timedelta(seconds=30)
_LOOK_S = 0.5
# While there is a backlog: about as long as it takes until places are free again.
_BUSY_LOOK_S = 0.05
_HOLDER_LOOK_S = 0.1
# Askings at once; more would only wait for one another at the provider.
_ASKING_MAX = 50
# What is due at once is done at once, such as to make an intent and to call it off; more than this comes with the next look.
_STEPS_MAX = 4
_log = structlog.get_logger()


class Provider(Protocol):
    """The provider's side of payments."""

    async def create_intent(self, payment: Payment, *, attempt_id: UUID, again: int = 0) -> Answer:
        """Makes the intent; a repeat with the same attempt gives the same, unless it was refused `again` times."""
        ...

    async def cancel_intent(self, provider_id: str, *, attempt_id: UUID, again: int = 0) -> Answer:
        """Calls the intent off."""
        ...

    async def capture_intent(self, payment: Payment, *, call: Attempt) -> Answer:
        """Takes what is held; a repeat of the call does nothing more."""
        ...

    async def create_refund(self, payment: Payment, *, call: Attempt) -> Answer:
        """Gives money back; a repeat of the call gives the same refund."""
        ...

    async def list_returns(self, provider_id: str) -> Answer:
        """Reads every refund and dispute of the intent."""
        ...

    async def get_intent(self, provider_id: str) -> Answer:
        """Reads the intent."""
        ...

    async def find_intent(self, payment: Payment) -> Found:
        """Looks for an intent of the payment."""
        ...


class Breaker(Protocol):
    """Whether the provider may be called now."""

    @property
    def closed(self) -> bool:
        """Whether every call goes through."""
        ...

    def enter(self) -> bool:
        """Whether an asking may begin; while calls are paused one at a time, as the probe."""
        ...

    def leave(self) -> None:
        """There was nothing to ask."""
        ...


@dataclass(frozen=True, slots=True)
class _Learned:
    """What an asking brought: facts, and when to ask again if that was not all; None: as is planned for what is open.

    `contradiction`: what cannot be true of the payment. `answered`: the provider said how the payment stands.
    """

    facts: Sequence[Fact]
    ask_at: datetime.datetime | None = None
    contradiction: str = ""
    answered: bool = False


class Reconciler:
    """One asking per payment at a time."""

    def __init__(self, desk: Desk, *, provider: Provider, breaker: Breaker, lease_s: float) -> None:
        self._desk = desk
        self._provider = provider
        self._breaker = breaker
        self._lease = datetime.timedelta(seconds=lease_s)
        self._tasks = TaskSet()
        self._running: dict[UUID, asyncio.Task[None]] = {}

    def lease_until(self) -> datetime.datetime:
        """Until when a payment is held that is taken now."""
        return self._desk.clock.now() + self._lease

    async def ask(self, payment_id: UUID, *, patience_s: float, held: bool = False) -> None:
        """Asks what has to be asked and waits for it, at most `patience_s`; the asking goes on without its caller.

        `held`: the caller has just taken the payment, and was let in. Otherwise what calls are paused for stays due.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(patience_s, 0)):
                running = None if held else self._running.get(payment_id)
                if running:
                    await asyncio.wait({running})
                # What was asked already may have begun before its caller's wish, and have ended without it.
                if running is None or await self._still_due(payment_id):
                    await self._ask_now(payment_id, held=held)

    async def _still_due(self, payment_id: UUID) -> bool:
        payment = await self._desk.payments.get(payment_id)
        return payment is not None and payment.is_due(now=self._desk.clock.now())

    async def _ask_now(self, payment_id: UUID, *, held: bool) -> None:
        task = None if held else self._running.get(payment_id)
        if task is None and (held or self._breaker.enter()):
            task = self._start(payment_id, held=held)
        if task:
            await asyncio.wait({task})

    async def run(self) -> None:
        """Asks what is due, until it is cancelled."""
        while True:
            due = await self._take_due()
            for payment_id in due:
                self._start(payment_id, held=True)
            await asyncio.sleep(_BUSY_LOOK_S if due or len(self._running) >= _ASKING_MAX else _LOOK_S)

    async def close(self, *, timeout_s: float) -> None:
        """Waits for what is being asked."""
        await self._tasks.join(timeout_s=timeout_s)

    async def _take_due(self) -> Sequence[UUID]:
        """Payments that are due; while calls are paused none, and one where the next probe is."""
        free = _ASKING_MAX - len(self._running)
        if free <= 0 or not self._breaker.enter():
            return []
        limit = free if self._breaker.closed else 1
        now = self._desk.clock.now()
        due = await self._desk.payments.claim_due(now=now, until=self.lease_until(), limit=limit)
        if not due:
            # A donor's new payment may be the probe.
            self._breaker.leave()
        return due

    def _start(self, payment_id: UUID, *, held: bool) -> asyncio.Task[None]:
        task = self._running[payment_id] = self._tasks.start(self._ask(payment_id, held=held))
        task.add_done_callback(lambda done: self._forget(payment_id, done))
        return task

    def _forget(self, payment_id: UUID, task: asyncio.Task[None]) -> None:
        if self._running.get(payment_id) is task:
            del self._running[payment_id]

    async def _ask(self, payment_id: UUID, *, held: bool) -> None:
        with _interrupted(payment_id):
            if held or await self._taken(payment_id):
                await self._ask_all(payment_id)
            else:
                self._breaker.leave()

    async def _taken(self, payment_id: UUID) -> bool:
        """Takes the payment; False where another holder, perhaps of another process, has finished with it."""
        while not await self._desk.payments.claim(payment_id, now=self._desk.clock.now(), until=self.lease_until()):
            await asyncio.sleep(_HOLDER_LOOK_S)
            payment = await self._desk.payments.get(payment_id)
            if payment is None or not _goes_on(payment, now=self._desk.clock.now()):
                return False
        return True

    async def _ask_all(self, payment_id: UUID) -> None:
        for _ in range(_STEPS_MAX):
            payment = await self._desk.payments.get(payment_id)
            if payment is None:
                return
            step = next_step(payment, now=self._desk.clock.now())
            after = await self._learn(payment, await self._take(step, payment))
            if not after.is_due(now=self._desk.clock.now()):
                return
        await self._desk.payments.release(payment_id)

    async def _take(self, step: Step | None, payment: Payment) -> _Learned:
        if step is None:
            self._breaker.leave()
            return _Learned(())
        taken = {
            Step.CREATE: self._create,
            Step.LOOK_UP: self._look_up,
            Step.CANCEL: self._cancel,
            Step.CAPTURE: self._capture,
            Step.CHECK: self._check,
            Step.REFUND: self._refund,
            Step.REVIEW: self._review,
        }
        async with background(partial(self._keep, payment.id)):
            return await taken[step](payment)

    async def _keep(self, payment_id: UUID) -> None:
        """Prolongs the lease until it is cancelled."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            await self._desk.payments.prolong(payment_id, until=self.lease_until())

    async def _create(self, payment: Payment) -> _Learned:
        (call,) = payment.calls(AttemptKind.CREATE_INTENT)
        attempt_id = await self._begin(payment, call)
        answer = await self._provider.create_intent(payment, attempt_id=attempt_id, again=call.refusals)
        crashpoints.reach("payment.called")
        if not isinstance(answer, Refused):
            return self._learned(answer, call)
        return self._refused(call, answer) if _may_be_asked_again(answer) else _Learned((IntentRefused(answer.code),))

    async def _look_up(self, payment: Payment) -> _Learned:
        (call,) = payment.calls(AttemptKind.CREATE_INTENT)
        found = await self._provider.find_intent(payment)
        now = self._desk.clock.now()
        if isinstance(found, Absent):
            proven = absent_for_sure(call, now=now)
            return _Learned((IntentRefused("provider_error"),) if proven else (), ask_again_at(call, now=now))
        return self._learned(found, call)

    async def _check(self, payment: Payment) -> _Learned:
        answer = await self._provider.get_intent(payment.provider_id)
        if isinstance(answer, Seen):
            return _Learned((answer.fact,), answered=True)
        return _Learned((), self._desk.clock.now() + REVIEW_AGAIN)

    async def _cancel(self, payment: Payment) -> _Learned:
        (call,) = payment.calls(AttemptKind.CANCEL_INTENT)
        attempt_id = await self._begin(payment, call)
        answer = await self._provider.cancel_intent(payment.provider_id, attempt_id=attempt_id, again=call.calls)
        crashpoints.reach("payment.cancel_called")
        return self._not_called_off(call, answer) if isinstance(answer, Refused) else self._learned(answer, call)

    def _not_called_off(self, call: Attempt, answer: Refused) -> _Learned:
        """The intent ended otherwise in the meantime, or waits for a bank, and the provider shows it; or we ask wrongly."""
        now = self._desk.clock.now()
        if answer.intent:
            return _Learned((answer.intent,), retry_at(refusals=call.calls + 1, now=now))
        number = call.refusals + 1
        refused = CallRefused(_demand_id(call), number, answer.code, again=True, time=now)
        return _Learned((refused,), retry_at(refusals=number, now=now))

    async def _capture(self, payment: Payment) -> _Learned:
        call = _demand(open_call(payment, AttemptKind.CAPTURE_INTENT))
        now = self._desk.clock.now()
        if must_look_up(call, now=now):
            return self._looked_up(call, await self._provider.get_intent(payment.provider_id))
        await self._begin(payment, call)
        answer = await self._provider.capture_intent(payment, call=call)
        crashpoints.reach("payment.capture_called")
        return self._refused(call, answer) if isinstance(answer, Refused) else self._learned(answer, call)

    def _looked_up(self, call: Attempt, answer: Answer) -> _Learned:
        """What the intent itself says of a capture whose key is of no use any more."""
        now = self._desk.clock.now()
        if not isinstance(answer, Seen):
            return self._learned(answer if not isinstance(answer, Refused) else Unproven(), call)
        held = isinstance(answer.fact, IntentSeen) and answer.fact.progress.status is IntentStatus.REQUIRES_CAPTURE
        if held and absent_for_sure(call, now=now):
            return _Learned((answer.fact, self._not_done(call)), answered=True)
        return _Learned((answer.fact,), ask_again_at(call, now=now), answered=True)

    async def _refund(self, payment: Payment) -> _Learned:
        call = _demand(open_call(payment, AttemptKind.REFUND))
        await self._begin(payment, call)
        answer = await self._provider.create_refund(payment, call=call)
        crashpoints.reach("payment.refund_called")
        return self._refused(call, answer) if isinstance(answer, Refused) else self._learned(answer, call)

    async def _review(self, payment: Payment) -> _Learned:
        """Reads all that went back: an answer was lost for good, or the charge speaks of something that we do not know."""
        now = self._desk.clock.now()
        call = open_call(payment, AttemptKind.REFUND)
        answer = await self._provider.list_returns(payment.provider_id)
        if not isinstance(answer, Seen) or not isinstance(answer.fact, ReturnsListed):
            return _Learned((), now + REVIEW_AGAIN)
        ours = {refund.attempt_id for refund in answer.fact.refunds}
        if call and must_look_up(call, now=now) and str(call.id) not in ours and absent_for_sure(call, now=now):
            return _Learned((answer.fact, self._not_done(call)), answered=True)
        return _Learned((answer.fact,), ask_again_at(call, now=now) if call else now + REVIEW_AGAIN, answered=True)

    def _not_done(self, call: Attempt) -> CallRefused:
        """A look-up proved that nothing came of a call: it is made again, under a key of its own."""
        now = self._desk.clock.now()
        return CallRefused(_demand_id(call), call.refusals + 1, "provider_error", again=True, time=now, calls=call.calls)

    def _refused(self, call: Attempt, answer: Refused) -> _Learned:
        now = self._desk.clock.now()
        number = call.refusals + 1
        again = _may_be_asked_again(answer)
        fact = CallRefused(_demand_id(call), number, answer.code, again=again, time=now)
        facts = (answer.intent, fact) if answer.intent else (fact,)
        return _Learned(facts, retry_at(refusals=number, now=now) if again else None)

    async def _begin(self, payment: Payment, call: Attempt) -> UUID:
        attempt_id = _demand_id(call)
        await self._desk.payments.count_call(payment, call, actor=ACTOR, now=self._desk.clock.now())
        crashpoints.reach("payment.calling")
        return attempt_id

    def _learned(self, answer: Seen | Unproven | NotReached, call: Attempt) -> _Learned:
        now = self._desk.clock.now()
        if isinstance(answer, Seen):
            return _Learned((answer.fact,), answered=True)
        if isinstance(answer, NotReached):
            return _Learned((), now + REACH_AGAIN)
        unproven = CallUnproven(call.kind, now, saved=answer.saved, attempt_id=call.id)
        return _Learned((unproven,), ask_again_at(call, now=now))

    async def _learn(self, payment: Payment, learned: _Learned) -> Payment:
        try:
            after = await self._desk.database.run(lambda connection: self._store(connection, payment, learned))
        except Contradiction as contradiction:
            _log.error("the provider contradicts our books", payment_id=str(payment.id), reason=str(contradiction))
            nothing = _Learned((), self._desk.clock.now() + CONTRADICTED_AGAIN, str(contradiction))
            after = await self._desk.database.run(lambda connection: self._store(connection, payment, nothing))
        crashpoints.reach("payment.learned")
        self._desk.wake()
        return after

    async def _store(self, connection: Connection, asked: Payment, learned: _Learned) -> Payment:
        locked = await self._desk.payments.lock(connection, asked.id)
        if locked is None:
            raise AssertionError("payments are never deleted")
        ask_at = learned.ask_at
        wished = (locked.version, locked.look_demanded) != (asked.version, asked.look_demanded)
        if ask_at and locked.next_attempt_time and wished:
            # Somebody wished for something while we asked; it does not wait for what we have planned.
            ask_at = min(ask_at, locked.next_attempt_time)
        return await self._desk.changes.apply(
            connection,
            self._told(locked, asked, learned),
            learned.facts,
            actor=ACTOR,
            correlation_id="",
            ask_at=ask_at,
            holder=True,
        )

    def _told(self, locked: Payment, asked: Payment, learned: _Learned) -> Payment:
        """The payment with what is no fact: a demand that was met, and what the provider's answer says against our books."""
        answered = learned.answered or bool(learned.contradiction)
        looked = next_step(asked, now=self._desk.clock.now()) in (Step.REVIEW, Step.CHECK)
        return replace(
            locked,
            # A demand that came while we asked is not met by our answer.
            look_demanded=locked.look_demanded and not (asked.look_demanded and looked and answered),
            contradiction=learned.contradiction if answered else locked.contradiction,
        )


@contextmanager
def _interrupted(payment_id: UUID) -> Iterator[None]:
    """What ends an asking is logged: the payment stays due, and its lease ends."""
    try:
        yield
    except Refusal as error:
        # Whoever holds the lease next goes on; the database was not there for us.
        _log.warning("asking the provider was interrupted", payment_id=str(payment_id), error=error.reason_name)
    except Exception as error:  # noqa: BLE001 - the payment stays due, and its lease ends
        _log.error("asking the provider failed", payment_id=str(payment_id), exc_info=error)


def _goes_on(payment: Payment, *, now: datetime.datetime) -> bool:
    """Whether something more than its donor's silence is still to be asked about."""
    return payment.look_demanded or next_step(payment, now=now) not in (None, Step.CHECK)


def _may_be_asked_again(answer: Refused) -> bool:
    return reasons.of_call(answer.code).cure in (reasons.Cure.RETRY, reasons.Cure.OPERATOR)


def _demand(call: Attempt | None) -> Attempt:
    if call is None:
        raise AssertionError("this step is only taken for an open call")
    return call


def _demand_id(call: Attempt) -> UUID:
    if call.id is None:
        raise AssertionError("a call is stored before it is made")
    return call.id
