"""Disputes: opened by the donor's bank, answered with evidence, won or lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stripe import ledger, money, params
from sandbox.stripe.own import own
from sandbox.stripe.refusals import Refused, malformed
from sandbox.stripe.shapes import afterwards
from sandbox.stripe.work import Object, Work

# What a bank takes to decide once evidence is there.
_DECIDED_AFTER_S = 2
_WAITING = ("needs_response", "warning_needs_response")
_OPEN = (*_WAITING, "under_review", "warning_under_review")
# What a card with this habit brings: reason and whether it is only a question.
BY_CARD: Mapping[str, tuple[str, bool]] = {
    "dispute": ("fraudulent", False),
    "not_received": ("product_not_received", False),
    "inquiry": ("fraudulent", True),
}
# Evidence by which Stripe's sandboxes decide.
VERDICTS: Mapping[str, str] = {"winning_evidence": "won", "losing_evidence": "lost"}


def open_dispute(
    work: Work, charge: Object, *, reason: str = "fraudulent", inquiry: bool = False, amount: int | None = None
) -> Object:
    """Opens one; all but an inquiry take the money at once."""
    if charge["disputed"]:
        raise Refused(f"Charge {charge['id']} is already disputed.", param="charge")
    if not charge["captured"] or charge["status"] != "succeeded":
        raise Refused(f"Charge {charge['id']} has not been captured, so nobody can dispute it.", param="charge")
    # A bank may take more than was captured.
    disputed = charge["amount_captured"] if amount is None else amount
    if disputed < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount")
    dispute = work.add(afterwards.dispute(charge, amount=disputed, reason=reason, inquiry=inquiry, now=work.now))
    charge["disputed"] = True
    own(charge)["refundable_dispute"] = inquiry
    work.save(charge)
    if not inquiry:
        _withdraw(work, dispute)
    work.announce("charge.dispute.created", dispute)
    if not inquiry:
        work.announce("charge.dispute.funds_withdrawn", dispute)
    return dispute


def _withdraw(work: Work, dispute: Object) -> None:
    entry = ledger.move(
        work,
        {**dispute, "description": f"Chargeback withdrawal for {dispute['charge']}"},
        kind="adjustment",
        category="dispute",
        amount=-dispute["amount"],
        fee_of=money.dispute_fee,
        available_on=work.now,
    )
    dispute["balance_transactions"].append(entry)
    work.save(dispute)


def update(work: Work, dispute: Object, given: Mapping[str, Any]) -> Object:
    """Takes evidence, and hands it in unless `submit` is false."""
    if "evidence" in given:
        _add_evidence(work, dispute, given)
    if "metadata" in given:
        dispute["metadata"] = params.merged(dispute["metadata"], given["metadata"])
    work.save(dispute)
    work.announce("charge.dispute.updated", dispute, previous={})
    return dispute


def _add_evidence(work: Work, dispute: Object, given: Mapping[str, Any]) -> None:
    if dispute["status"] not in _WAITING:
        raise Refused("This dispute is already closed or under review; evidence cannot be added.", code="dispute_not_open")
    dispute["evidence"].update(given["evidence"])
    dispute["evidence_details"]["has_evidence"] = True
    if given.get("submit", True):
        dispute["evidence_details"]["submission_count"] += 1
        dispute["status"] = "warning_under_review" if _is_inquiry(dispute) else "under_review"
        verdict = VERDICTS.get(dispute["evidence"]["uncategorized_text"] or "")
        if verdict:
            work.put_off(f"dispute_{verdict}", dispute["id"], seconds=_DECIDED_AFTER_S)


def _is_inquiry(dispute: Object) -> bool:
    return str(dispute["status"]).startswith("warning_")


def close(work: Work, dispute: Object) -> Object:
    """The merchant gives in."""
    if dispute["status"] not in _WAITING:
        raise Refused("This dispute is already closed or under review.", code="dispute_not_open")
    return lose(work, dispute)


def lose(work: Work, dispute: Object) -> Object:
    if dispute["status"] not in _OPEN:
        return dispute
    if _is_inquiry(dispute):
        _escalate(work, dispute)
    return _closed(work, dispute, "lost")


def _escalate(work: Work, dispute: Object) -> None:
    """The bank's question becomes a chargeback."""
    previous = {"status": dispute["status"], "is_charge_refundable": dispute["is_charge_refundable"]}
    dispute.update(status="needs_response", is_charge_refundable=False)
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    charge = work.get("charge", dispute["charge"])
    own(charge)["refundable_dispute"] = False
    work.save(charge)
    _withdraw(work, dispute)
    work.announce("charge.dispute.updated", dispute, previous=previous)
    work.announce("charge.dispute.funds_withdrawn", dispute)


def win(work: Work, dispute: Object) -> Object:
    """The money comes back; an inquiry is put down."""
    if dispute["status"] not in _OPEN:
        return dispute
    if _is_inquiry(dispute):
        return _closed(work, dispute, "warning_closed")
    _reinstate(work, dispute)
    return _closed(work, dispute, "won")


def _reinstate(work: Work, dispute: Object) -> None:
    source = {**dispute, "description": f"Chargeback reversal for {dispute['charge']}"}
    (withdrawn,) = dispute["balance_transactions"]
    entry = ledger.reverse(work, source, withdrawn, kind="adjustment", category="dispute_reversal")
    dispute["balance_transactions"].append(entry)
    dispute["status"] = "won"
    work.save(dispute)
    work.announce("charge.dispute.funds_reinstated", dispute)


def _closed(work: Work, dispute: Object, status: str) -> Object:
    dispute.update(status=status, is_charge_refundable=status == "warning_closed")
    work.save(dispute)
    work.announce("charge.dispute.closed", dispute)
    return dispute
