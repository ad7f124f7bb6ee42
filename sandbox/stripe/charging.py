"""What becomes of a confirmed payment: a question to the donor, a decline, an authorisation, money."""

from __future__ import annotations

from typing import Any

from sandbox.stripe import ids, ledger, money, refunds
from sandbox.stripe.cards import DECLINES, Card, Decline
from sandbox.stripe.own import card_of, own
from sandbox.stripe.refusals import Refused
from sandbox.stripe.shapes import paying, payment
from sandbox.stripe.work import Object, Work, shown

AUTHORISED_FOR_S = 7 * 86_400
# With asynchronous capture the movement on the balance is known a little later, and charge.updated tells it.
SETTLED_AFTER_S = 1
# What a bank takes to answer a debit; days in life.
DEBITED_AFTER_S = 60
_DISPUTED_AFTER_S = 1
_DISPUTING = ("dispute", "not_received", "inquiry")


def pay(work: Work, intent: Object, method: Object, *, authenticated: bool = False) -> Object | Refused:
    """The intent after the attempt, or the refusal that goes with it; both have their effects."""
    card = card_of(method)
    if not authenticated and _asks_donor(card):
        return _ask_donor(work, intent, method)
    if card.kind == "us_bank_account":
        return _debit(work, intent, method)
    if card.decline:
        return decline(work, intent, method, DECLINES[card.decline], charge=_begin(work, intent, method, authenticated))
    return _succeed(work, intent, method, _begin(work, intent, method, authenticated))


def _asks_donor(card: Card) -> bool:
    return card.authentication in ("required", "always")


def _ask_donor(work: Work, intent: Object, method: Object) -> Object | Refused:
    memory = own(intent)
    if memory.get("off_session"):
        charge = _begin(work, intent, method, authenticated=False)
        return decline(work, intent, method, DECLINES["authentication_required"], charge=charge)
    if memory.get("error_on_requires_action"):
        return decline(work, intent, method, DECLINES["authentication_required"], charge=None)
    memory["challenge"] = ids.secret(24)
    url = f"{memory['origin']}/3ds/{intent['id']}/{memory['challenge']}"
    intent.update(status="requires_action", payment_method=method["id"], next_action=_next_action(memory, url))
    work.save(intent)
    work.announce("payment_intent.requires_action", intent)
    return intent


def _next_action(memory: dict[str, Any], url: str) -> Object:
    if memory.get("return_url") and not memory.get("use_stripe_sdk"):
        return {"redirect_to_url": {"return_url": memory["return_url"], "url": url}, "type": "redirect_to_url"}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"stripe_js": url, "type": "three_d_secure_redirect"}}


def _begin(work: Work, intent: Object, method: Object, authenticated: bool) -> Object:
    charge = payment.charge(intent, method, now=work.now)
    charge["payment_method_details"] = paying.details(charge, method, authenticated=authenticated)
    intent["latest_charge"] = charge["id"]
    card = card_of(method)
    own(charge).update(after=card.after, bypass=card.bypass)
    return charge


def _succeed(work: Work, intent: Object, method: Object, charge: Object) -> Object:
    charge.update(status="succeeded", paid=True, outcome=_outcome(card_of(method)))
    charge["receipt_url"] = f"https://pay.stripe.com/receipts/payment/{charge['id']}"
    intent.update(payment_method=method["id"], next_action=None, last_payment_error=None)
    _use_up(work, intent, method)
    if intent["capture_method"] == "manual":
        return _authorise(work, intent, charge)
    take(work, intent, charge, amount=charge["amount"])
    work.add(charge)
    work.save(intent)
    work.announce("charge.succeeded", charge)
    work.announce("payment_intent.succeeded", intent)
    return intent


def _use_up(work: Work, intent: Object, method: Object) -> None:
    """A payment method without a customer pays once."""
    if method["customer"] is None and "used_by" not in own(method):
        own(method)["used_by"] = intent["id"]
        work.save(method)


def _authorise(work: Work, intent: Object, charge: Object) -> Object:
    capture_before = work.now + AUTHORISED_FOR_S
    if "card" in charge["payment_method_details"]:
        charge["payment_method_details"]["card"]["capture_before"] = capture_before
    intent.update(status="requires_capture", amount_capturable=charge["amount"])
    work.add(charge)
    work.save(intent)
    work.put_off("expire_authorisation", intent["id"], seconds=AUTHORISED_FOR_S)
    work.announce("charge.succeeded", charge)
    work.announce("payment_intent.amount_capturable_updated", intent)
    return intent


