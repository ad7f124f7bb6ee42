"""Workers that give, pay, take back, dispute and misuse keys, each the next thing when the last one is answered."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from chaos.calls import Answer, Calls, Outcome, Request, Way

CURRENCIES = ("EUR", "USD")
_MINOR_UNITS = (100, 50_000)
_DOUBLE_SHARE = 0.2
_REVERSED_SHARE = 0.15
_CONFIRMED_SHARE = 0.9
_DECLINED_SHARE = 0.25
_RIVAL_SHARE = 0.3
_VISA, _DECLINED = "pm_card_visa", "pm_card_chargeDeclined"
_PAID_KEPT_MAX = 50
_READY_TRIES_MAX = 6
_READY_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Errand:
    """Where the gifts go. `name`: of the run, in every reference that the load makes up."""

    name: str
    charity_id: str
    campaign_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Paid:
    """A promise whose money came; nobody has touched it since."""

    donation_id: str
    intent: str
    minor_units: int
    currency: str


@dataclass(slots=True)
class Worker:
    """One closed loop with draws of its own."""

    number: int
    chance: random.Random
    calls: Calls
    errand: Errand
    paid: list[Paid] = field(default_factory=list)
    disputes: list[tuple[str, str]] = field(default_factory=list)
    made: list[Request] = field(default_factory=list)
    count: int = 0

    async def run(self, over: asyncio.Event) -> None:
        """Until it is over; the operation in hand is finished."""
        acts: dict[Callable[[], Awaitable[object]], int] = {
            self._record: 40,
            self._promise: 36,
            self._refund: 14,
            self._refund_in_dashboard: 6,
            self._dispute: 7,
            self._decide_dispute: 5,
            self._reuse_key: 5,
        }
        while not over.is_set():
            (act,) = self.chance.choices(list(acts), weights=list(acts.values()))
            await act()

    def _next_id(self) -> str:
        self.count += 1
        return f"{self.errand.name}-{self.number}-{self.count}"

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def _clicks(self) -> int:
        return 2 if self.chance.random() < _DOUBLE_SHARE else 1

    async def _perform(self, request: Request, *, at_once: int = 1) -> Answer:
        answer = await self.calls.perform(request, chance=self.chance, at_once=at_once)
        if answer.outcome is Outcome.DONE and request.way in (Way.REST, Way.CHECKOUT):
            self.made = [*self.made[-_PAID_KEPT_MAX:], request]
        return answer

    def _gift(self) -> tuple[str, int, str]:
        """For which campaign, how much."""
        return (
            self.chance.choice(self.errand.campaign_ids),
            self.chance.randint(*_MINOR_UNITS),
            self.chance.choice(CURRENCIES),
        )

    async def _record(self) -> None:
        campaign_id, units, currency = self._gift()
        name = self._next_id()
        gift = {"campaign_id": campaign_id, "minor_units": units, "currency": currency, "payment_ref": name}
        if self.chance.random() < 0.5:  # noqa: PLR2004 - as many with a donor as without
            gift["donor_id"] = str(uuid.UUID(int=self.chance.randint(1, 40), version=4))
        request = Request(id=name, kind="record", way=Way.CHECKOUT, path="record_donation", body=gift)
        answer = await self._perform(request, at_once=self._clicks())
        if answer.outcome is Outcome.DONE and self.chance.random() < _REVERSED_SHARE:
            await self._reverse(name, units, currency)

    async def _reverse(self, payment_ref: str, units: int, currency: str) -> None:
        name = self._next_id()
        body = {
            "refund_ref": name,
            "charity_id": self.errand.charity_id,
            "payment_ref": payment_ref,
            "minor_units": self.chance.randint(1, units),
            "currency": currency,
        }
        about = {"payment_ref": payment_ref}
        request = Request(
            id=name, kind="reverse", way=Way.CHECKOUT, path="reverse_recorded_donation", body=body, about=about
        )
        await self._perform(request, at_once=self._clicks())

    async def _promise(self) -> None:
        campaign_id, units, currency = self._gift()
        name = self._next_id()
        amount = {"minor_units": str(units), "currency": currency}
        request = Request(
            id=name,
            kind="promise",
            way=Way.REST,
            path="/v1/donations",
            body={"campaign_id": campaign_id, "amount": amount, "metadata": {"operation": name}},
            key=self._uuid(),
            client_id=self._uuid(),
        )
        answer = await self._perform(request, at_once=self._clicks())
        secret = await self._secret(request, answer)
        if secret and self.chance.random() < _CONFIRMED_SHARE:
            await self._pay(answer.donation_id, secret, units, currency)

    async def _secret(self, request: Request, answer: Answer) -> str:
        """What the donor confirms with; the same call again and again until the payment is ready, or patience ends."""
        for _ in range(_READY_TRIES_MAX):
            if answer.outcome is not Outcome.DONE or answer.body.get("client_secret"):
                break
            await asyncio.sleep(_READY_PAUSE_S)
            answer = await self.calls.send(request)
        return str(answer.body.get("client_secret", ""))

    async def _pay(self, donation_id: str, secret: str, units: int, currency: str) -> None:
        intent = secret.partition("_secret_")[0]
        declined = self.chance.random() < _DECLINED_SHARE
        answer = await self._confirm(donation_id, secret, _DECLINED if declined else _VISA)
        if declined and answer.outcome is Outcome.REFUSED:
            # Most people have another card.
            answer = await self._confirm(donation_id, secret, _VISA)
        if answer.body.get("status") == "succeeded":
            self.paid = [*self.paid[-_PAID_KEPT_MAX:], Paid(donation_id, intent, units, currency)]

    async def _confirm(self, donation_id: str, secret: str, card: str) -> Answer:
        form = {"client_secret": secret, "payment_method": card, "return_url": "http://127.0.0.1/"}
        path = f"/v1/payment_intents/{secret.partition('_secret_')[0]}/confirm"
        about = {"donation_id": donation_id}
        request = Request(id=self._next_id(), kind="pay", way=Way.CARD, path=path, body=form, about=about)
        return await self._perform(request, at_once=self._clicks())

    def _take_paid(self) -> Paid | None:
        """A payment that nothing else is done to: who moves its money is clear then."""
        return self.paid.pop(self.chance.randrange(len(self.paid))) if self.paid else None

    async def _refund(self) -> None:
        if paid := self._take_paid():
            if self.chance.random() < _RIVAL_SHARE:
                # Either of them is possible, both are not.
                least = paid.minor_units // 2 + 1
                wishes = [self._wish(paid, self.chance.randint(least, paid.minor_units)) for _ in range(2)]
                await asyncio.gather(*(self._perform(wish) for wish in wishes))
            else:
                await self._perform(self._wish(paid, self.chance.randint(1, paid.minor_units)), at_once=self._clicks())

    def _wish(self, paid: Paid, units: int) -> Request:
        return Request(
            id=self._next_id(),
            kind="refund",
            way=Way.REST,
            path=f"/v1/donations/{paid.donation_id}:refund",
            body={"amount": {"minor_units": str(units), "currency": paid.currency}},
            key=self._uuid(),
            about={"donation_id": paid.donation_id},
        )

    async def _refund_in_dashboard(self) -> None:
        if paid := self._take_paid():
            body = {"payment_intent": paid.intent, "amount": self.chance.randint(1, paid.minor_units)}
            await self._at_provider("dashboard", "refunds", body, donation_id=paid.donation_id)

    async def _dispute(self) -> None:
        if paid := self._take_paid():
            answer = await self._at_provider(
                "dispute", "disputes", {"payment_intent": paid.intent}, donation_id=paid.donation_id
            )
            if answer.outcome is Outcome.DONE:
                self.disputes.append((str(answer.body["id"]), paid.donation_id))

    async def _decide_dispute(self) -> None:
        if self.disputes:
            dispute, donation_id = self.disputes.pop()
            end = self.chance.choice(("win", "lose"))
            await self._at_provider(end, f"disputes/{dispute}/{end}", {}, donation_id=donation_id)

    async def _at_provider(self, kind: str, path: str, body: dict[str, object], *, donation_id: str) -> Answer:
        about = {"donation_id": donation_id}
        request = Request(id=self._next_id(), kind=kind, way=Way.CONTROL, path=path, body=body, about=about)
        return await self._perform(request)

    async def _reuse_key(self) -> None:
        """The same key with another content is refused, for ever, and changes nothing."""
        earlier = [request for request in self.made if request.kind in ("record", "promise")]
        if not earlier:
            return
        old = self.chance.choice(earlier)
        body = dict(old.body)
        if old.kind == "record":
            body["minor_units"] += 1
        else:
            body["amount"] = {**body["amount"], "minor_units": str(int(body["amount"]["minor_units"]) + 1)}
        request = Request(
            id=self._next_id(),
            kind="reuse",
            way=old.way,
            path=old.path,
            body=body,
            key=old.key,
            client_id=old.client_id,
            about={"of": old.id},
        )
        await self.calls.perform(request, chance=self.chance)
