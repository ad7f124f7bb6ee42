"""Promises: recorded before any payment is tried, then made ready to be confirmed."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from giving.common.v1 import error_pb2
from giving.common.v1.identity_pb2 import Identity
from giving.donation.v1.donation_service_pb2 import CreateDonationRequest
from giving.donation.v1.event_pb2 import DonationCreated

from donation_svc import convert
from donation_svc.domain.causes import Campaign, CharityState, promised_amount_problem
from donation_svc.domain.donations import Donation, DonationState, Origin, Tally
from donation_svc.domain.fees import fee_cover
from donation_svc.domain.waiting import LOOK_AGAIN
from donation_svc.refusals import CampaignNotFound, ModeMismatch
from donation_svc.service.access import Access
from donation_svc.service.campaigns import closed_refusal
from donation_svc.service.charities import SOURCE
from donation_svc.service.donations import DUPLICATE_HINT_WITHIN, CampaignRules
from donation_svc.service.payments import Readiness, Readying
from donation_svc.service.personal import PersonalData, personal_words
from donation_svc.service.settlement import Announce
from donation_svc.store.donations import recent_id
from donation_svc.store.promises import PromiseStore
from mesh import crashpoints, money
from mesh.clock import Clock
from mesh.errors import FieldViolation, InvalidArgument, Refusal
from mesh.events.log import EventLog, NewEvent, new_event
from mesh.fence import Fence, make_fence
from mesh.ids import new_id
from mesh.money import Money
from mesh.postgres import Connection, Database
from mesh.rpc.call import caller_identity
from mesh.rpc.tenancy import sees_everything


@dataclass(frozen=True, slots=True)
class Promised:
    """A promise, what the donor confirms it with, what opens it to a guest, and whether an earlier call had made it."""

    donation: Donation
    client_secret: str
    access_token: str
    replayed: bool


class Promises:
    """Donations whose payment we take."""

    def __init__(
        self,
        *,
        database: Database,
        campaigns: CampaignRules,
        promises: PromiseStore,
        personal: PersonalData,
        readying: Readying,
        access: Access,
        payments_live: bool,
        log: EventLog,
        clock: Clock,
        announce: Announce,
    ) -> None:
        self._database = database
        self._campaigns = campaigns
        self._promises = promises
        self._personal = personal
        self._readying = readying
        self._access = access
        self._payments_live = payments_live
        self._log = log
        self._clock = clock
        self._announce = announce

    async def create_donation(self, request: CreateDonationRequest) -> Promised:
        """The promise, new or from the first call, with its payment as far as it is ready.

        Raises:
            InvalidArgument: the amount cannot be taken; a guest cannot be told from another, or asks what he may not.
            CampaignNotFound, CampaignNotOpen, CharitySuspended, ModeMismatch: nothing is taken.
            IdempotencyKeyReused: the request id was used for other content.
            Refusal: PROVIDER_UNAVAILABLE, as the payment service says it, where the campaign takes no promises meanwhile.
                The promise is recorded, so that its key stays good: a repeat goes on with it.
        """
        _demand_own_key(request, caller_identity())
        _demand_may_hold(request, caller_identity())
        if not caller_identity().subject:
            # However a UUID is written, it is the same key.
            request.request_id = request.request_id.lower()
        donation, campaign, replayed = await self._record(request)
        crashpoints.reach("donation.recorded")
        secret = ""
        if donation.is_confirmable:
            ready = await self._readying.make_ready(donation)
            _demand_taken(ready, campaign)
            donation, secret = ready.donation, ready.client_secret
        crashpoints.reach("donation.awaiting")
        return Promised(donation, secret, self._access.token_of(donation.id), replayed)

    async def client_secret(self, donation: Donation, identity: Identity) -> str:
        """What confirms a donation, where the caller may know it and there is something to confirm."""
        promised = donation.origin is Origin.INTENT
        if not donation.is_confirmable or not promised or not self._access.may_confirm(identity, donation):
            return ""
        return (await self._readying.make_ready(donation)).client_secret

    async def _record(self, request: CreateDonationRequest) -> tuple[Donation, Campaign, bool]:
        campaign, charity_state = await self._find(UUID(request.campaign_id))
        fence = make_fence(request, method="CreateDonation", key_field="request_id", tenant_id=str(campaign.charity_id))
        refusal = _refusal(request, campaign, charity_state) or self._mode_refusal(campaign)
        if refusal is None:
            promise = _promise(request, campaign, caller_identity(), now=self._clock.now())
            recorded = await self._database.run(lambda connection: self._insert(connection, promise, request, fence))
            if recorded:
                self._announce([recorded.id])
                return recorded, campaign, False
        # Also what would be refused today: a repeat of what was accepted then gets the first answer.
        earlier = await self._promises.by_fence(campaign.charity_id, fence)
        if earlier is None:
            raise refusal or AssertionError("what is neither new nor known was refused")
        fence.demand_same(earlier[1])
        return earlier[0], campaign, True

    def _mode_refusal(self, campaign: Campaign) -> Refusal | None:
        if campaign.live is self._payments_live:
            return None
        words = "this charity is live, and payments are in test mode here"
        opposite = "this charity is for tests, and payments here move real money"
        return ModeMismatch(words if campaign.live else opposite, charity_id=campaign.charity_id)

    async def _find(self, campaign_id: UUID) -> tuple[Campaign, CharityState]:
        found = await self._campaigns.get_many([campaign_id])
        if campaign_id not in found:
            raise CampaignNotFound("no such campaign", campaign_id=campaign_id)
        return found[campaign_id]

    async def _insert(
        self, connection: Connection, promise: Donation, request: CreateDonationRequest, fence: Fence
    ) -> Donation | None:
        since = recent_id(promise.create_time, DUPLICATE_HINT_WITHIN)
        recorded = await self._promises.insert(connection, promise, fence, recent_id=since)
        if recorded:
            await self._personal.keep(connection, recorded, personal_words(request), now=promise.create_time)
            await self._log.append(connection, [_created_event(recorded)])
        return recorded


def _demand_taken(ready: Readiness, campaign: Campaign) -> None:
    """A promise that waits for the provider to come back is a donor who does not pay now: charities choose to take those."""
    if campaign.accepts_deferred or ready.refusal is None:
        return
    if ready.refusal.reason_number == error_pb2.ERROR_REASON_PROVIDER_UNAVAILABLE:
        raise ready.refusal


def _demand_own_key(request: CreateDonationRequest, identity: Identity) -> None:
    """A stranger who guesses a key must not get another's donation: guests need random keys and a browser of their own."""
    if identity.subject:
        return
    violations = []
    if not _is_uuid(request.request_id):
        violations.append(FieldViolation("request_id", "must be a UUID; over REST it is the header Idempotency-Key"))
    if not identity.client_id:
        words = "open the campaign's page once, or send a cookie giving_client with a random UUID"
        violations.append(FieldViolation("cookie giving_client", words))
    if violations:
        raise InvalidArgument.of_fields(violations)


