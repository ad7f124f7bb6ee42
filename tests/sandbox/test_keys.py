"""Idempotency keys, as Stripe documents them."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
import stripe

from tests.sandbox.payments import create, gift, pay
from tests.support.sandbox import Sandbox


def key() -> str:
    return f"key-{uuid4()}"


def is_replay(answer: stripe.StripeObject) -> bool:
    return answer.last_response.headers.get("Idempotent-Replayed") == "true"


async def test_a_repeat_with_the_same_key_gets_the_first_answer_and_makes_nothing(
    sandbox: Sandbox, client: stripe.StripeClient
):
    used = key()
    first, again = await create(client, key=used), await create(client, key=used)
    assert (again.id, is_replay(first), is_replay(again)) == (first.id, False, True)
    assert again.last_response.headers["Idempotency-Key"] == used
    assert again.last_response.headers["Original-Request"] == first.last_response.request_id


async def test_the_replayed_answer_is_the_first_one_even_when_the_object_has_changed(client: stripe.StripeClient):
    used = key()
    intent = await create(client, key=used)
    await client.v1.payment_intents.cancel_async(intent.id)
    assert (await create(client, key=used)).status == "requires_payment_method"


async def test_the_same_key_with_other_parameters_is_refused(client: stripe.StripeClient):
    used = key()
    await create(client, key=used)
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        await create(client, key=used, amount=9900)


async def test_the_same_key_at_another_path_is_refused(client: stripe.StripeClient):
    used = key()
    intent = await create(client, key=used)
    with pytest.raises(stripe.IdempotencyError, match="endpoint"):
        await client.v1.payment_intents.cancel_async(intent.id, options={"idempotency_key": used})


async def test_a_decline_is_the_answer_of_its_key_for_ever(sandbox: Sandbox, client: stripe.StripeClient):
    used = key()
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await pay(client, "pm_card_chargeDeclined", key=used)
    assert declined.value.headers["Idempotent-Replayed"] == "true"
    assert len((await sandbox.book())[declined.value.error.payment_intent.id]["charges"]) == 1


async def test_what_is_refused_before_it_begins_leaves_its_key_free(client: stripe.StripeClient):
    used = key()
    with pytest.raises(stripe.InvalidRequestError):
        await create(client, key=used, amount="much")
    assert not is_replay(await create(client, key=used))


async def test_a_server_error_is_saved_and_comes_again(sandbox: Sandbox, client: stripe.StripeClient):
    used = key()
    await sandbox.fault("error_500", call="payment_intents.create")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            await create(client, key=used)
    assert (failed.value.http_status, failed.value.headers["Idempotent-Replayed"]) == (500, "true")
    assert failed.value.headers["Stripe-Should-Retry"] == "false"


async def test_a_call_that_was_limited_leaves_its_key_free(sandbox: Sandbox, client: stripe.StripeClient):
    used = key()
    await sandbox.fault("error_429")
    with pytest.raises(stripe.RateLimitError):
        await create(client, key=used)
    assert not is_replay(await create(client, key=used))


async def test_a_key_in_flight_is_refused_until_its_answer_is_there(sandbox: Sandbox, client: stripe.StripeClient):
    used = key()
    await sandbox.fault("slow", call="payment_intents.create", seconds=0.4)
    answers = await asyncio.gather(*(create(client, key=used) for _ in range(2)), return_exceptions=True)
    (refused,) = (answer for answer in answers if isinstance(answer, stripe.StripeError))
    (made,) = (answer for answer in answers if isinstance(answer, stripe.PaymentIntent))
    assert (refused.http_status, refused.error.code) == (409, "idempotency_key_in_use")
    assert refused.headers["Stripe-Should-Retry"] == "true"
    assert (await create(client, key=used)).id == made.id


async def test_a_key_is_forgotten_after_a_day_and_charges_again(sandbox: Sandbox, client: stripe.StripeClient):
    used = key()
    first = await pay(client, key=used)
    await sandbox.advance(seconds=24 * 3600 - 60)
    assert (await pay(client, key=used)).id == first.id
    await sandbox.advance(seconds=120)
    assert (await pay(client, key=used)).id != first.id


async def test_a_key_is_too_long_beyond_255_characters(client: stripe.StripeClient):
    await create(client, key=f"{uuid4()}".ljust(255, "k"))
    with pytest.raises(stripe.IdempotencyError, match="at most 255"):
        await create(client, key="k" * 256)


async def test_accounts_do_not_share_keys(client: stripe.StripeClient):
    used = key()
    first = await create(client, key=used)
    other = await client.v1.payment_intents.create_async(gift(), {"idempotency_key": used, "stripe_account": "acct_another"})
    assert other.id != first.id


async def test_reading_does_not_care_about_keys(client: stripe.StripeClient):
    used = key()
    intent = await create(client, key=used)
    read = await client.v1.payment_intents.retrieve_async(intent.id, options={"idempotency_key": used})
    assert (read.id, is_replay(read)) == (intent.id, False)


async def test_equal_keys_at_the_same_time_charge_once(sandbox: Sandbox, client: stripe.StripeClient):
    used, mark = key(), f"{uuid4()}"
    await asyncio.gather(*(pay(client, key=used, metadata={"mark": mark}) for _ in range(10)), return_exceptions=True)
    paid = [entry for entry in (await sandbox.book()).values() if entry["metadata"].get("mark") == mark]
    assert [entry["successful_charges"] for entry in paid] == [1]
