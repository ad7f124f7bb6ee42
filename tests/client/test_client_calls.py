"""Both clients against a real server: the same calls, the same answers, the same errors."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from giving.common.v1.money_pb2 import Money
from giving.donation.v1.charity_pb2 import Charity
from giving.donation.v1.donation_pb2 import Donation
from giving_client import AsyncMeshClient, MeshClient, MeshError, RetryPolicy, courses

from donation_svc.domain.donations import DonationState
from donation_svc.domain.payments import is_final
from donation_svc.refusals import CampaignNotFound
from mesh.errors import DependencyUnavailable, InvalidArgument, Overloaded, RequestInFlight, RequestTooLarge
from tests.client.conftest import Server

CAMPAIGN = "0190b4a2-0000-7000-8000-00000000c0de"
GIFT = {"campaign_id": CAMPAIGN, "minor_units": 250, "currency": "USD", "payment_ref": "order-1"}
IN_FLIGHT = RequestInFlight("still running", retry_after_s=1)


class Client:
    """Either client, called in the same way."""

    def __init__(self, *, kind: str, target: str, **settings: Any) -> None:
        self.pauses: list[float] = []
        if kind == "blocking":
            self.client: Any = MeshClient(target, sleep=self.pauses.append, **settings)
        else:
            self.client = AsyncMeshClient(target, sleep=self._note, **settings)

    async def _note(self, pause_s: float) -> None:
        self.pauses.append(pause_s)

    async def call(self, name: str, **arguments: Any) -> Any:
        method = getattr(self.client, name)
        if isinstance(self.client, MeshClient):
            return await asyncio.to_thread(method, **arguments)
        return await method(**arguments)

    async def take(self, count: int, name: str, **arguments: Any) -> list[Any]:
        """The first items of an iterator."""
        items = getattr(self.client, name)(**arguments)
        if isinstance(self.client, MeshClient):
            return await asyncio.to_thread(lambda: list(itertools.islice(items, count)))
        taken = []
        async for item in items:
            taken.append(item)
            if len(taken) == count:
                break
        await items.aclose()
        return taken

    async def close(self) -> None:
        closing = self.client.close()
        if closing is not None:
            await closing


@pytest.fixture(params=["blocking", "asynchronous"])
async def make_client(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(**settings: Any) -> Client:
        made.append(Client(kind=request.param, target=server.target, **settings))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
async def client(make_client: Callable[..., Client]) -> Client:
    """Made inside of the loop that the asynchronous one belongs to."""
    return make_client()


@pytest.mark.requirement("INT-9")
async def test_a_recorded_donation_carries_what_was_given(client: Client, server: Server) -> None:
    answer = await client.call("record_donation", **GIFT, donor_id="d0", anonymous=True, metadata={"till": "7"})
    (request,) = server.script.requests
    assert (request.donor_id, request.anonymous, dict(request.metadata)) == ("d0", True, {"till": "7"})
    assert request.amount == Money(minor_units=250, currency="USD")
    assert (answer.donation.payment_ref, answer.replayed) == ("order-1", False)


@pytest.mark.requirement("INT-9")
async def test_an_answer_says_when_it_repeats_an_earlier_one(client: Client, server: Server) -> None:
    server.script.replayed = True
    reversal = {"charity_id": "c", "payment_ref": "order-1", "refund_ref": "refund-1", "minor_units": 5, "currency": "USD"}
    assert (await client.call("record_donation", **GIFT)).replayed
    assert (await client.call("reverse_recorded_donation", **reversal)).replayed


PROMISE = {"campaign_id": CAMPAIGN, "minor_units": 2500, "currency": "USD"}


@pytest.mark.requirement("INT-9")
async def test_a_promise_carries_what_was_given_and_brings_what_the_donor_confirms_with(
    client: Client, server: Server
) -> None:
    person = {"donor_name": "Ada", "donor_email": "ada@example.org", "message": "for Bo", "locale": "en-GB"}
    flags = {"cover_fee": True, "anonymous": True, "manual_capture": True}
    answer = await client.call("create_donation", **PROMISE, **person, **flags, metadata={"a": "b"})
    (request,) = server.script.requests
    assert request.amount == Money(minor_units=2500, currency="USD")
    assert {name: getattr(request, name) for name in person | flags} == person | flags
    assert dict(request.metadata) == {"a": "b"}
    assert (answer.client_secret, answer.access_token, answer.replayed) == ("pi_1_secret_2", "gdt_x", False)
    assert answer.donation.donation_id == "d"


@pytest.mark.requirement("INT-9")
async def test_a_promise_is_made_once_however_often_its_answer_is_lost(client: Client, server: Server) -> None:
    server.script.steps.extend([grpc.StatusCode.DEADLINE_EXCEEDED, IN_FLIGHT])
    await client.call("create_donation", **PROMISE)
    await client.call("create_donation", **PROMISE)
    await client.call("create_donation", **PROMISE, request_id="a key of mine")
    keys = [request.request_id for request in server.script.requests]
    assert len(keys) == 5
    assert len(set(keys[:3])) == 1
    assert len({keys[0], keys[3]}) == 2
    assert keys[4] == "a key of mine"


@pytest.mark.requirement("INT-9", "PAY-5")
async def test_a_refund_carries_what_goes_back_and_is_asked_for_once_whatever_is_lost(
    client: Client, server: Server
) -> None:
    server.script.steps.append(grpc.StatusCode.DEADLINE_EXCEEDED)
    part = await client.call("refund_donation", donation_id="d1", minor_units=5, currency="USD", reason="twice")
    await client.call("refund_donation", donation_id="d1", request_id="a key of mine")

    first, again, rest = server.script.requests
    assert first == again
    assert (first.amount, first.reason, first.donation_id) == (Money(minor_units=5, currency="USD"), "twice", "d1")
    assert (rest.HasField("amount"), rest.request_id) == (False, "a key of mine")
    assert (part.donation.refunded.minor_units, part.replayed) == (5, False)


async def test_what_confirms_a_promise_can_be_asked_for_later(client: Client, server: Server) -> None:
    assert await client.call("get_client_secret", donation_id="d1") == "s"
    await client.call("get_donation", donation_id="d1")
    assert [request.include_client_secret for request in server.script.requests] == [True, False]


@pytest.mark.requirement("INT-9")
async def test_an_offer_is_asked_with_or_without_an_order(client: Client, server: Server) -> None:
    offer = await client.call("get_offer", campaign_id=CAMPAIGN, order_minor_units=1234, currency="USD")
    assert offer.round_up.minor_units == 1234
    await client.call("get_offer", campaign_id=CAMPAIGN)
    assert not server.script.requests[1].HasField("order_total")


async def test_charities_and_campaigns_are_made_with_keys_of_their_own(client: Client, server: Server) -> None:
    end = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    charity = {"display_name": "Bread", "mode": Charity.MODE_TEST, "default_currency": "USD", "time_zone": "UTC"}
    assert (await client.call("create_charity", **charity)).charity.display_name == "Bread"
    campaign = {"charity_id": "c", "display_name": "Rolls", "currency_rules": [], "end_time": end}
    answer = await client.call("create_campaign", **campaign, request_id="my-own-key")
    assert answer.campaign.end_time.ToDatetime(tzinfo=datetime.UTC) == end
    await client.call("activate_campaign", campaign_id=CAMPAIGN)
    keys = [request.request_id for request in server.script.requests]
    assert keys[1] == "my-own-key"
    assert len(set(keys)) == 3


def test_a_time_without_a_zone_is_refused_before_anything_is_sent() -> None:
    with MeshClient("127.0.0.1:1") as client, pytest.raises(ValueError, match="needs a zone"):
        client.create_campaign(
            charity_id="c",
            display_name="Rolls",
            currency_rules=[],
            end_time=datetime.datetime(2030, 1, 1),  # noqa: DTZ001 - the point
        )


async def test_reads_return_the_message_itself(client: Client) -> None:
    assert (await client.call("get_donation", donation_id="d1")).donation_id == "d1"
    assert (await client.call("get_totals", campaign_id=CAMPAIGN)).version == 7


@pytest.mark.requirement("INT-9")
async def test_a_list_goes_over_all_pages(client: Client, server: Server) -> None:
    server.script.pages = 3
    found = await client.take(100, "list_donations", campaign_id=CAMPAIGN)
    assert [donation.donation_id for donation in found] == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]
    assert [request.page_token for request in server.script.requests] == ["", "1", "2"]


@pytest.mark.requirement("INT-9")
async def test_every_call_has_a_deadline(make_client: Callable[..., Client], server: Server) -> None:
    await make_client().call("get_donation", donation_id="d1")
    await make_client(timeout_s=2).call("get_donation", donation_id="d1")
    await make_client().call("get_donation", donation_id="d1", timeout_s=1)
    assert [round(left) for left in server.script.time_left] == [5, 2, 1]


@pytest.mark.requirement("INT-9")
@pytest.mark.parametrize(
    "step",
    [
        IN_FLIGHT,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        DependencyUnavailable("away", dependency="postgres"),
        Overloaded("full", retry_after_s=1),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    ],
    ids=["in flight", "deadline", "unavailable", "overloaded", "exhausted", "cancelled"],
)
async def test_the_key_is_kept_over_retries(client: Client, server: Server, step: Any) -> None:
    server.script.steps.extend([step] * 4)
    charity = {"display_name": "Bread", "mode": Charity.MODE_TEST, "default_currency": "USD", "time_zone": "UTC"}
    await client.call("create_charity", **charity)
    assert len({request.request_id for request in server.script.requests}) == 1
    assert len(server.script.requests) == 5
    assert len({metadata["giving-correlation-id"] for metadata in server.script.metadata}) == 1


@pytest.mark.requirement("INT-9")
async def test_a_call_gives_up_after_five_attempts(client: Client, server: Server) -> None:
    server.script.steps.extend([IN_FLIGHT] * 9)
    with pytest.raises(MeshError) as caught:
        await client.call("record_donation", **GIFT)
    assert (caught.value.reason, len(server.script.requests)) == ("REQUEST_IN_FLIGHT", 5)
    assert client.pauses == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "step",
    [RequestTooLarge("large", max_request_bytes=1), CampaignNotFound("none", campaign_id="c"), grpc.StatusCode.ABORTED],
)
async def test_a_refusal_is_final(client: Client, server: Server, step: Any) -> None:
    server.script.steps.append(step)
    with pytest.raises(MeshError):
        await client.call("record_donation", **GIFT)
    assert (len(server.script.requests), client.pauses) == (1, [])


async def test_pauses_grow_within_their_bounds(make_client: Callable[..., Client], server: Server) -> None:
    client = make_client(retries=RetryPolicy(attempts_max=5, pause_s_first=1, pause_s_max=3))
    server.script.steps.extend([grpc.StatusCode.DEADLINE_EXCEEDED] * 4)
    await client.call("get_donation", donation_id="d1")
    bounds = [(0.5, 1), (1, 2), (1.5, 3), (1.5, 3)]
    assert all(low <= pause <= high for pause, (low, high) in zip(client.pauses, bounds, strict=True))


async def test_nobody_is_made_to_wait_longer_than_the_bound(client: Client, server: Server) -> None:
    server.script.steps.append(RequestInFlight("busy", retry_after_s=60))
    with pytest.raises(MeshError) as caught:
        await client.call("record_donation", **GIFT)
    assert (caught.value.retry_after_s, client.pauses) == (60, [])


@pytest.mark.requirement("INT-9")
async def test_an_error_carries_everything_that_the_mesh_said(client: Client, server: Server) -> None:
    server.script.steps.extend(
        [CampaignNotFound("no such campaign", campaign_id=CAMPAIGN), InvalidArgument.of("amount.currency", "is unknown")]
    )
    with pytest.raises(MeshError, match="CAMPAIGN_NOT_FOUND: no such campaign") as caught:
        await client.call("record_donation", **GIFT)
    error = caught.value
    assert (error.reason, error.code) == ("CAMPAIGN_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    assert (error.metadata, error.correlation_id) == ({"campaign_id": CAMPAIGN}, "c0ffee-c0ffee")
    with pytest.raises(MeshError) as caught:
        await client.call("record_donation", **GIFT)
    assert [(each.field, each.description) for each in caught.value.fields] == [("amount.currency", "is unknown")]


async def test_a_status_without_details_still_has_a_reason(client: Client, server: Server) -> None:
    server.script.steps.extend([grpc.StatusCode.DEADLINE_EXCEEDED] * 5)
    with pytest.raises(MeshError) as caught:
        await client.call("get_donation", donation_id="d1")
    assert (caught.value.reason, caught.value.detail) == ("DEADLINE_EXCEEDED", "scripted")
    assert caught.value.correlation_id == server.script.metadata[0]["giving-correlation-id"]


async def test_a_method_that_the_other_side_lacks_is_named(client: Client, server: Server) -> None:
    server.script.steps.append(grpc.StatusCode.UNIMPLEMENTED)
    with pytest.raises(MeshError) as caught:
        await client.call("get_donation", donation_id="d1")
    assert caught.value.reason == "NOT_IMPLEMENTED"


@pytest.mark.requirement("INT-9")
async def test_a_watch_reconnects_behind_the_last_version(client: Client, server: Server) -> None:
    # Cut after 2, ended by the server after 3, repeated and older versions after that.
    server.script.streams.extend([[1, 2, -1], [3], [3, 2, 4]])
    found = await client.take(4, "watch_totals", campaign_id=CAMPAIGN)
    assert [totals.version for totals in found] == [1, 2, 3, 4]
    assert [request.after_version for request in server.script.requests] == [0, 2, 3]


async def test_a_watch_begins_behind_a_given_version(client: Client, server: Server) -> None:
    server.script.streams.append([5, 6])
    assert [t.version for t in await client.take(1, "watch_totals", campaign_id=CAMPAIGN, after_version=5)] == [6]


async def test_a_watch_of_an_unknown_campaign_ends_with_its_reason(client: Client, server: Server) -> None:
    server.script.steps.append(CampaignNotFound("no such campaign", campaign_id=CAMPAIGN))
    with pytest.raises(MeshError, match="CAMPAIGN_NOT_FOUND"):
        await client.take(1, "watch_totals", campaign_id=CAMPAIGN)


async def test_a_watch_gives_up_when_nothing_arrives_for_long(client: Client, server: Server) -> None:
    server.script.steps.extend([DependencyUnavailable("away", dependency="redis")] * 200)
    with pytest.raises(MeshError, match="DEPENDENCY_UNAVAILABLE"):
        await client.take(1, "watch_totals", campaign_id=CAMPAIGN)
    assert len(client.pauses) == 29


def states(*found: tuple[Any, int]) -> list[Donation | None]:
    return [Donation(state=state, version=version) for state, version in found]


PENDING, AWAITING = (Donation.STATE_PENDING, 1), (Donation.STATE_AWAITING_PAYMENT, 2)
DECLINED, SUCCEEDED = Donation(state=Donation.STATE_FAILED, retryable=True, version=3), (Donation.STATE_SUCCEEDED, 4)


@pytest.mark.requirement("INT-9", "INT-8")
async def test_a_donation_is_watched_over_reconnections_until_nothing_more_can_come(client: Client, server: Server) -> None:
    # Cut after 2; a decline that may be retried is not the end; what is known already is not told again.
    server.script.lives.extend([[*states(PENDING, AWAITING), None], [*states(AWAITING), DECLINED], states(SUCCEEDED)])
    found = await client.take(100, "watch_donation", donation_id="d1")
    assert [donation.version for donation in found] == [1, 2, 3, 4]
    assert {request.donation_id for request in server.script.requests} == {"d1"}
    assert len(server.script.requests) == 3


@pytest.mark.parametrize(
    "state", [Donation.STATE_FAILED, Donation.STATE_EXPIRED, Donation.STATE_REFUNDED, Donation.STATE_DISPUTE_LOST]
)
async def test_a_watch_of_a_donation_ends_with_it(client: Client, server: Server, state: Any) -> None:
    server.script.lives.append(states((state, 7)))
    assert len(await client.take(100, "watch_donation", donation_id="d1")) == 1
    assert (len(server.script.requests), client.pauses) == (1, [])


@pytest.mark.requirement("INT-8")
@pytest.mark.parametrize("state", list(DonationState))
@pytest.mark.parametrize("retryable", [True, False])
def test_the_client_and_the_mesh_agree_on_what_is_final(state: DonationState, retryable: bool) -> None:
    told = Donation(state=int(state), retryable=retryable)
    assert courses.is_final(told) == is_final(SimpleNamespace(state=state, retryable=retryable))


async def test_totals_may_be_answered_elsewhere(make_client: Callable[..., Client], server: Server) -> None:
    client = make_client(totals_target="127.0.0.1:1", timeout_s=0.5, retries=RetryPolicy(attempts_max=1))
    await client.call("get_donation", donation_id="d1")
    with pytest.raises(MeshError):
        await client.call("get_totals", campaign_id=CAMPAIGN)
    assert len(server.script.requests) == 1


async def test_clients_are_context_managers(server: Server) -> None:
    async with AsyncMeshClient(server.target) as client:
        assert (await client.get_donation(donation_id="d1")).donation_id == "d1"
    with MeshClient(server.target) as blocking:
        found = await asyncio.to_thread(blocking.get_donation, donation_id="d2")
    assert found.donation_id == "d2"


@pytest.mark.requirement("INT-9")
def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(MeshClient) == public(AsyncMeshClient)
    assert all(getattr(kind, name).__doc__ for kind in (MeshClient, AsyncMeshClient) for name in public(kind))
