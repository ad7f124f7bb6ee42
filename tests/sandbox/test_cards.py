"""Each test card with its outcome."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.payments import create, pay
from tests.support.sandbox import Sandbox
from tests.support.waiting import until

BRANDS = {
    "pm_card_visa": ("visa", "4242", "credit"),
    "pm_card_visa_debit": ("visa", "5556", "debit"),
    "pm_card_mastercard": ("mastercard", "4444", "credit"),
    "pm_card_mastercard_prepaid": ("mastercard", "5100", "prepaid"),
    "pm_card_amex": ("amex", "0005", "credit"),
    "pm_card_discover": ("discover", "1117", "credit"),
    "pm_card_diners": ("diners", "0004", "credit"),
    "pm_card_jcb": ("jcb", "0505", "credit"),
    "pm_card_unionpay": ("unionpay", "0005", "credit"),
}
DECLINES = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_chargeDeclinedLostCard": ("card_declined", "lost_card"),
    "pm_card_chargeDeclinedStolenCard": ("card_declined", "stolen_card"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", "expired_card"),
    "pm_card_chargeDeclinedIncorrectCvc": ("incorrect_cvc", "incorrect_cvc"),
    "pm_card_chargeDeclinedProcessingError": ("processing_error", "processing_error"),
    "pm_card_chargeDeclinedVelocityLimitExceeded": ("card_declined", "card_velocity_exceeded"),
    "pm_card_chargeCustomerFail": ("card_declined", "generic_decline"),
    "pm_card_riskLevelHighest": ("card_declined", "fraudulent"),
}
ASKING = (
    "pm_card_authenticationRequired",
    "pm_card_authenticationRequiredOnSetup",
    "pm_card_threeDSecure2Required",
    "pm_card_threeDSecureRequired",
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
)


@pytest.mark.parametrize(("method", "shown"), BRANDS.items())
async def test_a_good_card_pays(client: stripe.StripeClient, method: str, shown: tuple[str, str, str]):
    intent = await pay(client, method, expand=["latest_charge"])
    charge = intent.latest_charge
    card = charge.payment_method_details.card
    assert (intent.status, intent.amount_received, intent.payment_method) == ("succeeded", 2500, charge.payment_method)
    assert (charge.status, charge.captured, charge.paid, charge.amount_captured) == ("succeeded", True, True, 2500)
    assert (card.brand, card.last4, card.funding) == shown
    assert charge.outcome.type == "authorized"


@pytest.mark.parametrize(("method", "codes"), DECLINES.items())
async def test_a_declined_card_leaves_a_failed_charge_and_an_open_intent(
    client: stripe.StripeClient, method: str, codes: tuple[str, str]
):
    with pytest.raises(stripe.CardError) as declined:
        await pay(client, method)
    error = declined.value.error
    intent = await client.v1.payment_intents.retrieve_async(error.payment_intent.id, {"expand": ["latest_charge"]})
    assert (declined.value.http_status, error.type, error.code, error.decline_code) == (402, "card_error", *codes)
    assert (intent.status, intent.payment_method, intent.latest_charge.id) == ("requires_payment_method", None, error.charge)
    assert (intent.last_payment_error.code, intent.last_payment_error.charge) == (codes[0], error.charge)
    assert (intent.latest_charge.status, intent.latest_charge.paid, intent.latest_charge.failure_code) == (
        "failed",
        False,
        codes[0],
    )


async def test_a_declined_payment_is_announced(sandbox: Sandbox, client: stripe.StripeClient):
    with pytest.raises(stripe.CardError) as declined:
        await pay(client, "pm_card_chargeDeclined")
    kinds = await sandbox.hooks.kinds(about=declined.value.error.payment_intent.id, count=3)
    assert sorted(kinds) == ["charge.failed", "payment_intent.created", "payment_intent.payment_failed"]


async def test_another_card_after_a_decline_pays_the_same_intent(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await create(client)
    for method in ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds"):
        with pytest.raises(stripe.CardError):
            await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": method})
    paid = await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})
    entry = (await sandbox.book())[intent.id]
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert (len(entry["charges"]), entry["successful_charges"], entry["captured"]) == (3, 1, 2500)


async def test_a_paid_intent_is_never_paid_again(client: stripe.StripeClient):
    intent = await pay(client)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})
    assert refused.value.code == "payment_intent_unexpected_state"


@pytest.mark.parametrize("method", ASKING)
async def test_a_card_that_asks_its_donor_waits_for_him(sandbox: Sandbox, client: stripe.StripeClient, method: str):
    intent = await pay(client, method)
    assert (intent.status, intent.next_action.type, intent.latest_charge) == ("requires_action", "use_stripe_sdk", None)
    assert "payment_intent.requires_action" in await sandbox.hooks.kinds(about=intent.id, count=2)


async def test_an_optional_authentication_is_not_asked_for(client: stripe.StripeClient):
    assert (await pay(client, "pm_card_threeDSecureOptional")).status == "succeeded"


async def test_nobody_can_be_asked_off_session(client: stripe.StripeClient):
    with pytest.raises(stripe.CardError) as declined:
        await pay(client, "pm_card_authenticationRequired", off_session=True)
    assert (declined.value.code, declined.value.error.charge[:3]) == ("authentication_required", "ch_")


async def test_equal_cards_have_equal_fingerprints(client: stripe.StripeClient):
    methods = [
        await client.v1.payment_methods.create_async({"type": "card", "card": card})
        for card in (
            {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "123"},
            {"number": "4242 4242 4242 4242", "exp_month": 1, "exp_year": 2041, "cvc": "321"},
            {"token": "tok_mastercard"},
        )
    ]
    first, second, third = (method.card.fingerprint for method in methods)
    assert first == second != third


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "4111111111111111"}, "card_declined"),
        ({"number": "4242424242424242", "exp_year": 2019}, "invalid_expiry_year"),
        ({"number": "4242424242424242", "exp_month": 13}, "invalid_expiry_month"),
    ],
)
async def test_a_card_that_cannot_exist_is_refused(client: stripe.StripeClient, card: dict, code: str):
    full = {"exp_month": 12, "exp_year": 2040, "cvc": "123"} | card
    with pytest.raises(stripe.CardError) as refused:
        await client.v1.payment_methods.create_async({"type": "card", "card": full})
    assert (refused.value.http_status, refused.value.code) == (402, code)


async def test_a_payment_method_without_a_customer_pays_once(client: stripe.StripeClient):
    intent = await pay(client)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        await pay(client, intent.payment_method)


@pytest.mark.parametrize(
    ("method", "ends"),
    [("pm_usBankAccount_success", "succeeded"), ("pm_usBankAccount_insufficientFunds", "requires_payment_method")],
)
async def test_a_debit_is_decided_later(sandbox: Sandbox, client: stripe.StripeClient, method: str, ends: str):
    intent = await pay(client, method)
    assert intent.status == "processing"
    await sandbox.advance(seconds=61)
    assert (await client.v1.payment_intents.retrieve_async(intent.id)).status == ends


async def test_a_debit_is_on_the_balance_until_the_bank_refuses_it(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client, "pm_usBankAccount_insufficientFunds")
    charge = await client.v1.charges.retrieve_async(intent.latest_charge)
    assert (charge.status, charge.failure_balance_transaction) == ("pending", None)
    await sandbox.advance(seconds=61)
    expand = {"expand": ["balance_transaction", "failure_balance_transaction"]}
    charge = await client.v1.charges.retrieve_async(intent.latest_charge, expand)
    came, went = charge.balance_transaction, charge.failure_balance_transaction
    assert charge.status == "failed"
    assert [(one.type, one.reporting_category, one.amount, one.source) for one in (came, went)] == [
        ("charge", "charge", 2500, charge.id),
        ("payment_failure_refund", "charge_failure", -2500, charge.id),
    ]
    assert (came.net + went.net, went.available_on) == (0, came.available_on)


async def test_a_debit_that_succeeds_is_on_the_balance_once(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client, "pm_usBankAccount_success")
    await sandbox.advance(seconds=63)
    listed = await client.v1.balance_transactions.list_async({"source": intent.latest_charge})
    assert [(one.reporting_category, one.amount) for one in listed.data] == [("charge", 2500)]


@pytest.mark.requirement("PAY-7")
async def test_an_authorised_payment_is_captured_in_part_and_the_rest_goes_back(
    sandbox: Sandbox, client: stripe.StripeClient
):
    intent = await pay(client, capture_method="manual")
    assert (intent.status, intent.amount_capturable, intent.amount_received) == ("requires_capture", 2500, 0)
    taken = await client.v1.payment_intents.capture_async(
        intent.id, {"amount_to_capture": 2000, "expand": ["latest_charge.balance_transaction"]}
    )
    entry = (await sandbox.book())[intent.id]
    assert (taken.status, taken.amount_received, taken.amount_capturable) == ("succeeded", 2000, 0)
    assert (taken.latest_charge.amount_captured, taken.latest_charge.amount_refunded) == (2000, 500)
    assert (entry["captured"], entry["released"], entry["refunded"], entry["refunds"]) == (2000, 500, 0, [])
    assert sorted(await sandbox.hooks.kinds(about=intent.id, count=5)) == [
        "charge.captured",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "payment_intent.created",
        "payment_intent.succeeded",
    ]


@pytest.mark.requirement("PAY-7")
async def test_what_a_capture_leaves_is_a_refund_that_takes_its_part_of_the_fee_back(
    sandbox: Sandbox, client: stripe.StripeClient
):
    intent = await pay(client, capture_method="manual")
    capture = {"amount_to_capture": 2000, "expand": ["latest_charge.balance_transaction"]}
    taken = (await client.v1.payment_intents.capture_async(intent.id, capture)).latest_charge
    listing = {"payment_intent": intent.id, "expand": ["data.balance_transaction"]}
    (rest,) = (await client.v1.refunds.list_async(listing)).data
    moved = [taken.balance_transaction, rest.balance_transaction]
    assert [(entry.reporting_category, entry.amount, entry.fee, entry.net) for entry in moved] == [
        ("charge", 2500, 103, 2397),
        ("partial_capture_reversal", -500, -15, -485),
    ]
    assert (rest.amount, rest.status, rest.charge, moved[1].available_on) == (
        500,
        "succeeded",
        taken.id,
        moved[0].available_on,
    )
    assert "authorisation" in await sandbox.refusal(f"refunds/{rest.id}/fail")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 2001})
    await client.v1.refunds.create_async({"payment_intent": intent.id})
    assert (await sandbox.book())[intent.id]["refunded"] == 2000


async def test_more_than_was_authorised_cannot_be_captured(client: stripe.StripeClient):
    intent = await pay(client, capture_method="manual")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 2501})
    assert refused.value.code == "amount_too_large"


async def test_a_canceled_authorisation_is_given_back(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client, capture_method="manual")
    canceled = await client.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "requested_by_customer"})
    assert (canceled.status, canceled.amount_capturable) == ("canceled", 0)
    assert (await sandbox.book())[intent.id]["captured"] == 0


@pytest.mark.requirement("PAY-7")
async def test_what_nobody_captures_in_time_is_canceled(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client, capture_method="manual", expand=["latest_charge"])
    capture_before = intent.latest_charge.payment_method_details.card.capture_before
    assert capture_before == intent.latest_charge.created + 7 * 86_400
    await sandbox.advance(seconds=7 * 86_400 + 1)
    expired = await client.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert (expired.status, expired.cancellation_reason, expired.canceled_at) == ("canceled", "automatic", capture_before)
    assert (expired.amount_capturable, expired.amount_received) == (0, 0)
    assert (expired.latest_charge.captured, expired.latest_charge.amount_refunded) == (False, 2500)
    kinds = await sandbox.hooks.kinds(about=intent.id, count=5)
    assert {"charge.expired", "payment_intent.canceled"} <= set(kinds)
    with pytest.raises(stripe.InvalidRequestError, match="could not be captured"):
        await client.v1.payment_intents.capture_async(intent.id)


async def test_with_asynchronous_capture_the_balance_transaction_comes_later(sandbox: Sandbox, client: stripe.StripeClient):
    intent = await pay(client, expand=["latest_charge"])
    assert intent.latest_charge.balance_transaction is None

    async def settled() -> stripe.Charge:
        return await client.v1.charges.retrieve_async(intent.latest_charge.id, {"expand": ["balance_transaction"]})

    charge = await until(settled, holds=lambda charge: bool(charge.balance_transaction))
    entry = charge.balance_transaction
    assert (entry.amount, entry.fee, entry.net, entry.source) == (2500, 103, 2397, charge.id)
    assert "charge.updated" in await sandbox.hooks.kinds(about=charge.id, count=3)


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (49, "usd", "amount_too_small"),
        (100_000_000, "usd", "amount_too_large"),
        (5, "jpy", "amount_too_small"),
        (5005, "kwd", "parameter_invalid_integer"),
        (50050, "isk", "parameter_invalid_integer"),
        (0, "usd", "parameter_invalid_integer"),
        (-5, "usd", "parameter_invalid_integer"),
    ],
)
async def test_amounts_that_stripe_does_not_take_are_refused(
    client: stripe.StripeClient, amount: int, currency: str, code: str
):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await create(client, amount=amount, currency=currency)
    assert (refused.value.code, refused.value.param) == (code, "amount")


@pytest.mark.parametrize(("amount", "currency"), [(50, "usd"), (99_999_999, "usd"), (500, "jpy"), (5000, "KWD")])
async def test_amounts_that_stripe_takes_are_paid(client: stripe.StripeClient, amount: int, currency: str):
    intent = await pay(client, amount=amount, currency=currency)
    assert (intent.amount_received, intent.currency) == (amount, currency.lower())
