"""What donors' browsers do: promise at the mesh as guests, confirm at the provider, and look when an answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from cli import rest
from cli.promises import CARDS, DECLINED_CARD, Promise
from cli.refusal import CommandRefused

# A payment whose answer was cut off is asked about again after half a minute; these tries last for two.
_TRIES_MAX = 240
_PAUSE_S = 0.5
# Where a donor comes back to after a step at his bank; these cards ask for none.
_RETURN_URL = "http://127.0.0.1/"


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """Where donations are promised and where they are paid. `campaign_id`: what for."""

    rest_url: str
    stripe_url: str
    publishable_key: str
    campaign_id: str


class Browsers:
    """All donors' browsers; each donor has a cookie of his own."""

    def __init__(self, session: aiohttp.ClientSession, checkout: Checkout, *, sleep: rest.Sleep = asyncio.sleep) -> None:
        self._session = session
        self._checkout = checkout
        self._sleep = sleep

    async def give(self, promise: Promise) -> str:
        """Promises and does with it what its course says; the donation's id.

        Raises:
            CommandRefused: the mesh or the provider refuses it, or does not answer within the bound.
        """
        donation_id, secret = await self._promised(promise)
        for card in CARDS[promise.course]:
            await self._confirmed(secret, card)
        return donation_id

    async def _promised(self, promise: Promise) -> tuple[str, str]:
        """The same call until the payment is ready: its key makes it the same donation."""
        for _ in range(_TRIES_MAX):
            answer = await rest.post(
                self._session,
                f"{self._checkout.rest_url}/v1/donations",
                {
                    "campaign_id": self._checkout.campaign_id,
                    "amount": {"minor_units": str(promise.minor_units), "currency": promise.currency},
                },
                key=promise.request_id,
                headers={"Cookie": f"giving_client={promise.client_id}"},
                sleep=self._sleep,
            )
            if answer.get("client_secret"):
                return answer["donation"]["donation_id"], answer["client_secret"]
            await self._sleep(_PAUSE_S)
        raise CommandRefused(f"the payment of a promise did not become ready: {answer['donation']}")

    async def _confirmed(self, secret: str, card: str) -> None:
        """Confirms until the card has had its outcome; whoever got no answer looks before he tries again."""
        wanted = "declined" if card == DECLINED_CARD else "succeeded"
        outcome = ""
        for _ in range(_TRIES_MAX):
            outcome = await self._ask("POST", secret, {"payment_method": card, "return_url": _RETURN_URL})
            outcome = outcome or await self._ask("GET", secret, {})
            if outcome == wanted:
                return
            await self._sleep(_PAUSE_S)
        raise CommandRefused(f"{card} was to be {wanted} and was {outcome or 'not answered'}")

    async def _ask(self, method: str, secret: str, form: Mapping[str, str]) -> str:
        """Where the intent stands after the answer; empty where there is none that says so."""
        url = f"{self._checkout.stripe_url}/v1/payment_intents/{secret.partition('_secret_')[0]}"
        given = {"key": self._checkout.publishable_key, "client_secret": secret, **form}
        # As Stripe.js sends them: a form to confirm, a query to look.
        sent: Any = {"data": given} if method == "POST" else {"params": given}
        try:
            async with self._session.request(method, f"{url}/confirm" if form else url, **sent) as answer:
                return _outcome(await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return ""


def _outcome(answer: Mapping[str, Any]) -> str:
    if answer.get("error", {}).get("type") == "card_error":
        return "declined"
    if answer.get("status") == "requires_payment_method" and answer.get("last_payment_error"):
        return "declined"
    return "succeeded" if answer.get("status") == "succeeded" else ""
