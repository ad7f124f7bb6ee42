"""The provider's webhooks: what they say, and where each stands."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from payment_svc.domain.facts import Fact


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """A verified webhook. `fact` is None where it says nothing about a payment; `intent_id` is what it is about.

    `foreign`: of another account; `flaw`: what it says about a payment cannot be read.
    """

    event_id: str
    type: str
    time: datetime.datetime
    intent_id: str
    donation_id: str
    fact: Fact | None
    foreign: bool
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event as the provider lists it; `body` is what it would have delivered."""

    event_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of the provider's list of events, newest first; `time` by its own clock."""

    events: tuple[ListedEvent, ...]
    more: bool
    time: datetime.datetime


@dataclass(frozen=True, slots=True)
class NotListed:
    """The provider showed no page. `cursor_lost`: it does not know the event any more after which the page begins."""

    why: str
    cursor_lost: bool = False


class WebhookRefused(Exception):  # noqa: N818 - named for the fact
    """Nothing proves that it is the provider's; why is nobody's business."""


class EventState(enum.IntEnum):
    """Numbers of the contract."""

    APPLIED = 1
    PARKED = 2
    QUARANTINED = 3
    SKIPPED = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook stands, why, and when it is looked at again."""

    state: EventState
    reason: str = ""
    next_attempt_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A webhook as it is kept. `polled`: it came because we asked. `actor`: the operator who decided about it last."""

    event_id: str
    type: str
    intent_id: str
    place: Place
    attempts: int
    polled: bool
    operator_reason: str
    actor: str
    provider_time: datetime.datetime
    create_time: datetime.datetime
    update_time: datetime.datetime


APPLIED = Place(EventState.APPLIED)
# What is about something unknown is looked at again: our own answer may be a moment behind the provider's webhook.
PARKED_AFTER = tuple(datetime.timedelta(seconds=seconds) for seconds in (0.5, 1, 2, 5, 15, 60, 300, 1800, 3600))
# As long as the provider itself would go on delivering it.
PARKED_FOR = datetime.timedelta(days=3)
# So often something may break over a webhook before an operator has to look.
BROKEN_MAX = 10


def broken(*, attempts: int, why: str, now: datetime.datetime) -> Place:
    """The place of a webhook over which something broke, a defect of ours as a rule."""
    if attempts >= BROKEN_MAX:
        return Place(EventState.QUARANTINED, f"cannot be applied: {why}")
    return _parked(f"could not be applied: {why}", attempts=attempts, now=now)


def parked(*, attempts: int, since: datetime.datetime, now: datetime.datetime) -> Place:
    """The place of a webhook about something that is still unknown after so many looks."""
    if now - since >= PARKED_FOR:
        return Place(EventState.QUARANTINED, "what it is about has been unknown for three days")
    return _parked("what it is about is not known yet", attempts=attempts, now=now)


def _parked(reason: str, *, attempts: int, now: datetime.datetime) -> Place:
    return Place(EventState.PARKED, reason, now + PARKED_AFTER[min(attempts, len(PARKED_AFTER)) - 1])
