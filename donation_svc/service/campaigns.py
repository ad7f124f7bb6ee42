"""Campaigns: create, open, pause, read, and what a checkout may offer for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from giving.donation.v1 import campaign_service_pb2 as messages
from giving.donation.v1.event_pb2 import CampaignChanged

from donation_svc import convert
from donation_svc.domain.causes import (
    CAMPAIGN_MOVES,
    Campaign,
    CampaignMove,
    CampaignState,
    Charity,
    CharityState,
    CurrencyRule,
    Offer,
    make_offer,
)
from donation_svc.refusals import (
    CampaignNotFound,
    CampaignNotOpen,
    CampaignStateConflict,
    CharityNotFound,
    CharitySuspended,
)
from donation_svc.service.charities import SOURCE, Wake
from donation_svc.store.campaigns import CampaignStore
from donation_svc.store.charities import CharityStore, CommandStore
from mesh import money, pages
from mesh.clock import Clock
from mesh.errors import FieldViolation, InvalidArgument, Refusal
from mesh.events.log import EventLog, NewEvent, new_event
from mesh.fence import Fence, make_fence
from mesh.ids import new_id
from mesh.money import Money
from mesh.postgres import Connection, Database
from mesh.rpc.call import caller_identity
from mesh.rpc.tenancy import may_touch

MoveRequest = messages.ActivateCampaignRequest | messages.PauseCampaignRequest


class Campaigns:
    """What people give to."""

    def __init__(
        self,
        *,
        database: Database,
        charities: CharityStore,
        campaigns: CampaignStore,
        commands: CommandStore,
        log: EventLog,
        tokens: pages.PageTokens,
        clock: Clock,
        wake: Wake,
    ) -> None:
        self._database = database
        self._charities = charities
        self._campaigns = campaigns
        self._commands = commands
        self._log = log
        self._tokens = tokens
        self._clock = clock
        self._wake = wake

    async def create_campaign(self, request: messages.CreateCampaignRequest) -> tuple[Campaign, bool]:
        """The draft, and whether an earlier call had created it.

        Raises:
            CharityNotFound, CharitySuspended: nobody receives.
            InvalidArgument: a currency or one of its amounts cannot be taken.
            IdempotencyKeyReused: the request id was used for other content.
        """
        rules = _rules(request)
        charity_id = UUID(request.charity_id)
        charity = await self._charities.get(charity_id)
        if charity is None or not may_touch(caller_identity(), charity_id):
            raise CharityNotFound("no such charity", charity_id=charity_id)
        fence = make_fence(request, method="CreateCampaign", key_field="request_id", tenant_id=request.charity_id)
        campaign = self._draft(request, charity, rules)
        if charity.state is CharityState.SUSPENDED:
            earlier = await self._campaigns.by_fence(charity_id, fence)
            if earlier is None:
                raise CharitySuspended("the charity is suspended", charity_id=charity_id)
        else:
            earlier = await self._campaigns.insert(campaign, fence, campaign_event(campaign))
        if earlier is None:
            self._wake()
            return campaign, False
        fence.demand_same(earlier[1])
        return await self.get_campaign(earlier[0]), True

    def _draft(
        self, request: messages.CreateCampaignRequest, charity: Charity, rules: Mapping[str, CurrencyRule]
    ) -> Campaign:
        now = self._clock.now()
        return Campaign(
            id=new_id(tenant_id=charity.id),
            charity_id=charity.id,
            charity_display_name=charity.display_name,
            display_name=request.display_name,
            description=request.description,
            state=CampaignState.DRAFT,
            rules=rules,
            start_time=convert.time_from(request.start_time) if request.HasField("start_time") else None,
            end_time=convert.time_from(request.end_time) if request.HasField("end_time") else None,
            version=1,
            create_time=now,
            update_time=now,
            accepts_deferred=request.accepts_deferred,
        )

    async def activate_campaign(self, request: messages.ActivateCampaignRequest) -> tuple[Campaign, bool]:
        """The open campaign, and whether this call repeats an earlier one.

        Raises:
            CampaignNotFound, CampaignStateConflict, IdempotencyKeyReused: it does not open.
        """
        return await self._move(request, "ActivateCampaign", CampaignMove.ACTIVATE)

    async def pause_campaign(self, request: messages.PauseCampaignRequest) -> tuple[Campaign, bool]:
        """The paused campaign, and whether this call repeats an earlier one.

        Raises:
            CampaignNotFound, CampaignStateConflict, IdempotencyKeyReused: it does not pause.
        """
        return await self._move(request, "PauseCampaign", CampaignMove.PAUSE)

    async def _move(self, request: MoveRequest, method: str, move: CampaignMove) -> tuple[Campaign, bool]:
        result = await self._database.run(lambda connection: self._move_in(connection, request, method, move))
        self._wake()
        return result

    async def _move_in(
        self, connection: Connection, request: MoveRequest, method: str, move: CampaignMove
    ) -> tuple[Campaign, bool]:
        campaign = await self._campaigns.lock(connection, UUID(request.campaign_id))
        if campaign is None or not may_touch(caller_identity(), campaign.charity_id):
            raise CampaignNotFound("no such campaign", campaign_id=request.campaign_id)
        fence = make_fence(request, method=method, key_field="request_id", tenant_id=str(campaign.charity_id))
        is_new = await self._commands.is_new(
            connection,
            fence,
            charity_id=campaign.charity_id,
            method=method,
            subject_id=campaign.id,
            reason="",
            now=self._clock.now(),
        )
        return (await self._apply(connection, campaign, move, fence), False) if is_new else (campaign, True)

    async def _apply(self, connection: Connection, campaign: Campaign, move: CampaignMove, fence: Fence) -> Campaign:
        target = CAMPAIGN_MOVES.get((campaign.state, move))
        if target is None:
            raise CampaignStateConflict(
                f"a campaign that is {campaign.state.name.lower()} cannot become {move.value.name.lower()}",
                campaign_id=campaign.id,
                state=campaign.state.name,
                target=move.value.name,
            )
        if target is campaign.state:
            return campaign
        now = self._clock.now()
        moved = replace(campaign, state=target, version=campaign.version + 1, update_time=now)
        await self._campaigns.set_state(connection, campaign.id, target, fence, now=now)
        await self._log.append(connection, [campaign_event(moved)])
        return moved

    async def get_campaign(self, campaign_id: UUID) -> Campaign:
        """The campaign.

        Raises:
            CampaignNotFound: there is none.
        """
        return (await self._find(campaign_id))[0]

    async def _find(self, campaign_id: UUID) -> tuple[Campaign, CharityState]:
        found = await self._campaigns.get_many([campaign_id])
        if campaign_id not in found:
            raise CampaignNotFound("no such campaign", campaign_id=campaign_id)
        return found[campaign_id]

    async def list_campaigns(self, request: messages.ListCampaignsRequest) -> tuple[list[Campaign], str]:
        """A page, newest first, and the token of the next.

        Raises:
            PageTokenInvalid: the token is foreign.
        """
        list_name = f"campaigns of {request.charity_id}"
        size = pages.page_size(request.page_size)
        before = self._tokens.read(request.page_token, list_name=list_name, start=pages.LAST)
        found = await self._campaigns.page(UUID(request.charity_id), before=before, limit=size + 1)
        token = self._tokens.make(found[size - 1].id, list_name=list_name) if len(found) > size else ""
        return found[:size], token

    async def get_donation_offer(self, campaign_id: UUID, order_total: Money | None) -> Offer:
        """What a checkout may show.

        Raises:
            CampaignNotFound, CampaignNotOpen, CharitySuspended: there is nothing to offer.
            InvalidArgument: the campaign does not take the order's currency.
        """
        campaign, charity_state = await self._find(campaign_id)
        refusal = closed_refusal(campaign, charity_state)
        if refusal:
            raise refusal
        if order_total and order_total.minor_units < 0:
            raise InvalidArgument.of("order_total.minor_units", "must not be negative")
        offer = make_offer(campaign, order_total)
        if offer is None:
            taken = ", ".join(sorted(campaign.rules))
            raise InvalidArgument.of("order_total.currency", f"this campaign takes {taken}")
        return offer


def closed_refusal(campaign: Campaign, charity_state: CharityState) -> Refusal | None:
    """Why a campaign takes no new gift now; None where it does."""
    if charity_state is CharityState.SUSPENDED:
        return CharitySuspended("the charity is suspended", charity_id=campaign.charity_id)
    if campaign.state is not CampaignState.ACTIVE:
        return CampaignNotOpen("the campaign takes no gifts now", campaign_id=campaign.id, state=campaign.state.name)
    return None


def campaign_event(campaign: Campaign) -> NewEvent:
    """The announcement of a campaign's change."""
    data = CampaignChanged(campaign=convert.campaign_message(campaign))
    return new_event(data, source=SOURCE, subject=campaign.id, version=campaign.version, time=campaign.update_time)


def _rules(request: messages.CreateCampaignRequest) -> Mapping[str, CurrencyRule]:
    rules = [convert.rule_from(message) for message in request.currency_rules]
    violations = [
        FieldViolation(f"currency_rules[{index}].{field}", description)
        for index, rule in enumerate(rules)
        for field, description in _rule_problems(rule)
    ]
    if violations:
        raise InvalidArgument.of_fields(violations)
    return {rule.currency: rule for rule in rules}


def _rule_problems(rule: CurrencyRule) -> list[tuple[str, str]]:
    amounts = [("minor_units_min", rule.minor_units_min), ("minor_units_max", rule.minor_units_max)]
    amounts += [(f"preset_minor_units[{index}]", preset) for index, preset in enumerate(rule.presets)]
    problems = [(name, money.amount_problem(amount, rule.currency)) for name, amount in amounts]
    if not money.is_supported(rule.currency):
        return [("currency", "is not a supported currency")]
    return [(name, problem[1]) for name, problem in problems if problem]
