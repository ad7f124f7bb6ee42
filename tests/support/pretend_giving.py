"""What the pages talk to, in memory: the services behind the gateway, and a provider that confirms as Stripe does.

Small on purpose: enough of each to let a donor give. The tests that need what is left out run on the real mesh.
"""
# ruff: noqa: N802 - handlers are named like their RPCs

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import grpc
from aiohttp import web
from giving.aggregate.v1 import aggregate_service_pb2_grpc
from giving.aggregate.v1.aggregate_service_pb2 import FollowTotalsResponse, GetTotalsResponse
from giving.aggregate.v1.totals_pb2 import CampaignTotals, CurrencyTotals
from giving.common.v1.identity_pb2 import Identity
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import campaign_service_pb2_grpc, donation_service_pb2_grpc
from giving.donation.v1.campaign_pb2 import Campaign, CurrencyRule
from giving.donation.v1.campaign_service_pb2 import GetCampaignResponse
from giving.donation.v1.donation_pb2 import Donation
from giving.donation.v1.donation_service_pb2 import (
    CreateDonationResponse,
    FeeRule,
    GetDonationOfferResponse,
    GetDonationResponse,
    ListDonationsResponse,
    WatchDonationResponse,
)
from grpc_status import rpc_status

from mesh.errors import InvalidArgument, Refusal, to_status
from mesh.money import granularity
from tests.support.giving import rule

CAMPAIGN_ID = "01890000-0000-7000-8000-0000000000c1"
DECLINES = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
}
ASKS_THE_BANK = ("pm_card_authenticationRequired", "pm_card_threeDSecure2Required")


def cover_of(gift: int, *, basis_points: int, fixed: int, currency: str) -> int:
    """The smallest cover by the contract's rule, found by trying: the page reckons it."""
    step = granularity(currency)
    cover = 0
    while cover * 10_000 < (gift + cover) * basis_points + fixed * 10_000:
        cover += step
    return cover


def campaign_rules() -> list[CurrencyRule]:
    dollars = rule("USD", 100, 1_000_000, (500, 1000, 2500, 5000))
    dollars.goal_minor_units = 100_000
    return [dollars, rule("EUR", 100, 1_000_000, (500, 1000)), rule("JPY", 100, 1_000_000, (1000, 5000))]


@dataclass
class Gift:
    """One donation and its payment."""

    donation: Donation
    secret: str
    return_url: str = ""
    status: str = "requires_payment_method"
    error: dict[str, str] | None = None


@dataclass
class Book:
    """All gifts, and who waits for news of them."""

    gifts: dict[str, Gift] = field(default_factory=dict)
    by_key: dict[tuple[str, str], Gift] = field(default_factory=dict)
    version: int = 1
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def promise(self, request: Any, client_id: str) -> Gift:
        known = self.by_key.get((client_id, request.request_id))
        return known or self._record(request, client_id)

    def _record(self, request: Any, client_id: str) -> Gift:
        currency, units = request.amount.currency, request.amount.minor_units
        cover = cover_of(units, basis_points=290, fixed=30, currency=currency) if request.cover_fee else 0
        donation = Donation(
            donation_id=str(uuid.uuid4()),
            campaign_id=request.campaign_id,
            state=Donation.STATE_AWAITING_PAYMENT,
            amount=Money(minor_units=units + cover, currency=currency),
            fee_cover=Money(minor_units=cover, currency=currency),
            version=1,
        )
        gift = Gift(donation, f"pi_{uuid.uuid4().hex}_secret_{uuid.uuid4().hex}")
        self.gifts[donation.donation_id] = self.by_key[client_id, request.request_id] = gift
        return gift

    def of_intent(self, intent_id: str) -> Gift:
        return next(gift for gift in self.gifts.values() if gift.secret.startswith(f"{intent_id}_secret_"))

    def settle(self, gift: Gift) -> None:
        gift.status, gift.error = "succeeded", None
        gift.donation.state = Donation.STATE_SUCCEEDED
        self._change(gift)

    def decline(self, gift: Gift, code: str, decline_code: str) -> None:
        gift.status, gift.error = "requires_payment_method", {"code": code, "decline_code": decline_code}
        gift.donation.state, gift.donation.retryable = Donation.STATE_FAILED, True
        gift.donation.failure_code = decline_code or code
        self._change(gift)

    def _change(self, gift: Gift) -> None:
        gift.donation.version += 1
        self.version += 1
        self.news.set()
        self.news = asyncio.Event()

    def totals(self) -> CampaignTotals:
        arrived = [gift.donation for gift in self.gifts.values() if gift.donation.state == Donation.STATE_SUCCEEDED]
        shares = {}
        for donation in arrived:
            share = shares.setdefault(donation.amount.currency, CurrencyTotals(currency=donation.amount.currency))
            share.gross += donation.amount.minor_units
            share.net += donation.amount.minor_units
            share.donations += 1
        return CampaignTotals(campaign_id=CAMPAIGN_ID, version=self.version, currencies=shares.values())


