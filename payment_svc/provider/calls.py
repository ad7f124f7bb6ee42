"""Our calls to Stripe, and what their answers prove."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from uuid import UUID

import aiohttp
import stripe
import structlog

from payment_svc.domain.answers import Absent, Answer, Found, NotReached, Refused, Seen, Unproven
from payment_svc.domain.facts import Fact, IntentSeen, ReturnsListed
from payment_svc.domain.inbound import EventPage, ListedEvent, NotListed
from payment_svc.domain.payments import Attempt, Payment
from payment_svc.domain.settlement import MovementPage
from payment_svc.provider.breaker import CallsPaused, CircuitBreaker, GuardedClient
from payment_svc.provider.movements import movement_from
from payment_svc.provider.shapes import dispute_seen, intent_seen, named, refund_seen

# Waits before repetitions under the same idempotency key. They are ours and not the SDK's, which remembers the last failure
# only: a lost answer followed by a refused connection is unproven, not unreached.
_REPEAT_AFTER_S = (0.3, 1.0)
_PAGE_MAX = 100
_log = structlog.get_logger()


class Stripe:
    """The provider."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._disputes = client.v1.disputes
        self._movements = client.v1.balance_transactions
        self._events = client.v1.events

    async def create_intent(self, payment: Payment, *, attempt_id: UUID, again: int = 0) -> Answer:
        """Makes the intent, unconfirmed. A repeat with the same attempt gives the same intent, within a day.

        `again` counts refusals, after each of which it is another call.
        """
        params: Any = {
            "amount": payment.amount.minor_units,
            "currency": payment.amount.currency.lower(),
            "automatic_payment_methods": {"enabled": True},
            "capture_method": "manual" if payment.manual_capture else "automatic",
            "metadata": {
                "donation_id": str(payment.donation_id),
                "payment_id": str(payment.id),
                "campaign_id": str(payment.campaign_id),
                "charity_id": str(payment.charity_id),
            },
        }
        options: Any = {"idempotency_key": _key(attempt_id, again=again)}
        return await _asked(lambda: self._intents.create_async(params, options), intent_seen)

    async def cancel_intent(self, provider_id: str, *, attempt_id: UUID, again: int = 0) -> Answer:
        """Calls the intent off. Refused where it has ended otherwise: `intent` says how.

        `again` counts the calls before this one and makes another key: the provider would repeat an earlier refusal under
        the same one, and to cancel twice is to cancel once.
        """
        params: Any = {"cancellation_reason": "abandoned"}
        options: Any = {"idempotency_key": _key(attempt_id, again=again)}
        return await _asked(lambda: self._intents.cancel_async(provider_id, params, options), intent_seen)

    async def capture_intent(self, payment: Payment, *, call: Attempt) -> Answer:
        """Takes what is held. A repeat of the call does nothing more, within a day; after a refusal it is another one."""
        params: Any = {"amount_to_capture": call.amount, "expand": ["latest_charge"]}
        options: Any = {"idempotency_key": _key_of(call)}
        return await _asked(lambda: self._intents.capture_async(payment.provider_id, params, options), intent_seen)

    async def create_refund(self, payment: Payment, *, call: Attempt) -> Answer:
        """Gives money back. A repeat of the call gives the same refund, within a day; after a refusal it is another one."""
        params: Any = {
            "payment_intent": payment.provider_id,
            "amount": call.amount,
            "metadata": {
                "attempt_id": str(call.id),
                "payment_id": str(payment.id),
                "donation_id": str(payment.donation_id),
            },
        }
        options: Any = {"idempotency_key": _key_of(call)}
        return await _asked(lambda: self._refunds.create_async(params, options), refund_seen)

    async def get_intent(self, provider_id: str) -> Answer:
        """Reads the intent with its newest charge."""
        params: Any = {"expand": ["latest_charge"]}
        return await _asked(lambda: self._intents.retrieve_async(provider_id, params), intent_seen)

    async def list_returns(self, provider_id: str) -> Answer:
        """Reads every refund and dispute of the intent."""
        params: Any = {"payment_intent": provider_id, "limit": _PAGE_MAX}
        with_movements: Any = {**params, "expand": ["data.balance_transaction"]}
        try:
            disputes = await self._disputes.list_async(params)
            refunds = await self._refunds.list_async(with_movements)
            given_back = [shown.to_dict() async for shown in refunds.auto_paging_iter()]
            # Of two readings the earlier second holds for both.
            second = _second_in(disputes.last_response.headers if disputes.last_response else {}, {})
            return Seen(
                ReturnsListed(
                    second,
                    tuple([refund_seen(shown, second=second) for shown in given_back]),
                    tuple([dispute_seen(shown.to_dict(), second=second) async for shown in disputes.auto_paging_iter()]),
                )
            )
        except Exception as error:  # noqa: BLE001 - whatever broke, nothing is proven
            answer = _outcome_of(error)
            return answer if isinstance(answer, NotReached) else Unproven()

    async def find_intent(self, payment: Payment) -> Found:
        """Looks for an intent of this payment by our own metadata."""
        query: Any = {"query": f"metadata['payment_id']:'{payment.id}'", "limit": 1, "expand": ["data.latest_charge"]}
        try:
            page = await self._intents.search_async(query)
        except Exception as error:  # noqa: BLE001 - whatever broke, nothing is proven
            answer = _outcome_of(error)
            return answer if isinstance(answer, NotReached) else Unproven()
        shown = [intent.to_dict() for intent in page.data]
        found = [intent_seen(intent, second=_second_of(page, intent)) for intent in shown]
        return Seen(found[0]) if found else Absent()

    async def list_events(self, *, since: datetime.datetime, after: str) -> EventPage | NotListed:
        """Events that an endpoint has not taken (yet), of the last 30 days and made at `since` or later, newest first.

        `after`: the event with which the page before ended; empty: the newest.
        """
        params: Any = {"delivery_success": False, "created": {"gte": int(since.timestamp())}, "limit": _PAGE_MAX}
        if after:
            params["starting_after"] = after
        try:
            return _event_page(await self._events.list_async(params))
        except stripe.InvalidRequestError as error:
            # Stripe forgets events after 30 days, and then knows no page that begins after one of them.
            return NotListed(type(error).__name__, cursor_lost=bool(after))
        except Exception as error:  # noqa: BLE001 - whatever broke, no page was shown
            return NotListed(type(error).__name__)

    async def list_movements(self, *, since: datetime.datetime, after: str) -> MovementPage | NotListed:
        """Movements on our balance, made at `since` or later, newest first, after one of them; empty: the newest."""
        params: Any = {"created": {"gte": int(since.timestamp())}, "limit": _PAGE_MAX, "expand": ["data.source"]}
        if after:
            params["starting_after"] = after
        try:
            return _movement_page(await self._movements.list_async(params))
        except stripe.InvalidRequestError as error:
            return NotListed(type(error).__name__, cursor_lost=bool(after))
        except Exception as error:  # noqa: BLE001 - whatever broke, no page was shown
            return NotListed(type(error).__name__)


