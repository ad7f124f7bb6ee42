"""Payment intents: made, changed, confirmed, captured, canceled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stripe import charging, methods, money, params
from sandbox.stripe.cards import DECLINES
from sandbox.stripe.own import card_of, own
from sandbox.stripe.refusals import Refused, malformed, unexpected_state
from sandbox.stripe.shapes import payment
from sandbox.stripe.work import Object, Work, shown

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = (*OPEN, "requires_capture")
# What a confirmation remembers for the rest of it.
_REMEMBERED = ("return_url", "use_stripe_sdk", "off_session", "error_on_requires_action")
_CHANGEABLE = (
    "description", "receipt_email", "setup_future_usage", "shipping", "statement_descriptor", "statement_descriptor_suffix",
    "transfer_group", "customer", "capture_method", "payment_method_types",
)  # fmt: skip
_FIXED_LATER = (
    "amount",
    "currency",
    "customer",
    "payment_method",
    "payment_method_data",
    "payment_method_types",
    "capture_method",
)


def create(work: Work, given: Mapping[str, Any], *, origin: str) -> Object | Refused:
    """A new intent, paid at once where `confirm` is given."""
    money.check(given["amount"], code=given["currency"])
    _check_combination(given)
    if given.get("customer"):
        work.get("customer", given["customer"])
    intent = payment.intent(given, now=work.now)
    intent["metadata"] = params.merged({}, given.get("metadata") or {})
    own(intent)["origin"] = origin
    _choose_method(work, intent, given)
    work.add(intent)
    work.announce("payment_intent.created", intent)
    return confirm(work, intent, given, origin=origin) if given.get("confirm") else intent


def _check_combination(given: Mapping[str, Any]) -> None:
    if given.get("payment_method_types") and (given.get("automatic_payment_methods") or {}).get("enabled"):
        message = "You may only specify one of these parameters: automatic_payment_methods, payment_method_types."
        raise malformed(message, param="automatic_payment_methods")
    for kind in given.get("payment_method_types") or ():
        if kind not in ("card", "us_bank_account"):
            message = f"The payment method type provided: {kind} is invalid. This sandbox acts card and us_bank_account out."
            raise malformed(message, param="payment_method_types")
    if given.get("off_session") and not given.get("confirm"):
        raise malformed("off_session can only be set when confirm is true.", param="off_session")


def _choose_method(work: Work, intent: Object, given: Mapping[str, Any]) -> None:
    """Takes the payment method that the call names; one that was there stays otherwise."""
    if "payment_method" in given:
        method = methods.find(work, given["payment_method"])
    elif "payment_method_data" in given:
        method = methods.make(work, given["payment_method_data"])
    else:
        return
    _check_method(intent, method)
    intent["payment_method"] = method["id"]
    if intent["status"] in OPEN:
        intent.update(status="requires_confirmation", next_action=None)


def _check_method(intent: Object, method: Object) -> None:
    if method["type"] not in intent["payment_method_types"]:
        allowed = ", ".join(intent["payment_method_types"])
        message = (
            f"The PaymentMethod provided ({method['type']}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod of one of the following types: {allowed}."
        )
        raise Refused(message, param="payment_method", code="payment_intent_incompatible_payment_method")
    if own(method).get("used_by") not in (None, intent["id"]) and method["customer"] is None:
        message = (
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a Customer, "
            "and may not be used again."
        )
        raise Refused(message, code="payment_method_unactivated", param="payment_method")


def update(work: Work, intent: Object, given: Mapping[str, Any]) -> Object:
    if intent["status"] not in OPEN and (fixed := [name for name in _FIXED_LATER if name in given]):
        raise unexpected_state(shown(intent), f"change {', '.join(fixed)} of")
    if "amount" in given or "currency" in given:
        code = given.get("currency", intent["currency"])
        money.check(given.get("amount", intent["amount"]), code=code)
        intent.update(amount=given.get("amount", intent["amount"]), currency=code)
    intent.update({name: given[name] for name in _CHANGEABLE if name in given})
    _merge_metadata(intent, given)
    _choose_method(work, intent, given)
    return work.save(intent)


def _merge_metadata(intent: Object, given: Mapping[str, Any]) -> None:
    if "metadata" in given:
        intent["metadata"] = params.merged(intent["metadata"], given["metadata"])


def confirm(work: Work, intent: Object, given: Mapping[str, Any], *, origin: str) -> Object | Refused:
    """Pays with the intent's method, or with the one that is given."""
    if intent["status"] not in OPEN:
        raise _cannot_confirm(intent)
    intent.update({name: given[name] for name in _CHANGEABLE if name in given})
    _choose_method(work, intent, given)
    if intent["payment_method"] is None:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment "
            "method or ConfirmationToken."
        )
        raise Refused(message, code="payment_intent_unexpected_state", payment_intent=shown(intent))
    memory = own(intent)
    memory.update({name: given.get(name) for name in _REMEMBERED}, origin=origin)
    _demand_return_url(intent)
    method = work.get("payment_method", intent["payment_method"])
    return charging.pay(work, intent, method, authenticated=memory.pop("authenticated", False))