class Campaigns(campaign_service_pb2_grpc.CampaignServiceServicer):
    async def GetCampaign(self, request, context):
        if request.campaign_id != CAMPAIGN_ID:
            await _refuse(context, InvalidArgument.of("campaign_id", "must be a valid UUID"))
        campaign = Campaign(
            campaign_id=CAMPAIGN_ID,
            display_name="Clean water for Lake Town <b>",
            description="A well costs less than you think.\n\nEvery gift digs a little deeper.",
            state=Campaign.STATE_ACTIVE,
            currency_rules=campaign_rules(),
        )
        return GetCampaignResponse(campaign=campaign)


class Donations(donation_service_pb2_grpc.DonationServiceServicer):
    def __init__(self, book: Book) -> None:
        self._book = book

    async def GetDonationOffer(self, request, context):
        rules = campaign_rules()

        def money(units: int, of: CurrencyRule) -> Money:
            return Money(minor_units=units, currency=of.currency)

        return GetDonationOfferResponse(
            presets=[money(units, of) for of in rules for units in of.preset_minor_units],
            minimums=[money(of.minor_units_min, of) for of in rules],
            maximums=[money(of.minor_units_max, of) for of in rules],
            fee_rules=[FeeRule(currency=of.currency, basis_points=290, fixed_minor_units=30) for of in rules],
        )

    async def CreateDonation(self, request, context):
        client_id = _identity(context).client_id
        if not client_id:
            await _refuse(context, InvalidArgument.of("client_id", "must be set"))
        if request.donor_name.isdigit():
            await _refuse(context, InvalidArgument.of("donor_name", "must not be a card number"))
        gift = self._book.promise(request, client_id)
        token = f"gdt_{gift.donation.donation_id}"
        return CreateDonationResponse(donation=gift.donation, client_secret=gift.secret, access_token=token)

    async def GetDonation(self, request, context):
        gift = await self._found(request, context)
        open_still = gift.donation.state in (Donation.STATE_AWAITING_PAYMENT, Donation.STATE_FAILED)
        secret = gift.secret if request.include_client_secret and open_still else ""
        return GetDonationResponse(donation=gift.donation, client_secret=secret)

    async def WatchDonation(self, request, context):
        gift = await self._found(request, context)
        while True:
            news = self._book.news
            yield WatchDonationResponse(donation=gift.donation)
            if gift.donation.state == Donation.STATE_SUCCEEDED:
                return
            await news.wait()

    async def ListDonations(self, request, context):
        return ListDonationsResponse(donations=[gift.donation for gift in self._book.gifts.values()])

    async def _found(self, request, context) -> Gift:
        if _identity(context).access_token != f"gdt_{request.donation_id}":
            await context.abort(grpc.StatusCode.NOT_FOUND, "not yours")
        return self._book.gifts[request.donation_id]


