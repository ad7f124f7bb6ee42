"""Logical calls as data: which method, which request, how its answer is read. Nothing here talks to anyone."""

from __future__ import annotations

import datetime
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from giving.aggregate.v1 import aggregate_service_pb2, totals_pb2
from giving.common.v1.money_pb2 import Money
from giving.donation.v1 import (
    campaign_pb2,
    campaign_service_pb2,
    charity_pb2,
    charity_service_pb2,
    donation_pb2,
    donation_service_pb2,
)
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from giving_client.answers import CampaignAnswer, CharityAnswer, DonationAnswer, PromiseAnswer, ReversalAnswer
from giving_client.errors import CORRELATION_KEY

AnswerT = TypeVar("AnswerT")

_DONATIONS = donation_service_pb2.DESCRIPTOR.services_by_name["DonationService"]
_CAMPAIGNS = campaign_service_pb2.DESCRIPTOR.services_by_name["CampaignService"]
_CHARITIES = charity_service_pb2.DESCRIPTOR.services_by_name["CharityService"]
_AGGREGATES = aggregate_service_pb2.DESCRIPTOR.services_by_name["AggregateService"]


@dataclass(frozen=True, slots=True)
class Operation(Generic[AnswerT]):
    """One logical call: every attempt sends the same request under the same correlation id."""

    service: ServiceDescriptor
    method: str
    request: Message
    # Gets the response and whether it repeats an earlier one.
    read: Callable[[Any, bool], AnswerT]
    timeout_s: float | None = None
    correlation_id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def path(self) -> str:
        return f"/{self.service.full_name}/{self.method}"

    @property
    def reads_totals(self) -> bool:
        """Whether the aggregator answers it."""
        return self.service is _AGGREGATES

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return ((CORRELATION_KEY, self.correlation_id),)

    @property
    def codecs(self) -> Mapping[str, Callable[..., Any]]:
        """How the request becomes bytes, and bytes the response."""
        response_class = message_factory.GetMessageClass(self.service.methods_by_name[self.method].output_type)
        return {
            "request_serializer": type(self.request).SerializeToString,
            "response_deserializer": response_class.FromString,
        }


@dataclass(frozen=True, slots=True)
class DonationPage:
    donations: tuple[donation_pb2.Donation, ...]
    next_page_token: str


def get_offer(
    *,
    campaign_id: str,
    order_minor_units: int | None = None,
    currency: str = "",
    timeout_s: float | None = None,
) -> Operation[donation_service_pb2.GetDonationOfferResponse]:
    """What a checkout can offer: presets, and the round-up of an order's total where one is given."""
    total = None if order_minor_units is None else Money(minor_units=order_minor_units, currency=currency)
    request = donation_service_pb2.GetDonationOfferRequest(campaign_id=campaign_id, order_total=total)
    return Operation(_DONATIONS, "GetDonationOffer", request, lambda response, _: response, timeout_s)


def create_donation(
    *,
    campaign_id: str,
    minor_units: int,
    currency: str,
    cover_fee: bool = False,
    anonymous: bool = False,
    donor_name: str = "",
    donor_email: str = "",
    message: str = "",
    locale: str = "",
    metadata: Mapping[str, str] | None = None,
    manual_capture: bool = False,
    request_id: str | None = None,
    timeout_s: float | None = None,
) -> Operation[PromiseAnswer]:
    """Promises a donation that the donor pays himself, by confirming with the client secret at the provider.

    Where the provider is slow the secret is empty: call again with the same `request_id`, or ask `get_client_secret`.
    With `manual_capture` the money is only held on the donor's card, until `hold_end_time` of the donation at the latest.
    """
    request = donation_service_pb2.CreateDonationRequest(
        request_id=request_id or new_request_id(),
        campaign_id=campaign_id,
        amount=Money(minor_units=minor_units, currency=currency),
        cover_fee=cover_fee,
        anonymous=anonymous,
        donor_name=donor_name,
        donor_email=donor_email,
        message=message,
        locale=locale,
        metadata=metadata,
        manual_capture=manual_capture,
    )
    return Operation(_DONATIONS, "CreateDonation", request, _promise_answer, timeout_s)


