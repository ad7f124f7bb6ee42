"""Refunds through the provider: ours to ask for, the payment service's to decide."""

from __future__ import annotations

from uuid import UUID

from giving.common.v1 import error_pb2
from giving.donation.v1.donation_service_pb2 import RefundDonationRequest

from donation_svc import convert
from donation_svc.domain.donations import Donation, Origin
from donation_svc.refusals import DonationNotFound, DonationStateConflict, ReversalExceedsRemaining
from donation_svc.service.payments import Payments, RefundAnswer
from donation_svc.service.settlement import Settlement
from donation_svc.store.charities import CommandStore
from donation_svc.store.donations import DonationStore
from mesh import crashpoints, money
from mesh.clock import Clock
from mesh.errors import InvalidArgument, Refusal
from mesh.fence import Fence, make_fence
from mesh.postgres import Connection, Database
from mesh.rpc.call import caller_identity
from mesh.rpc.tenancy import may_touch

_METHOD = "RefundDonation"


class Refunds:
    """What goes back to donors because somebody of ours asks for it."""

    def __init__(
        self,
        *,
        database: Database,
        donations: DonationStore,
        commands: CommandStore,
        payments: Payments,
        settlement: Settlement,
        clock: Clock,
    ) -> None:
        self._database = database
        self._donations = donations
        self._commands = commands
        self._payments = payments
        self._settlement = settlement
        self._clock = clock

    async def refund_donation(self, request: RefundDonationRequest) -> tuple[Donation, bool]:
        """The donation after the refund, and whether an earlier call had made it.

        Raises:
            DonationNotFound: there is none, or it belongs to somebody else.
            DonationStateConflict: it does not count, or a checkout recorded it.
            ReversalExceedsRemaining: more would go back than is left.
            InvalidArgument: the amount is none, or of another currency.
            IdempotencyKeyReused: the request id was used for other content.
            Refusal: the provider said no, or the payment service did not answer.
        """
        donation = await self._find(request)
        _demand_refundable(donation, request)
        fence = make_fence(request, method=_METHOD, key_field="request_id", tenant_id=str(donation.charity_id))
        is_new = await self._database.run(lambda connection: self._is_new(connection, donation, request, fence))
        crashpoints.reach("donation.refund_recorded")
        answer = await self._ask(donation, request, fence)
        crashpoints.reach("donation.refund_made")
        # A call that recorded its key and died before it asked has made nothing.
        return await self._settlement.learn(donation, answer.word), answer.replayed and not is_new

    async def _find(self, request: RefundDonationRequest) -> Donation:
        donation = await self._donations.get(UUID(request.donation_id))
        if donation is None or not may_touch(caller_identity(), donation.charity_id):
            raise DonationNotFound("no such donation", donation_id=request.donation_id)
        return donation

    async def _is_new(
        self, connection: Connection, donation: Donation, request: RefundDonationRequest, fence: Fence
    ) -> bool:
        return await self._commands.is_new(
            connection,
            fence,
            charity_id=donation.charity_id,
            method=_METHOD,
            subject_id=donation.id,
            reason=request.reason,
            now=self._clock.now(),
        )

    async def _ask(self, donation: Donation, request: RefundDonationRequest, fence: Fence) -> RefundAnswer:
        """Asks under a key that is made of the caller's: a repeat asks for the same refund."""
        try:
            return await self._payments.refund_payment(convert.refund_request(donation, request, key=str(fence.key)))
        except Refusal as refusal:
            ours = _of_the_donation(refusal, donation)
            if ours is None:
                raise
            raise ours from refusal


def _demand_refundable(donation: Donation, request: RefundDonationRequest) -> None:
    """What only the payment service can know, it decides."""
    if donation.origin is Origin.RECORDED:
        words = "a checkout has charged this; it takes it back by ReverseRecordedDonation"
        raise DonationStateConflict(words, donation_id=donation.id, state=donation.state.name)
    if donation.payment_id is None:
        raise _nothing_to_give_back(donation)
    if not request.HasField("amount"):
        return
    problem = money.amount_problem(request.amount.minor_units, request.amount.currency)
    if problem:
        raise InvalidArgument.of(f"amount.{problem[0]}", problem[1])
    if request.amount.currency != donation.amount.currency:
        raise InvalidArgument.of("amount.currency", f"the donation is in {donation.amount.currency}")


def _of_the_donation(refusal: Refusal, donation: Donation) -> Refusal | None:
    """What the payment service refuses about its payment, said of the donation; None for every other refusal."""
    if refusal.reason_number == error_pb2.ERROR_REASON_REFUND_EXCEEDS_REMAINING:
        return ReversalExceedsRemaining(
            "more would go back than is left",
            donation_id=donation.id,
            remaining_minor_units=refusal.metadata["remaining_minor_units"],
        )
    if refusal.reason_number == error_pb2.ERROR_REASON_PAYMENT_STATE_CONFLICT:
        return _nothing_to_give_back(donation)
    return None


def _nothing_to_give_back(donation: Donation) -> DonationStateConflict:
    return DonationStateConflict("nothing can go back in this state", donation_id=donation.id, state=donation.state.name)
