"""What was not taken when it was looked for: it is looked for once more, and is a violation once nothing is under way.

A broker that is away, or a consumer that stands still, makes events late and loses none. What a consumer could not apply
is kept as a dead letter and in a list of operators: that is late too, and visible.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from giving.common.v1.event_pb2 import Event
from giving.payment.v1.event_pb2 import PaymentChanged
from nats.errors import Error as NatsError

from cli.invariants.flows import Flow, Missing
from cli.invariants.invariant import Findings
from cli.invariants.quiet import under_way
from cli.invariants.view import NotHere, View

_FOLLOWS_PAYMENTS = "donation-payments"
_LETTERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Late:
    """Events by consumer and day; donations with versions of their payments, and campaigns with theirs, not known yet."""

    events: list[tuple[Flow, Missing]] = field(default_factory=list)
    donations: Mapping[UUID, int] = field(default_factory=dict)
    campaigns: Mapping[UUID, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.donations or self.campaigns or any(ids for _, days in self.events for ids in days.values()))


async def waits(view: View) -> str:
    """Why something may still be late; empty where nothing is under way."""
    try:
        return "; ".join(await under_way(view))
    except NotHere as reason:
        return str(reason)
    except (NatsError, OSError) as error:
        return f"NATS does not answer ({type(error).__name__})"


async def judge(view: View, findings: Findings, late: Late) -> None:
    """Adds what is still late though nothing is under way; of the rest a note says how much, and what it waits for."""
    if not late:
        return
    await view.moment()
    reason = await waits(view)
    count = 0
    async for key, words in _still_late(view, late):
        if reason:
            count += 1
        else:
            findings.add(key, words)
    if count:
        findings.note(f"{count} changes are not everywhere yet: {reason}")


async def _still_late(view: View, late: Late) -> AsyncIterator[tuple[UUID, str]]:
    for flow, days in late.events:
        async for event_id in _events(view, flow, days):
            yield event_id, f"{flow.consumer} did not take this event, and nothing is under way"
    async for donation_id, version in _donations(view, late.donations):
        yield donation_id, f"has not heard version {version} of its payment, and nothing is under way"
    async for campaign_id, version in _campaigns(view, late.campaigns):
        yield campaign_id, f"the aggregator does not know version {version} of this campaign, and nothing is under way"


async def _events(view: View, flow: Flow, days: Missing) -> AsyncIterator[UUID]:
    async with view.present(flow.service) as reading:
        for day, ids in days.items():
            taken = {row["event_id"] for row in await reading.all("taken", day, ids, flow.consumer)}
            for event_id in ids:
                if event_id not in taken:
                    yield event_id


async def _donations(view: View, versions: Mapping[UUID, int]) -> AsyncIterator[tuple[UUID, int]]:
    if not versions:
        return
    async with view.present("donation") as reading:
        heard = {row["id"]: row["payment_version"] for row in await reading.all("donations_by_id", list(versions))}
        letters = await reading.all("letters_kept", _FOLLOWS_PAYMENTS, _LETTERS_MAX)
    kept = {PaymentChanged.FromString(Event.FromString(row["event"]).data).donation_id for row in letters}
    for donation_id, version in versions.items():
        if heard.get(donation_id, 0) < version and str(donation_id) not in kept:
            yield donation_id, version


async def _campaigns(view: View, versions: Mapping[UUID, int]) -> AsyncIterator[tuple[UUID, int]]:
    if not versions:
        return
    async with view.present("aggregator") as reading:
        known = {row["id"]: row["campaign_version"] for row in await reading.all("campaign_words")}
    for campaign_id, version in versions.items():
        if known.get(campaign_id, 0) < version:
            yield campaign_id, version
