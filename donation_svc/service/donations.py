"""Donations: record what a checkout has charged, take it back, read."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from giving.common.v1.identity_pb2 import Identity
from giving.donation.v1 import donation_service_pb2 as messages
from giving.donation.v1.event_pb2 import DonationRefunded, DonationSucceeded

from donation_svc import convert
from donation_svc.domain.causes import RECORDABLE, Campaign, CharityState, recorded_amount_problem
from donation_svc.domain.donations import (
    Donation,
    DonationState,
    ExceedsRemaining,
    IllegalFact,
    Origin,
    Reversal,
    Reversed,
    Tally,
    advance,
)
from donation_svc.domain.payments import is_final
from donation_svc.feed import DonationFeed
from donation_svc.refusals import (
    CampaignNotFound,
    CampaignNotOpen,
    DonationNotFound,
    DonationStateConflict,
    PaymentRefNotFound,
    ReversalExceedsRemaining,
)
from donation_svc.service.access import Access
from donation_svc.service.charities import SOURCE, Wake
from donation_svc.store.donations import DonationStore, NewDonation, recent_id
from mesh import crashpoints, money, pages
from mesh.clock import Clock
from mesh.errors import IdempotencyKeyReused, InvalidArgument, Refusal
from mesh.events.log import EventLog, new_event
from mesh.fence import Fence, make_fence
from mesh.idempotency import request_key
from mesh.ids import new_id
from mesh.money import Money
from mesh.postgres import Connection, Database
from mesh.rpc.tenancy import tenant_of

# Two equal gifts of one donor within this time: the second carries a hint to the first.
DUPLICATE_HINT_WITHIN = datetime.timedelta(minutes=10)


class CampaignRules(Protocol):
    """What campaigns take."""

    async def get_many(self, campaign_ids: Sequence[UUID]) -> Mapping[UUID, tuple[Campaign, CharityState]]:
        """Campaigns by id, each with its charity's state; unknown ids are missing."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded donation, and whether an earlier call had recorded it."""

    donation: Donation
    replayed: bool


