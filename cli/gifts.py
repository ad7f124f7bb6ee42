"""The demonstration's donations: planned by the client, delivered until acknowledged, summed by the client."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from giving.common.v1.money_pb2 import Money
from giving.donation.v1.donation_service_pb2 import RecordDonationRequest, ReverseRecordedDonationRequest
from giving.donation.v1.donation_service_pb2_grpc import DonationServiceStub

from cli.books import Book, Line
from cli.refusal import CommandRefused

CURRENCIES = ("EUR", "USD")
MINOR_UNITS_MAX = 50_000
_DUPLICATE_SHARE = 0.05
_REVERSAL_SHARE = 0.05
_GIFTS_PER_DONOR = 4
_CALL_S_MAX = 5.0
# A killed server is back within seconds; one that is away for longer than this needs a person.
_DELIVERY_S_MAX = 120.0
_PAUSE_S_FIRST = 0.05
_PAUSE_S_MAX = 1.0
# The call may or may not have happened: the same reference asks again.
_RETRIED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
)
ResponseT = TypeVar("ResponseT")


@dataclass(frozen=True, slots=True)
class Gift:
    """One donation. `reversed_units` of it go back; `copies` is how often it is sent."""

    payment_ref: str
    donor_id: str
    currency: str
    minor_units: int
    reversed_units: int
    copies: int


@dataclass(frozen=True, slots=True)
class Errand:
    charity_id: str
    campaign_id: str


def plan(*, seed: str, count: int) -> list[Gift]:
    """The same gifts for the same seed."""
    source = random.Random(seed)  # noqa: S311 - a demonstration, to be repeated
    donors = [str(uuid.UUID(int=source.getrandbits(128), version=4)) for _ in range(max(count // _GIFTS_PER_DONOR, 1))]
    return [_gift(source, payment_ref=f"demo-{seed}-{number}", donors=donors) for number in range(count)]


def _gift(source: random.Random, *, payment_ref: str, donors: list[str]) -> Gift:
    minor_units = source.randint(100, MINOR_UNITS_MAX)
    return Gift(
        payment_ref=payment_ref,
        donor_id=source.choice(donors),
        currency=source.choice(CURRENCIES),
        minor_units=minor_units,
        reversed_units=source.randint(1, minor_units) if source.random() < _REVERSAL_SHARE else 0,
        copies=2 if source.random() < _DUPLICATE_SHARE else 1,
    )


def summary(sent: list[Gift]) -> str:
    duplicates = sum(gift.copies > 1 for gift in sent)
    reversals = sum(gift.reversed_units > 0 for gift in sent)
    return f"{len(sent):,} donations in {' and '.join(CURRENCIES)}, {duplicates} sent twice, {reversals} taken back"


def book(sent: Iterable[Gift]) -> Book:
    """What every book has to say in the end."""
    by_currency: dict[str, list[Gift]] = defaultdict(list)
    for gift in sent:
        by_currency[gift.currency].append(gift)
    return {currency: _line(gifts) for currency, gifts in by_currency.items()}


def _line(gifts: list[Gift]) -> Line:
    gross = sum(gift.minor_units for gift in gifts)
    refunded = sum(gift.reversed_units for gift in gifts)
    return Line(
        net=gross - refunded,
        gross=gross,
        refunded=refunded,
        donations=len(gifts),
        donors=len({gift.donor_id for gift in gifts}),
    )


class Courier:
    """Delivers gifts by gRPC, each until it is acknowledged."""

    def __init__(self, channel: grpc.aio.Channel, errand: Errand, *, retried: Callable[[str], None]) -> None:
        self._donations = DonationServiceStub(channel)
        self._errand = errand
        self._retried = retried

    async def deliver(self, gift: Gift) -> None:
        """Raises CommandRefused when the mesh refuses it or does not take it within the bound."""
        request = self._record_request(gift)
        await asyncio.gather(
            *(self._until_acknowledged(self._donations.RecordDonation, request) for _ in range(gift.copies))
        )
        if gift.reversed_units:
            await self._until_acknowledged(self._donations.ReverseRecordedDonation, self._reverse_request(gift))

    def _record_request(self, gift: Gift) -> RecordDonationRequest:
        return RecordDonationRequest(
            payment_ref=gift.payment_ref,
            campaign_id=self._errand.campaign_id,
            amount=Money(minor_units=gift.minor_units, currency=gift.currency),
            donor_id=gift.donor_id,
        )

    def _reverse_request(self, gift: Gift) -> ReverseRecordedDonationRequest:
        return ReverseRecordedDonationRequest(
            refund_ref=f"back-{gift.payment_ref}",
            charity_id=self._errand.charity_id,
            payment_ref=gift.payment_ref,
            amount=Money(minor_units=gift.reversed_units, currency=gift.currency),
        )

    async def _until_acknowledged(self, call: Callable[..., object], request: object) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DELIVERY_S_MAX
        pause_s = _PAUSE_S_FIRST
        while True:
            try:
                await call(request, timeout=_CALL_S_MAX)  # type: ignore[misc] # the stub's call is awaitable
            except grpc.aio.AioRpcError as error:
                self._demand_retry(error, late=loop.time() > deadline)
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    def _demand_retry(self, error: grpc.aio.AioRpcError, *, late: bool) -> None:
        code = error.code()
        if late or code not in _RETRIED:
            raise CommandRefused(f"a donation was not taken: {code.name}: {error.details()}") from error
        self._retried(f"{code.name}, asking again")
