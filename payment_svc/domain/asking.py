"""What the provider has to be asked next, and when."""

from __future__ import annotations

import datetime
import enum

from payment_svc.domain.payments import Attempt, AttemptKind, Outcome, Payment
from payment_svc.domain.reasons import of_call


class Step(enum.Enum):
    """What is to be done at the provider next."""

    CREATE = enum.auto()
    LOOK_UP = enum.auto()
    CANCEL = enum.auto()
    CAPTURE = enum.auto()
    CHECK = enum.auto()
    REFUND = enum.auto()
    REVIEW = enum.auto()
    """Read every refund and dispute of the intent."""


# The provider forgets an idempotency key after a day; past this a call is never repeated, only looked up.
KEY_LIFE = datetime.timedelta(hours=23)
# The provider's search shows an object within a minute, in trouble later. What it does not show after this is not there.
SEARCH_TRUSTED_AFTER = datetime.timedelta(minutes=10)
# Ages at which an intent that waits for its donor, or for its capture, is looked at: a webhook may never reach us. An
# authorisation ends within seven days.
CHECKED_AT = tuple(datetime.timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 360, 1440, 8 * 1440))
# How long after its answer was lost a call is asked about; then once a day.
ASK_AFTER = tuple(
    datetime.timedelta(seconds=seconds) for seconds in (30, 2 * 60, 10 * 60, 60 * 60, 6 * 60 * 60, 24 * 60 * 60)
)
DAY = datetime.timedelta(days=1)


def next_step(payment: Payment, *, now: datetime.datetime) -> Step | None:
    """What the provider has to be asked; None where nothing is open."""
    if payment.captured:
        refund = open_call(payment, AttemptKind.REFUND)
        if refund:
            return Step.REVIEW if must_look_up(refund, now=now) else Step.REFUND
        return Step.REVIEW if payment.unmatched or payment.look_demanded else None
    if payment.closed:
        return Step.CHECK if payment.look_demanded and payment.provider_id else None
    if payment.provider_id:
        return _step_of_intent(payment)
    (call,) = payment.calls(AttemptKind.CREATE_INTENT)
    return Step.LOOK_UP if must_look_up(call, now=now) else Step.CREATE


def _step_of_intent(payment: Payment) -> Step:
    if payment.unwanted:
        return Step.CANCEL
    return Step.CAPTURE if open_call(payment, AttemptKind.CAPTURE_INTENT) else Step.CHECK


def open_call(payment: Payment, kind: AttemptKind) -> Attempt | None:
    """The call of a kind that is to be made, or whose outcome is to be found out; unproven ones first, refused ones last."""
    calls = [call for call in payment.calls(kind) if call.open]
    return max(calls, key=lambda call: (call.outcome, -call.refusals), default=None)


def must_look_up(call: Attempt, *, now: datetime.datetime) -> bool:
    """Whether the call must not be repeated under its key any more."""
    since = call.key_time or call.create_time
    used = call.calls > 0 or call.doubt_time is not None
    return call.saved or (used and since is not None and now - since >= KEY_LIFE)


def due_time(
    payment: Payment, *, now: datetime.datetime, ask_at: datetime.datetime | None = None
) -> datetime.datetime | None:
    """When the provider has to be asked next: at `ask_at` or at once; a silence is looked into at its ages at the latest."""
    step = next_step(payment, now=now)
    if step is Step.CHECK and not payment.look_demanded:
        planned = _looked_into_at(payment, now=now)
        return min(planned, ask_at) if ask_at else planned
    return (ask_at or now) if step else None


def _looked_into_at(payment: Payment, *, now: datetime.datetime) -> datetime.datetime:
    """The next of the ages at which a silence is looked into; after the last one every day, until it has ended."""
    last = payment.create_time + CHECKED_AT[-1]
    ages = (payment.create_time + age for age in CHECKED_AT)
    return next((time for time in ages if time > now), last + ((now - last) // DAY + 1) * DAY)


def absent_for_sure(call: Attempt, *, now: datetime.datetime) -> bool:
    """Whether what a look-up did not find was never made; a call is counted before it is sent."""
    return call.last_call_time is None or now - call.last_call_time >= SEARCH_TRUSTED_AFTER


def ask_again_at(call: Attempt, *, now: datetime.datetime) -> datetime.datetime:
    """When the provider is asked about an unproven call next."""
    since = call.doubt_time or now
    return next((since + age for age in ASK_AFTER if since + age > now), now + DAY)


def retry_at(*, refusals: int, now: datetime.datetime) -> datetime.datetime:
    """When a call is made again that was refused so often."""
    return now + ASK_AFTER[min(max(refusals, 1), len(ASK_AFTER)) - 1]


def manual_reason(payment: Payment, *, now: datetime.datetime) -> str:
    """Why an operator has to look; empty where nobody has to."""
    if payment.contradiction:
        return f"the provider contradicts our books: {payment.contradiction}"
    if payment.excess:
        return "more went back than was taken"
    return next((reason for call in payment.attempts if call.open and (reason := _stuck(call, now=now))), "")


def _stuck(call: Attempt, *, now: datetime.datetime) -> str:
    name = call.kind.name.lower()
    if call.outcome is Outcome.UNKNOWN and call.doubt_time and now - call.doubt_time >= DAY:
        return f"{name}: unproven for a day"
    if call.refusals and call.refusals >= of_call(call.code).tries_max:
        return f"{name}: refused {call.refusals} times: {call.code}"
    # Such as where the provider turns us away each time, which is no refusal.
    return f"{name}: open for a day" if call.create_time and now - call.create_time >= DAY else ""