def _cannot_confirm(intent: Object) -> Refused:
    state = intent["status"]
    if state == "succeeded":
        message = "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."
        return Refused(message, code="payment_intent_unexpected_state", payment_intent=shown(intent))
    return unexpected_state(shown(intent), "confirm")


def _demand_return_url(intent: Object) -> None:
    automatic = intent["automatic_payment_methods"]
    memory = own(intent)
    if automatic and automatic["allow_redirects"] == "always" and not (memory["return_url"] or memory["use_stripe_sdk"]):
        message = (
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these "
            "payment methods might redirect your customer off of your page, you must provide a `return_url`. If you don't "
            "want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` and "
            "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents."
        )
        raise Refused(message, param="return_url")


def answer_challenge(work: Work, intent: Object, *, passed: bool) -> Object:
    """What the donor did on the bank's page. A second answer changes nothing."""
    if intent["status"] != "requires_action":
        return intent
    method = work.get("payment_method", intent["payment_method"])
    if not passed:
        _fail_authentication(work, intent, method)
    elif intent["confirmation_method"] == "manual":
        own(intent)["authenticated"] = True
        intent.update(status="requires_confirmation", next_action=None)
        work.save(intent)
    else:
        charging.pay(work, intent, method, authenticated=True)
    return work.get("payment_intent", intent["id"])


def _fail_authentication(work: Work, intent: Object, method: Object) -> None:
    message = "We are unable to authenticate your payment method. Please choose a different payment method and try again."
    code = "payment_intent_authentication_failure"
    intent.update(status="requires_payment_method", payment_method=None, next_action=None)
    intent["last_payment_error"] = {
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        "message": message,
        "payment_method": shown(method),
        "type": "invalid_request_error",
    }
    work.save(intent)
    work.announce("payment_intent.payment_failed", intent)


def finish_debit(work: Work, intent: Object) -> None:
    """What the bank answers to a debit."""
    if intent["status"] != "processing":
        return
    charge = work.get("charge", intent["latest_charge"])
    method = work.get("payment_method", intent["payment_method"])
    card = card_of(method)
    if card.decline:
        charging.decline(work, intent, method, DECLINES[card.decline], charge=charge)
        return
    charge.update(status="succeeded", paid=True)
    charging.take(work, intent, charge, amount=charge["amount"])
    intent["processing"] = None
    work.save(charge)
    work.save(intent)
    work.announce("charge.succeeded", charge)
    work.announce("payment_intent.succeeded", intent)


def capture(work: Work, intent: Object, given: Mapping[str, Any]) -> Object:
    if intent["status"] != "requires_capture":
        message = (
            f"This PaymentIntent could not be captured because it has a status of {intent['status']}. "
            "Only a PaymentIntent with one of the following statuses may be captured: requires_capture."
        )
        raise Refused(message, code="payment_intent_unexpected_state", payment_intent=shown(intent))
    amount = given.get("amount_to_capture", intent["amount_capturable"])
    _check_capture(intent, amount)
    _merge_metadata(intent, given)
    charge = work.get("charge", intent["latest_charge"])
    charging.take(work, intent, charge, amount=amount)
    work.save(charge)
    work.save(intent)
    work.announce("charge.captured", charge)
    work.announce("payment_intent.succeeded", intent)
    return intent


def _check_capture(intent: Object, amount: int) -> None:
    if amount < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount_to_capture")
    if amount > intent["amount_capturable"]:
        message = (
            f"The amount to capture ({amount}) is greater than the amount you can capture ({intent['amount_capturable']})."
        )
        raise Refused(message, code="amount_too_large", param="amount_to_capture")


def cancel(work: Work, intent: Object, *, reason: str | None) -> Object:
    if intent["status"] not in CANCELABLE:
        message = (
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent with "
            "one of the following statuses may be canceled: requires_payment_method, requires_capture, "
            "requires_confirmation, requires_action, processing."
        )
        raise Refused(message, code="payment_intent_unexpected_state", payment_intent=shown(intent))
    if intent["status"] == "requires_capture":
        release(work, intent, event="charge.refunded")
    intent.update(status="canceled", canceled_at=work.now, cancellation_reason=reason, amount_capturable=0, next_action=None)
    work.save(intent)
    work.announce("payment_intent.canceled", intent)
    return intent


def release(work: Work, intent: Object, *, event: str) -> None:
    """Gives an authorisation back."""
    charge = work.get("charge", intent["latest_charge"])
    charge.update(amount_refunded=charge["amount"], refunded=True)
    own(charge)["released"] = charge["amount"]
    work.save(charge)
    work.announce(event, charge, previous={"amount_refunded": 0, "refunded": False})


def expire(work: Work, intent: Object) -> None:
    """What nobody captured in time goes back by itself."""
    if intent["status"] == "requires_capture":
        release(work, intent, event="charge.expired")
        intent.update(status="canceled", canceled_at=work.now, cancellation_reason="automatic", amount_capturable=0)
        work.save(intent)
        work.announce("payment_intent.canceled", intent)