class Donations:
    """What was promised, and where it stands."""

    def __init__(
        self,
        *,
        database: Database,
        campaigns: CampaignRules,
        donations: DonationStore,
        access: Access,
        feed: DonationFeed,
        log: EventLog,
        tokens: pages.PageTokens,
        clock: Clock,
        wake: Wake,
    ) -> None:
        self._database = database
        self._campaigns = campaigns
        self._donations = donations
        self._access = access
        self._feed = feed
        self._log = log
        self._tokens = tokens
        self._clock = clock
        self._wake = wake

    async def record_donation(self, request: messages.RecordDonationRequest) -> Recorded:
        """The donation, new or from the first call.

        Raises:
            Refusal: as `record_all` answers for a single item.
        """
        outcome = (await self.record_all([request]))[0]
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    async def record_all(self, requests: Sequence[messages.RecordDonationRequest]) -> list[Recorded | Refusal]:
        """What became of each request, in their order; one that is refused spoils no other."""
        rules = await self._campaigns.get_many(list({UUID(request.campaign_id) for request in requests}))
        now = self._clock.now()
        drafts = [_draft(request, rules, now=now) for request in requests]
        new = [draft.new for draft in drafts if draft.new and not draft.refusal]
        hints = await self._donations.record(new, recent_id=recent_id(now, DUPLICATE_HINT_WITHIN)) if new else {}
        crashpoints.reach("donation.charged_recorded")
        if hints:
            self._wake()
        # Also what would be refused today: a repeat of what was accepted then gets the first answer.
        known = [draft.new for draft in drafts if draft.new and draft.new.donation.id not in hints]
        earlier = await self._donations.by_fences(known) if known else {}
        return [_outcome(draft, hints, earlier) for draft in drafts]

    async def reverse_recorded_donation(
        self, request: messages.ReverseRecordedDonationRequest
    ) -> tuple[Reversal, Donation, bool]:
        """The reversal, the donation after it, and whether an earlier call had made it.

        Raises:
            PaymentRefNotFound: nothing was recorded under the reference by this caller.
            ReversalExceedsRemaining: more would go back than is left.
            InvalidArgument: the amount is none, or of another currency.
            IdempotencyKeyReused: the refund reference was used for other content.
        """
        result = await self._database.run(lambda connection: self._reverse(connection, request))
        self._wake()
        return result

    async def _reverse(
        self, connection: Connection, request: messages.ReverseRecordedDonationRequest
    ) -> tuple[Reversal, Donation, bool]:
        amount = convert.money_from(request.amount)
        problem = money.amount_problem(amount.minor_units, amount.currency)
        if problem:
            raise InvalidArgument.of(f"amount.{problem[0]}", problem[1])
        fence = make_fence(request, method="ReverseRecordedDonation", key_field="refund_ref", tenant_id=request.charity_id)
        donation = await self._lock_recorded(connection, request, fence)
        earlier = await self._donations.reversal_by_fence(connection, charity_id=donation.charity_id, request_key=fence.key)
        if earlier:
            fence.demand_same(earlier[1])
            return earlier[0], donation, True
        return await self._reverse_new(connection, donation, amount, request.refund_ref, fence)

    async def _lock_recorded(
        self, connection: Connection, request: messages.ReverseRecordedDonationRequest, fence: Fence
    ) -> Donation:
        key = request_key(
            caller=fence.caller, method="RecordDonation", tenant_id=request.charity_id, key=request.payment_ref
        )
        donation = await self._donations.lock(connection, charity_id=UUID(request.charity_id), request_key=key)
        if donation is None:
            raise PaymentRefNotFound("nothing is recorded under this reference", payment_ref=request.payment_ref)
        return donation

    async def _reverse_new(
        self, connection: Connection, donation: Donation, amount: Money, refund_ref: str, fence: Fence
    ) -> tuple[Reversal, Donation, bool]:
        now = self._clock.now()
        after = _reversed(donation, amount, now=now)
        reversal = Reversal(new_id(tenant_id=donation.charity_id), donation.charity_id, donation.id, amount, refund_ref, now)
        data = DonationRefunded(change=convert.change_message(after, before=donation.tally, reversal_id=reversal.id))
        if not await self._donations.insert_reversal(connection, reversal, fence):
            # Reversals of one donation wait for its lock and were looked up; this one is of another donation.
            raise IdempotencyKeyReused("this key was used before with another content")
        await self._donations.update_tally(connection, after, fence)
        event = new_event(data, source=SOURCE, subject=after.id, version=after.version, time=now)
        await self._log.append(connection, [event])
        return reversal, after, False

    async def get_donation(self, donation_id: UUID, identity: Identity) -> Donation:
        """The donation.

        Raises:
            DonationNotFound: there is none, or it belongs to somebody else.
        """
        donation = await self._donations.get(donation_id)
        if donation is None or not self._access.may_see(identity, donation):
            raise DonationNotFound("no such donation", donation_id=donation_id)
        return donation

    async def watch_donation(self, donation_id: UUID, identity: Identity) -> AsyncIterator[Donation]:
        """The donation as it stands, then the latest after each change, until nothing more can come.

        Raises:
            DonationNotFound: there is none, or it belongs to somebody else.
        """
        with self._feed.watch(donation_id) as watcher:
            watcher.offer(await self.get_donation(donation_id, identity))
            while True:
                donation = await watcher.take()
                yield donation
                if is_final(donation):
                    return

    async def list_donations(self, request: messages.ListDonationsRequest, identity: Identity) -> tuple[list[Donation], str]:
        """A page of a donor's or a campaign's donations, newest first, and the token of the next.

        Raises:
            PermissionDenied: the caller belongs to no charity.
            PageTokenInvalid: the token is foreign.
        """
        query, owner = (
            ("donations_of_donor", request.donor_id) if request.donor_id else ("donations_of_campaign", request.campaign_id)
        )
        tenant = tenant_of(identity)
        list_name = f"{query} {owner} {tenant}"
        size = pages.page_size(request.page_size)
        before = self._tokens.read(request.page_token, list_name=list_name, start=pages.LAST)
        found = await self._donations.page(query, UUID(owner), before=before, limit=size + 1, charity_id=tenant)
        token = self._tokens.make(found[size - 1].id, list_name=list_name) if len(found) > size else ""
        return found[:size], token