def record_donation(
    *,
    campaign_id: str,
    minor_units: int,
    currency: str,
    payment_ref: str,
    donor_id: str | None = None,
    anonymous: bool = False,
    metadata: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> Operation[DonationAnswer]:
    """Records a donation that was charged; `payment_ref` is the key: any number of repeats records it once."""
    request = donation_service_pb2.RecordDonationRequest(
        payment_ref=payment_ref,
        campaign_id=campaign_id,
        amount=Money(minor_units=minor_units, currency=currency),
        donor_id=donor_id or "",
        anonymous=anonymous,
        metadata=metadata,
    )
    return Operation(_DONATIONS, "RecordDonation", request, _donation_answer, timeout_s)


def reverse_recorded_donation(
    *,
    charity_id: str,
    payment_ref: str,
    refund_ref: str,
    minor_units: int,
    currency: str,
    timeout_s: float | None = None,
) -> Operation[ReversalAnswer]:
    """Takes back all or part of a recorded donation; `refund_ref` is the key."""
    request = donation_service_pb2.ReverseRecordedDonationRequest(
        refund_ref=refund_ref,
        charity_id=charity_id,
        payment_ref=payment_ref,
        amount=Money(minor_units=minor_units, currency=currency),
    )
    return Operation(_DONATIONS, "ReverseRecordedDonation", request, _reversal_answer, timeout_s)


def refund_donation(
    *,
    donation_id: str,
    minor_units: int | None = None,
    currency: str = "",
    reason: str = "",
    request_id: str | None = None,
    timeout_s: float | None = None,
) -> Operation[DonationAnswer]:
    """Gives a promise's money back through the provider: so much of it, without `minor_units` all that is left.

    Where the provider is slow `refunded` of the donation grows later, as `get_donation` shows.
    """
    request = donation_service_pb2.RefundDonationRequest(
        request_id=request_id or new_request_id(),
        donation_id=donation_id,
        amount=None if minor_units is None else Money(minor_units=minor_units, currency=currency),
        reason=reason,
    )
    return Operation(_DONATIONS, "RefundDonation", request, _donation_answer, timeout_s)


def get_donation(*, donation_id: str, timeout_s: float | None = None) -> Operation[donation_pb2.Donation]:
    """One donation as it stands."""
    request = donation_service_pb2.GetDonationRequest(donation_id=donation_id)
    return Operation(_DONATIONS, "GetDonation", request, lambda response, _: response.donation, timeout_s)


def get_client_secret(*, donation_id: str, timeout_s: float | None = None) -> Operation[str]:
    """What the donor confirms a promise with; empty while its payment is not ready, and where nothing is to be confirmed."""
    request = donation_service_pb2.GetDonationRequest(donation_id=donation_id, include_client_secret=True)
    return Operation(_DONATIONS, "GetDonation", request, lambda response, _: response.client_secret, timeout_s)


def watch_donation(*, donation_id: str, timeout_s: float) -> Operation[donation_pb2.Donation]:
    """A stream of a donation's states, from the one in which it is."""
    request = donation_service_pb2.WatchDonationRequest(donation_id=donation_id)
    return Operation(_DONATIONS, "WatchDonation", request, lambda response, _: response.donation, timeout_s)


def list_page(
    *, donor_id: str, campaign_id: str, page_size: int, page_token: str, timeout_s: float | None
) -> Operation[DonationPage]:
    """One page of a donor's or a campaign's donations."""
    request = donation_service_pb2.ListDonationsRequest(
        donor_id=donor_id, campaign_id=campaign_id, page_size=page_size, page_token=page_token
    )
    return Operation(_DONATIONS, "ListDonations", request, _page, timeout_s)


def create_charity(
    *,
    display_name: str,
    mode: charity_pb2.Charity.Mode.ValueType,
    default_currency: str,
    time_zone: str,
    request_id: str | None = None,
    timeout_s: float | None = None,
) -> Operation[CharityAnswer]:
    """Creates a charity; `time_zone` is an IANA name."""
    request = charity_service_pb2.CreateCharityRequest(
        request_id=request_id or new_request_id(),
        display_name=display_name,
        mode=mode,
        default_currency=default_currency,
        time_zone=time_zone,
    )
    return Operation(
        _CHARITIES,
        "CreateCharity",
        request,
        lambda response, replayed: CharityAnswer(response.charity, replayed),
        timeout_s,
    )


def create_campaign(
    *,
    charity_id: str,
    display_name: str,
    currency_rules: Iterable[campaign_pb2.CurrencyRule],
    description: str = "",
    start_time: datetime.datetime | None = None,
    end_time: datetime.datetime | None = None,
    request_id: str | None = None,
    timeout_s: float | None = None,
) -> Operation[CampaignAnswer]:
    """Creates a campaign as a draft. Times need a zone."""
    request = campaign_service_pb2.CreateCampaignRequest(
        request_id=request_id or new_request_id(),
        charity_id=charity_id,
        display_name=display_name,
        description=description,
        currency_rules=currency_rules,
        start_time=_timestamp(start_time),
        end_time=_timestamp(end_time),
    )
    return Operation(_CAMPAIGNS, "CreateCampaign", request, _campaign_answer, timeout_s)


def activate_campaign(
    *, campaign_id: str, request_id: str | None = None, timeout_s: float | None = None
) -> Operation[CampaignAnswer]:
    """Opens a campaign."""
    request = campaign_service_pb2.ActivateCampaignRequest(
        request_id=request_id or new_request_id(), campaign_id=campaign_id
    )
    return Operation(_CAMPAIGNS, "ActivateCampaign", request, _campaign_answer, timeout_s)


def get_totals(*, campaign_id: str, timeout_s: float | None = None) -> Operation[totals_pb2.CampaignTotals]:
    """What a campaign has raised."""
    request = aggregate_service_pb2.GetTotalsRequest(campaign_id=campaign_id)
    return Operation(_AGGREGATES, "GetTotals", request, lambda response, _: response.totals, timeout_s)


def watch_totals(*, campaign_id: str, after_version: int, timeout_s: float) -> Operation[totals_pb2.CampaignTotals]:
    """A stream of totals that are newer than a version."""
    request = aggregate_service_pb2.WatchTotalsRequest(campaign_id=campaign_id, after_version=after_version)
    return Operation(_AGGREGATES, "WatchTotals", request, lambda response, _: response.totals, timeout_s)


def new_request_id() -> str:
    """A key for one logical call."""
    return str(uuid.uuid4())


def _donation_answer(response: Any, replayed: bool) -> DonationAnswer:
    return DonationAnswer(response.donation, replayed)


def _promise_answer(response: Any, replayed: bool) -> PromiseAnswer:
    return PromiseAnswer(response.donation, response.client_secret, response.access_token, replayed)


def _reversal_answer(response: Any, replayed: bool) -> ReversalAnswer:
    return ReversalAnswer(response.reversal, response.donation, replayed)


def _campaign_answer(response: Any, replayed: bool) -> CampaignAnswer:
    return CampaignAnswer(response.campaign, replayed)


def _page(response: Any, _replayed: bool) -> DonationPage:
    return DonationPage(tuple(response.donations), response.next_page_token)


def _timestamp(time: datetime.datetime | None) -> Timestamp | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError("a time needs a zone")
    message = Timestamp()
    message.FromDatetime(time)
    return message
