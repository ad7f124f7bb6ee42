"""What the provider has to be asked next, and when."""

from __future__ import annotations

import datetime
import enum

from payment_svc.domain.payments import Attempt, AttemptKind, Payment


class Step(enum.Enum):
    """What is to be done at the provider next."""

    CREATE = enum.auto()
    LOOK_UP = enum.auto()
    CANCEL = enum.auto()
    CHECK = enum.auto()


# The provider forgets an idempotency key after a day; past this a call is never repeated, only looked up.
KEY_LIFE = datetime.timedelta(hours=23)
# The provider's search shows an object within a minute, in trouble later. What it does not show after this is not there.
SEARCH_TRUSTED_AFTER = datetime.timedelta(minutes=10)
# Ages at which an intent that waits for its donor is looked at: he may have paid without a webhook ever reaching us.
CHECKED_AT = tuple(datetime.timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 360, 1440))
# When an unproven call is asked about again.
ASK_AFTER = tuple(
    datetime.timedelta(seconds=seconds) for seconds in (30, 2 * 60, 10 * 60, 60 * 60, 6 * 60 * 60, 24 * 60 * 60)
)


def next_step(payment: Payment, *, now: datetime.datetime) -> Step | None:
    """What the provider has to be asked; None where nothing is open."""
    if payment.closed:
        return None
    if payment.provider_id:
        return Step.CANCEL if payment.unwanted else Step.CHECK
    (call,) = payment.calls(AttemptKind.CREATE_INTENT)
    expired = call.create_time is not None and now - call.create_time >= KEY_LIFE
    return Step.LOOK_UP if call.saved or expired else Step.CREATE


def due_time(
    payment: Payment, *, now: datetime.datetime, ask_at: datetime.datetime | None = None
) -> datetime.datetime | None:
    """When the provider has to be asked next: at `ask_at` or at once, or when a donor's silence is looked into."""
    step = next_step(payment, now=now)
    if step is Step.CHECK:
        return next((payment.create_time + age for age in CHECKED_AT if payment.create_time + age > now), None)
    return (ask_at or now) if step else None


def absent_for_sure(call: Attempt, *, now: datetime.datetime) -> bool:
    """Whether an intent that a look-up did not find was never made; a call is counted before it is sent."""
    return call.last_call_time is None or now - call.last_call_time >= SEARCH_TRUSTED_AFTER


def ask_again_at(call: Attempt, *, now: datetime.datetime) -> datetime.datetime:
    """When the provider is asked about an unproven call next."""
    return now + ASK_AFTER[min(max(call.calls, 1), len(ASK_AFTER)) - 1]
