"""Payouts: money that leaves the balance for the merchant's bank, and that the bank may send back."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.stripe import conversion, ledger, money, params
from sandbox.stripe.money import Worth
from sandbox.stripe.own import own
from sandbox.stripe.refusals import Refused, malformed
from sandbox.stripe.shapes import afterwards
from sandbox.stripe.work import Object, Work

STATUS = params.one_of("canceled", "failed", "in_transit", "paid", "pending")
# What a bank takes to have the money.
_ARRIVES_AFTER_S = 86_400
# Why banks send a payout back.
FAILURES: Mapping[str, str] = {
    "account_closed": "The bank account has been closed.",
    "could_not_process": "The bank could not process this transfer.",
    "invalid_account_number": "The routing number seems correct, but the account number is invalid.",
    "no_account": "No bank account could be located with those details.",
}


def create(work: Work, *, currency: str | None = None, amount: int | None = None) -> Object:
    """A payout of all that is available, which remembers what it contains, or of an amount, which cannot.

    Raises:
        Refused: so much is not there.
    """
    code = _currency(work, currency)
    automatic = amount is None
    available = ledger.available(work, code)
    paid = _amount(available, code, amount)
    arrival = work.now + _ARRIVES_AFTER_S
    payout = afterwards.payout(amount=paid, currency=code, automatic=automatic, now=work.now, arrival_date=arrival)
    if automatic:
        work.ask("pay_out", payout["id"], code, work.now)
    entry = ledger.enter(work, payout, Worth(-paid, code), kind="payout", available_on=work.now)
    own(entry)["payout"] = payout["id"] if automatic else None
    payout["balance_transaction"] = entry["id"]
    work.add(payout)
    work.put_off("finish_payout", payout["id"], seconds=_ARRIVES_AFTER_S)
    work.announce("payout.created", payout)
    if automatic:
        work.announce("payout.reconciliation_completed", payout)
    return payout


def _currency(work: Work, given: str | None) -> str:
    if given is not None:
        return money.currency(given, "currency")
    account = conversion.settlement(work)
    return account.currency if account else "usd"


def _amount(available: int, code: str, asked: int | None) -> int:
    amount = available if asked is None else asked
    if asked is not None and asked < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount", code="parameter_invalid_integer")
    if amount < 1 or amount > available:
        message = f"You have insufficient funds in your Stripe account: {money.shown(available, code)} are available."
        raise Refused(message, code="balance_insufficient", param="amount")
    return amount


def check_contents_known(payout: Object) -> None:
    """Raises `Refused` for a payout that nobody can say the contents of."""
    if not payout["automatic"]:
        message = "Balance transaction history can only be filtered on automatic transfers, not manual."
        raise Refused(message, param="payout")


def finish(work: Work, payout: Object) -> None:
    """The bank has the money."""
    if payout["status"] == "pending":
        payout.update(status="paid", trace_id={"status": "unsupported", "value": None})
        work.save(payout)
        work.announce("payout.paid", payout)


def fail(work: Work, payout: Object, *, code: str) -> Object:
    """The bank sends it back, also after it was paid; what it contained stays its own. A second time changes nothing."""
    if payout["status"] == "failed":
        return payout
    taken = work.get("balance_transaction", payout["balance_transaction"])
    entry = ledger.reverse(work, payout, taken, kind="payout_failure", category="payout_reversal")
    payout.update(
        status="failed",
        failure_balance_transaction=entry["id"],
        failure_code=code,
        failure_message=FAILURES[code],
        trace_id={"status": "unsupported", "value": None},
    )
    work.save(payout)
    work.announce("payout.failed", payout)
    return payout