@dataclass(frozen=True, slots=True)
class _Draft:
    """What a request would record, where its campaign is known; and why it must not."""

    new: NewDonation | None
    refusal: Refusal | None


def _draft(
    request: messages.RecordDonationRequest,
    rules: Mapping[UUID, tuple[Campaign, CharityState]],
    *,
    now: datetime.datetime,
) -> _Draft:
    found = rules.get(UUID(request.campaign_id))
    if found is None:
        return _Draft(None, CampaignNotFound("no such campaign", campaign_id=request.campaign_id))
    campaign, _ = found
    donation = _recorded_donation(request, campaign, now=now)
    fence = make_fence(request, method="RecordDonation", key_field="payment_ref", tenant_id=str(campaign.charity_id))
    data = DonationSucceeded(change=convert.change_message(donation, before=Tally()))
    event = new_event(data, source=SOURCE, subject=donation.id, version=1, time=now)
    return _Draft(NewDonation(donation, fence, event), _recording_refusal(donation.amount, campaign))


def _recording_refusal(amount: Money, campaign: Campaign) -> Refusal | None:
    problem = recorded_amount_problem(campaign, amount)
    if problem:
        return InvalidArgument.of(f"amount.{problem[0]}", problem[1])
    if campaign.state not in RECORDABLE:
        return CampaignNotOpen(
            "the campaign is a draft; activate it first", campaign_id=campaign.id, state=campaign.state.name
        )
    return None


def _recorded_donation(request: messages.RecordDonationRequest, campaign: Campaign, *, now: datetime.datetime) -> Donation:
    amount = convert.money_from(request.amount)
    return Donation(
        id=new_id(tenant_id=campaign.charity_id),
        charity_id=campaign.charity_id,
        campaign_id=campaign.id,
        donor_id=convert.optional_id(request.donor_id),
        origin=Origin.RECORDED,
        state=DonationState.SUCCEEDED,
        amount=amount,
        tally=Tally(gross=amount.minor_units, donations=1),
        anonymous=request.anonymous,
        version=1,
        create_time=now,
        update_time=now,
        settle_time=now,
        payment_ref=request.payment_ref,
        metadata=dict(request.metadata),
    )


def _outcome(
    draft: _Draft,
    hints: Mapping[UUID, UUID | None],
    earlier: Mapping[tuple[UUID, UUID], tuple[Donation, int]],
) -> Recorded | Refusal:
    new = draft.new
    if new is None:
        return _demanded(draft.refusal)
    if new.donation.id in hints:
        return Recorded(replace(new.donation, possible_duplicate_of=hints[new.donation.id]), replayed=False)
    found = earlier.get((new.donation.charity_id, new.fence.key))
    if found is None:
        return _demanded(draft.refusal)
    donation, digest = found
    if digest != new.fence.digest:
        return IdempotencyKeyReused("this key was used before with another content")
    return Recorded(donation, replayed=True)


def _demanded(refusal: Refusal | None) -> Refusal:
    if refusal is None:
        raise AssertionError("what is neither new nor known was refused")
    return refusal


def _reversed(donation: Donation, amount: Money, *, now: datetime.datetime) -> Donation:
    if amount.currency != donation.amount.currency:
        raise InvalidArgument.of("amount.currency", f"the donation is in {donation.amount.currency}")
    try:
        return advance(donation, Reversed(amount.minor_units), now=now)
    except ExceedsRemaining as error:
        raise ReversalExceedsRemaining(
            "more would go back than is left",
            donation_id=donation.id,
            remaining_minor_units=donation.tally.remaining,
        ) from error
    except IllegalFact as error:
        raise DonationStateConflict(
            "nothing can go back in this state", donation_id=donation.id, state=donation.state.name
        ) from error