Read = Callable[..., Fact]


async def _asked(ask: Callable[[], Awaitable[Any]], read: Read) -> Answer:
    """Asks, and again where that may bring the true answer; what one try left unproven stays unproven."""
    answer = await _answer_to(ask, read)
    unproven = isinstance(answer, Unproven)
    for wait_s in _REPEAT_AFTER_S:
        if isinstance(answer, Seen | Refused) or (isinstance(answer, Unproven) and answer.saved):
            return answer
        if isinstance(answer, NotReached) and answer.paused:
            break
        await asyncio.sleep(wait_s)
        answer = await _answer_to(ask, read)
        unproven = unproven or isinstance(answer, Unproven)
    return Unproven() if unproven and isinstance(answer, NotReached) else answer


async def _answer_to(ask: Callable[[], Awaitable[Any]], read: Read) -> Answer:
    try:
        answered = await ask()
    except Exception as error:  # noqa: BLE001 - every failure is classified, none is let through
        return _outcome_of(error)
    try:
        shown = answered.to_dict()
        return Seen(read(shown, second=_second_of(answered, shown)))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        _log.error("the provider's answer cannot be read", exc_info=error)
        return Unproven()


@asynccontextmanager
async def open_stripe(*, api_key: str, api_base: str, request_s: float, breaker: CircuitBreaker) -> AsyncIterator[Stripe]:
    """The provider, or the sandbox at `api_base`; a request may take `request_s`. Closes its connections."""
    http_client = GuardedClient(breaker, request_s=request_s)
    bases: Any = {"api": api_base} if api_base else {}
    client = stripe.StripeClient(
        api_key,
        http_client=http_client,
        base_addresses=bases,
        max_network_retries=0,
        stripe_version=stripe.api_version,
    )
    try:
        yield Stripe(client)
    finally:
        await http_client.close_async()  # type: ignore[no-untyped-call]


