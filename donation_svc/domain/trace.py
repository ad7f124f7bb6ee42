"""The life of a donation as a timeline: pure functions from what is written down of it to steps, oldest first."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from donation_svc.domain.donations import Donation, DonationState, Origin
from donation_svc.domain.explanation import Explanation
from donation_svc.domain.history import Asked, Change, History, TakenBack
from mesh.money import Money

SERVICE = "donation"
# As many of each kind as an answer holds, the newest: what is told of more is told by the lists themselves.
LISTED_MAX = 200
# As many donations are named as one reference may name beside the one that is told.
OTHERS_MAX = 10
_FIGURES = ("gross", "refunded", "disputed")


@dataclass(frozen=True, slots=True)
class Step:
    """One moment: which service saw what happen, with ids and amounts as text."""

    time: datetime.datetime
    what: str
    details: Mapping[str, str]
    service: str = SERVICE


@dataclass(frozen=True, slots=True)
class Trace:
    """A timeline over all services, oldest first, and what it comes to; `donation` is None where none is recorded here."""

    donation: Donation | None
    steps: Sequence[Step]
    explanation: Explanation


def timeline(history: History, *, now: datetime.datetime) -> list[Step]:
    """The donation's own steps, oldest first; last, at the time of the answer, what is missing in them."""
    # In this order where two have the same time: a cause before what came of it.
    kinds: Sequence[Iterable[Step]] = (
        [_recorded(history)],
        map(_asked, history.asked),
        map(_taken_back, history.taken_back),
        (step for change in history.changes for step in _changed(history.donation, change)),
        _counted(history.donation),
    )
    missing = (Step(now, f"only the newest {LISTED_MAX} {name} are shown", {}) for name in history.cut)
    return in_order([step for kind in kinds for step in kind], last=missing)


def in_order(steps: Iterable[Step], *, last: Iterable[Step] = ()) -> list[Step]:
    """Steps by their times, then those that are about the answer itself."""
    return [*sorted(steps, key=lambda step: step.time), *last]


def named_too(others: Sequence[UUID], *, now: datetime.datetime) -> Step:
    """Says which other donations the reference names."""
    more = " at least" if len(others) > OTHERS_MAX else ""
    listed = others[:OTHERS_MAX]
    what = f"the reference names{more} {len(listed)} other donations too; this is the newest"
    return Step(now, what, {f"donation_id_{number}": str(other) for number, other in enumerate(listed, start=2)})


def _given(**details: object) -> dict[str, str]:
    return {name: str(value) for name, value in details.items() if value not in (None, "")}


def _of_amount(name: str, amount: Money) -> dict[str, str]:
    return {name: str(amount), f"{name}_minor_units": str(amount.minor_units)}


def _recorded(history: History) -> Step:
    donation = history.donation
    promised = donation.origin is Origin.INTENT
    details = _given(
        donation_id=donation.id,
        charity_id=donation.charity_id,
        campaign_id=donation.campaign_id,
        donor_id=donation.donor_id,
        payment_ref=donation.payment_ref,
        possible_duplicate_of=donation.possible_duplicate_of,
        actor=history.origin.actor,
        correlation_id=history.origin.correlation_id,
    )
    details |= _of_amount("amount", donation.amount)
    if donation.fee_cover:
        details |= _of_amount("fee_cover", Money(donation.fee_cover, donation.amount.currency))
    what = "promised, before its payment was asked for" if promised else "recorded: a checkout had charged it"
    return Step(donation.create_time, what, details)


def _asked(asked: Asked) -> Step:
    details = _given(actor=asked.actor, reason=asked.reason, correlation_id=asked.correlation_id)
    return Step(asked.time, f"{asked.method} was asked for", details)


def _taken_back(taken_back: TakenBack) -> Step:
    reversal = taken_back.reversal
    details = _given(
        reversal_id=reversal.id,
        refund_ref=reversal.refund_ref,
        actor=taken_back.actor,
        correlation_id=taken_back.correlation_id,
    )
    return Step(reversal.create_time, "the checkout took it back", details | _of_amount("amount", reversal.amount))


def _counted(donation: Donation) -> Iterator[Step]:
    if donation.settle_time:
        gross = Money(donation.tally.gross, donation.amount.currency)
        yield Step(donation.settle_time, "it began to count", _of_amount("gross", gross))


def _changed(donation: Donation, change: Change) -> Iterator[Step]:
    if change.by_hand:
        yield _by_hand(change)
        return
    words = "; ".join(_words(change))
    if words:
        details = _given(
            actor=change.actor,
            correlation_id=change.correlation_id,
            payment_id=change.after.get("payment_id"),
            failure_code=change.after.get("failure_code"),
            hold_end_time=change.after.get("hold_end_time"),
        )
        yield Step(change.time, words, details | _figures(donation, change))


def _words(change: Change) -> Iterator[str]:
    after = change.after
    if "state" in after:
        yield f"the donation became {DonationState(after['state']).name}"
    elif any(name in after for name in _FIGURES):
        yield "what it counts for changed"
    elif "failure_code" in after or "retryable" in after:
        yield "its payment failed again"
    if after.get("hold_end_time"):
        yield "the money is held until it is captured"


def _figures(donation: Donation, change: Change) -> dict[str, str]:
    details: dict[str, str] = {}
    for name in _FIGURES:
        if name in change.after:
            details |= _of_amount(name, Money(int(change.after[name]), donation.amount.currency))
    return details


def _by_hand(change: Change) -> Step:
    """What somebody did past every line of ours: all of it."""
    columns = sorted({*change.before, *change.after})
    gone = bool(change.before) and not change.after
    details = _given(
        object_id=change.object_id,
        changes=", ".join(_change_of(change, column) for column in columns),
        actor=change.actor,
        correlation_id=change.correlation_id,
        reason=change.reason,
        database_role=change.database_role,
    )
    return Step(change.time, f"{'deleted' if gone else 'changed'} by hand: {change.object}", details)


def _change_of(change: Change, column: str) -> str:
    before, after = change.before.get(column), change.after.get(column)
    # The trail shows nothing of what is personal or secret on either side.
    return f"{column} (not shown)" if before is None and after is None else f"{column} {_text(before)} → {_text(after)}"


def _text(value: object) -> str:
    return "nothing" if value in (None, "") else str(value)