def _demand_may_hold(request: CreateDonationRequest, identity: Identity) -> None:
    """Money that nobody captures is held for a week for nothing: only those may ask for it who can capture."""
    if request.manual_capture and not sees_everything(identity):
        raise InvalidArgument.of("manual_capture", "is for services and operators")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _refusal(request: CreateDonationRequest, campaign: Campaign, charity_state: CharityState) -> Refusal | None:
    gift = convert.money_from(request.amount)
    problem = promised_amount_problem(campaign, gift)
    if problem:
        return InvalidArgument.of(f"amount.{problem[0]}", problem[1])
    if gift.minor_units + _cover(request) > money.MINOR_UNITS_MAX:
        return InvalidArgument.of("amount.minor_units", f"must be at most {money.MINOR_UNITS_MAX} with what covers the fee")
    return closed_refusal(campaign, charity_state)


def _cover(request: CreateDonationRequest) -> int:
    return fee_cover(request.amount.minor_units, request.amount.currency) if request.cover_fee else 0


def _promise(request: CreateDonationRequest, campaign: Campaign, identity: Identity, *, now: datetime.datetime) -> Donation:
    cover = _cover(request)
    metadata: Mapping[str, str] = dict(request.metadata)
    return Donation(
        id=new_id(tenant_id=campaign.charity_id),
        charity_id=campaign.charity_id,
        campaign_id=campaign.id,
        donor_id=convert.optional_id(identity.donor_id),
        origin=Origin.INTENT,
        state=DonationState.PENDING,
        amount=Money(request.amount.minor_units + cover, request.amount.currency),
        tally=Tally(),
        anonymous=request.anonymous,
        version=1,
        create_time=now,
        update_time=now,
        settle_time=None,
        metadata=metadata,
        fee_cover=cover,
        manual_capture=request.manual_capture,
        next_attempt_time=now + LOOK_AGAIN,
    )


def _created_event(donation: Donation) -> NewEvent:
    data = DonationCreated(change=convert.change_message(donation, before=Tally()))
    return new_event(data, source=SOURCE, subject=donation.id, version=donation.version, time=donation.create_time)