def _event_page(answer: Any) -> EventPage:
    """The events as they were sent: objects of the SDK would give their numbers and texts other types."""
    page: Any = json.loads(answer.last_response.body)
    events = tuple(ListedEvent(named(event["id"]), json.dumps(event).encode()) for event in page["data"])
    return EventPage(events, more=bool(page["has_more"] and events), time=_shown_at(answer))


def _movement_page(answer: Any) -> MovementPage:
    """The movements as they were sent: objects of the SDK would give their numbers and texts other types."""
    page: Any = json.loads(answer.last_response.body)
    movements = tuple(map(movement_from, page["data"]))
    return MovementPage(movements, more=bool(page["has_more"] and movements), time=_shown_at(answer))


def _shown_at(answer: Any) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(_second_of(answer, {}), datetime.UTC)


def _key_of(call: Attempt) -> str:
    if call.id is None:
        raise AssertionError("a call is stored before it is made")
    return _key(call.id, again=call.refusals)


def _key(attempt_id: UUID, *, again: int = 0) -> str:
    return f"giving-{attempt_id}-{again}" if again else f"giving-{attempt_id}"


def _outcome_of(error: Exception) -> Refused | Unproven | NotReached:
    """What an error of a call proves."""
    if isinstance(error, CallsPaused):
        return NotReached(paused=True)
    if isinstance(error, stripe.RateLimitError | stripe.AuthenticationError | stripe.PermissionError):
        _log.warning("the provider turned us away", error=type(error).__name__)
        return NotReached()
    if isinstance(error, stripe.InvalidRequestError | stripe.CardError):
        return Refused(_code_of(error), _intent_of(error))
    if isinstance(error, stripe.APIConnectionError) and isinstance(error.__cause__, aiohttp.ClientConnectorError):
        return NotReached()
    _log.warning("a call to the provider has no proven outcome", error=type(error).__name__)
    status = getattr(error, "http_status", None)
    saved = isinstance(error, stripe.IdempotencyError) or status == HTTPStatus.INTERNAL_SERVER_ERROR
    return Unproven(saved=saved)


def _code_of(error: stripe.StripeError) -> str:
    return str(getattr(error, "decline_code", None) or error.code or "invalid_request")


def _intent_of(error: stripe.StripeError) -> IntentSeen | None:
    body: Any = error.json_body or {}
    shown = body.get("error", {}).get("payment_intent")
    return intent_seen(shown, second=_second_in(error.headers or {}, shown)) if shown else None


def _second_of(answer: Any, shown: Mapping[str, Any]) -> int:
    return _second_in(answer.last_response.headers if answer.last_response else {}, shown)


def _second_in(headers: Mapping[str, str], shown: Mapping[str, Any]) -> int:
    """When the intent stood as it is shown, by the provider's own clock, which stamps its events too."""
    named = {name.lower(): value for name, value in headers.items()}
    if named.get("idempotent-replayed") == "true":
        # The answer of the first call, whenever it is repeated: nothing is older than the intent itself.
        return int(shown["created"])
    try:
        return int(email.utils.parsedate_to_datetime(named["date"]).timestamp())
    except (KeyError, ValueError, TypeError):
        return int(time.time())