def take(work: Work, intent: Object, charge: Object, *, amount: int) -> None:
    """Captures `amount` of a charge; what is left of it goes back. Neither object is saved here."""
    charge.update(captured=True, amount_captured=amount, amount_refunded=charge["amount"] - amount)
    own(charge)["released"] = charge["amount"] - amount
    intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
    if charge["balance_transaction"] is None and intent["capture_method"] == "automatic_async":
        work.put_off("settle_charge", charge["id"], seconds=SETTLED_AFTER_S)
    elif charge["balance_transaction"] is None:
        settle(work, charge)
    if own(charge)["after"] in _DISPUTING:
        work.put_off("open_dispute", charge["id"], seconds=_DISPUTED_AFTER_S)


def settle(work: Work, charge: Object) -> None:
    """Puts the money on the balance. The charge is not saved here.

    As at Stripe all that was authorised comes, with the fee for it, and a refund takes back what was not captured.
    """
    entry = _enter(work, charge)
    if own(charge)["released"]:
        refunds.release(work, charge, entry)


def _enter(work: Work, charge: Object) -> Object:
    at = work.now if own(charge)["bypass"] else None
    entry = ledger.move(work, charge, kind="charge", amount=charge["amount"], fee_of=money.charge_fee, available_on=at)
    charge["balance_transaction"] = entry["id"]
    return entry


def decline(work: Work, intent: Object, method: Object, reason: Decline, *, charge: Object | None) -> Refused:
    """The intent is open for another payment method; a failed charge tells of this one."""
    error = _error(reason, method, charge)
    intent.update(status="requires_payment_method", payment_method=None, next_action=None, processing=None)
    intent["last_payment_error"] = error
    if charge is not None:
        fail_charge(work, charge, reason, card_of(method))
    work.save(intent)
    work.announce("payment_intent.payment_failed", intent)
    more = {name: value for name, value in error.items() if name not in ("message", "type", "doc_url")}
    return Refused(reason.message, status=402, kind="card_error", payment_intent=shown(intent), **more)


def fail_charge(work: Work, charge: Object, reason: Decline, card: Card) -> None:
    known = charge["status"] == "pending" and own(charge).get("stored", False)
    charge.update(status="failed", paid=False, outcome=_outcome(card, reason))
    charge.update(failure_code=reason.code, failure_message=reason.message)
    if charge["balance_transaction"]:
        _take_off(work, charge)
    if known:
        work.save(charge)
    else:
        work.add(charge)
    work.announce("charge.failed", charge)


def _take_off(work: Work, charge: Object) -> None:
    """Takes a debit that came to nothing off the balance again, with the fee for it. The charge is not saved here."""
    entry = work.get("balance_transaction", charge["balance_transaction"])
    taken = ledger.undo(work, charge, entry, kind="payment_failure_refund", category="charge_failure")
    charge["failure_balance_transaction"] = taken["id"]


def _error(reason: Decline, method: Object, charge: Object | None) -> Object:
    error = {
        "advice_code": reason.advice,
        "charge": charge["id"] if charge else None,
        "code": reason.code,
        "decline_code": reason.decline_code,
        "doc_url": f"https://stripe.com/docs/error-codes/{reason.code.replace('_', '-')}",
        "message": reason.message,
        "payment_method": shown(method),
        "type": "card_error",
    }
    return {name: value for name, value in error.items() if value is not None}


def _outcome(card: Card, reason: Decline | None = None) -> Object:
    common = {
        "advice_code": reason.advice if reason else None,
        "network_advice_code": None,
        "network_decline_code": "05" if reason else None,
        "risk_level": card.risk,
        "risk_score": {"normal": 20, "elevated": 70, "highest": 99}[card.risk],
    }
    if reason is None:
        told = {"network_status": "approved_by_network", "reason": None, "seller_message": "Payment complete."}
        return {**common, **told, "type": "authorized"}
    if card.risk == "highest":
        message = "Stripe blocked this payment as too risky."
        told = {"network_status": "not_sent_to_network", "reason": "highest_risk_level", "seller_message": message}
        return {**common, **told, "type": "blocked"}
    message = "The bank did not return any further details with this decline."
    why = reason.decline_code or reason.code
    return {
        **common,
        "network_status": "declined_by_network",
        "reason": why,
        "seller_message": message,
        "type": "issuer_declined",
    }


def _debit(work: Work, intent: Object, method: Object) -> Object:
    """As at Stripe a debit is on the balance from the moment at which the bank is asked, whatever the bank will say."""
    charge = _begin(work, intent, method, authenticated=False)
    _enter(work, charge)
    own(charge)["stored"] = True
    work.add(charge)
    intent.update(status="processing", payment_method=method["id"], next_action=None, last_payment_error=None)
    intent["processing"] = {"type": "us_bank_account"}
    _use_up(work, intent, method)
    work.save(intent)
    work.put_off("finish_debit", intent["id"], seconds=DEBITED_AFTER_S)
    work.announce("charge.pending", charge)
    work.announce("payment_intent.processing", intent)
    return intent