class Totals(aggregate_service_pb2_grpc.AggregateServiceServicer):
    def __init__(self, book: Book) -> None:
        self._book = book

    async def GetTotals(self, request, context):
        return GetTotalsResponse(totals=self._book.totals())

    async def FollowTotals(self, request, context):
        while True:
            news = self._book.news
            yield FollowTotalsResponse(totals=[self._book.totals()])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await news.wait()


class Provider:
    """Confirms payments as Stripe does for its own script."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/payment_intents/{intent}/confirm", self._confirm),
            web.get("/v1/payment_intents/{intent}", self._show),
            web.get("/bank/{intent}", self._ask),
            web.get("/bank/{intent}/{answer}", self._answered),
        ]

    async def _confirm(self, request: web.Request) -> web.Response:
        gift, form = self._book.of_intent(request.match_info["intent"]), await request.post()
        if form["client_secret"] != gift.secret or gift.status == "succeeded":
            return _json({"error": {"code": "payment_intent_unexpected_state"}}, status=400)
        card = str(form["payment_method"])
        if card in DECLINES:
            self._book.decline(gift, *DECLINES[card])
            return _json({"error": {**gift.error, "type": "card_error", "message": "Your card was declined."}}, status=402)
        if card in ASKS_THE_BANK:
            gift.status, gift.return_url = "requires_action", str(form["return_url"])
        else:
            self._book.settle(gift)
        return self._intent(request, gift)

    async def _show(self, request: web.Request) -> web.Response:
        return self._intent(request, self._book.of_intent(request.match_info["intent"]))

    async def _ask(self, request: web.Request) -> web.Response:
        answers = ("Complete", "Fail")
        links = "".join(f"<p><a role=button href='{request.path}/{word}'>{word} authentication</a></p>" for word in answers)
        return web.Response(text=f"<!doctype html><title>Bank</title>{links}", content_type="text/html")

    async def _answered(self, request: web.Request) -> web.Response:
        intent = request.match_info["intent"]
        gift, well = self._book.of_intent(intent), request.match_info["answer"] == "Complete"
        if well:
            self._book.settle(gift)
        else:
            self._book.decline(gift, "payment_intent_authentication_failure", "")
        query = {
            "payment_intent": intent,
            "payment_intent_client_secret": gift.secret,
            "redirect_status": "succeeded" if well else "failed",
        }
        raise web.HTTPFound(f"{gift.return_url}?{urlencode(query)}")

    def _intent(self, request: web.Request, gift: Gift) -> web.Response:
        body: dict[str, Any] = {"status": gift.status, "last_payment_error": gift.error}
        if gift.status == "requires_action":
            address = f"{request.url.origin()}/bank/{request.match_info['intent']}"
            body["next_action"] = {"type": "redirect_to_url", "redirect_to_url": {"url": address}}
        return _json(body)


def _json(body: dict[str, Any], *, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers={"Access-Control-Allow-Origin": "*"})


def _identity(context: Any) -> Identity:
    return Identity.FromString(dict(context.invocation_metadata())["giving-identity-bin"])


async def _refuse(context: Any, refusal: Refusal) -> None:
    await context.abort_with_status(rpc_status.to_status(to_status(refusal)))


@contextlib.asynccontextmanager
async def running_services(book: Book) -> AsyncIterator[str]:
    """The target at which all of them answer."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    campaign_service_pb2_grpc.add_CampaignServiceServicer_to_server(Campaigns(), server)
    donation_service_pb2_grpc.add_DonationServiceServicer_to_server(Donations(book), server)
    aggregate_service_pb2_grpc.add_AggregateServiceServicer_to_server(Totals(book), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def running_provider(book: Book) -> AsyncIterator[str]:
    """The provider's origin."""
    application = web.Application()
    application.add_routes(Provider(book).routes())
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
