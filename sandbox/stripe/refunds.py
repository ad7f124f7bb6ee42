"""Refunds, whole and in part, and those that a bank sends back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stripe import ledger, money, params
from sandbox.stripe.money import Fee
from sandbox.stripe.own import own
from sandbox.stripe.refusals import Refused, malformed
from sandbox.stripe.shapes import afterwards
from sandbox.stripe.work import Object, Work

# What a bank takes to send a refund back, or to accept one that it thinks about.
_DECIDED_AFTER_S = 5


def create(work: Work, given: Mapping[str, Any]) -> Object:
    charge = _charge(work, given)
    amount = _amount(charge, given)
    metadata = params.merged({}, given.get("metadata") or {})
    refund = afterwards.refund(charge, amount=amount, reason=given.get("reason"), metadata=metadata, now=work.now)
    _pay_back(work, charge, refund)
    return refund


def _charge(work: Work, given: Mapping[str, Any]) -> Object:
    """The charge that money can be given back of."""
    if "charge" in given:
        charge = work.get("charge", given["charge"])
    elif "payment_intent" in given:
        charge = _charge_of(work, work.get("payment_intent", given["payment_intent"], param="payment_intent"))
    else:
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise malformed(message, param="payment_intent", code="parameter_missing")
    _check_refundable(charge)
    return charge


def _charge_of(work: Work, intent: Object) -> Object:
    if intent["latest_charge"] is None or intent["status"] != "succeeded":
        raise Refused(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.", param="payment_intent"
        )
    return work.get("charge", intent["latest_charge"])


def _check_refundable(charge: Object) -> None:
    if charge["status"] != "succeeded" or not charge["captured"]:
        message = f"Charge {charge['id']} has not been captured, so there is nothing to refund; cancel its PaymentIntent."
        raise Refused(message, code="charge_not_refundable", param="charge")
    if charge["disputed"] and not own(charge).get("refundable_dispute"):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise Refused(message, code="charge_disputed", param="charge")
    if charge["refunded"]:
        raise Refused(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded", param="charge")


def _amount(charge: Object, given: Mapping[str, Any]) -> int:
    left: int = charge["amount"] - charge["amount_refunded"]
    amount: int = given.get("amount", left)
    if amount < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount", code="parameter_invalid_integer")
    if amount > left:
        code = charge["currency"]
        asked, most = money.shown(amount, code), money.shown(left, code)
        message = f"Refund amount ({asked}) is greater than unrefunded amount on charge ({most})"
        raise Refused(message, param="amount")
    return amount


def _pay_back(work: Work, charge: Object, refund: Object) -> None:
    after = own(charge)["after"]
    if after == "refund_pending":
        refund.update(status="pending", pending_reason="processing")
        work.put_off("finish_refund", refund["id"], seconds=_DECIDED_AFTER_S)
    elif after == "refund_fails":
        work.put_off("fail_refund", refund["id"], seconds=_DECIDED_AFTER_S)
    refund["balance_transaction"] = ledger.move(
        work, refund, kind="refund", amount=-refund["amount"], available_on=work.now
    )["id"]
    previous = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge["amount_refunded"] += refund["amount"]
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    work.add(refund)
    work.save(charge)
    work.announce("refund.created", refund)
    work.announce("charge.refunded", charge, previous=previous)


def update(work: Work, refund: Object, given: Mapping[str, Any]) -> Object:
    previous = {"metadata": refund["metadata"]}
    if "metadata" in given:
        refund["metadata"] = params.merged(refund["metadata"], given["metadata"])
    work.save(refund)
    announce_update(work, refund, previous)
    return refund


def announce_update(work: Work, refund: Object, previous: Mapping[str, Any]) -> None:
    """The same fact has two types of events, for the charge's listeners and for the refund's."""
    work.announce("charge.refund.updated", refund, previous=previous)
    work.announce("refund.updated", refund, previous=previous)


def cancel(refund: Object) -> Object:
    """Only refunds that wait for the donor can be canceled, and no test card brings one."""
    message = f"Only refunds with the status requires_action can be canceled; {refund['id']} is {refund['status']}."
    raise Refused(message, code="refund_unexpected_state")


def finish(work: Work, refund: Object) -> None:
    """The bank has accepted it."""
    if refund["status"] == "pending":
        previous = {"status": "pending", "pending_reason": refund.pop("pending_reason", None)}
        refund["status"] = "succeeded"
        work.save(refund)
        announce_update(work, refund, previous)


def fail(work: Work, refund: Object, *, reason: str = "expired_or_canceled_card") -> Object:
    """The bank sent it back: the money is the merchant's again. A second time changes nothing."""
    if refund["status"] == "failed":
        return refund
    if own(refund).get("releases"):
        raise Refused(f"{refund['id']} released an authorisation; no bank can send that back.", param="refund")
    taken = work.get("balance_transaction", refund["balance_transaction"])
    entry = ledger.reverse(work, refund, taken, kind="refund_failure", category="refund_failure")
    previous = {"status": refund["status"], "failure_reason": None, "failure_balance_transaction": None}
    if "pending_reason" in refund:
        previous["pending_reason"] = refund.pop("pending_reason")
    refund.update(status="failed", failure_reason=reason, failure_balance_transaction=entry["id"])
    _owe_again(work, refund)
    work.save(refund)
    announce_update(work, refund, previous)
    work.announce("refund.failed", refund)
    return refund


def _owe_again(work: Work, refund: Object) -> None:
    """Counts a refund that failed out of what was given back of its charge."""
    charge = work.get("charge", refund["charge"])
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    work.save(charge)


def release(work: Work, charge: Object, entry: Object) -> None:
    """Takes back what a capture left of the authorisation, with its part of the fee in `entry`.

    To Stripe that is a refund which no event tells of: the charge counts it in `amount_refunded` from the capture on.
    """
    refund = afterwards.refund(charge, amount=own(charge)["released"], reason=None, metadata={}, now=work.now)
    own(refund)["releases"] = True

    def fee_of(amount: int, code: str) -> Fee:
        rest = money.charge_fee(entry["amount"] + amount, code)
        return rest._replace(amount=rest.amount - entry["fee"])

    moved = ledger.move(
        work,
        refund,
        kind="refund",
        category="partial_capture_reversal",
        amount=-refund["amount"],
        fee_of=fee_of,
        available_on=entry["available_on"],
    )
    refund["balance_transaction"] = moved["id"]
    work.add(refund)
