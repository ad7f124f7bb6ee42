"""What somebody does in Stripe's dashboard, or at a bank: without a call of the merchant's."""

from __future__ import annotations

from sandbox.stripe import conversion, disputes, ledger, money, payouts, refunds, switches
from sandbox.stripe.money import Worth
from sandbox.stripe.refusals import malformed
from sandbox.stripe.switches import Given
from sandbox.stripe.work import Object, Work, shown

# Why banks send a refund back.
_REFUND_FAILURES = ("declined", "expired_or_canceled_card", "lost_or_stolen_card", "unknown")


def open_dispute(work: Work, given: Given) -> Object:
    charge = switches.charge(work, given)
    return shown(
        disputes.open_dispute(
            work,
            charge,
            reason=given.text("reason", default="fraudulent"),
            inquiry=bool(given.get("inquiry")),
            amount=given.integer("amount"),
        )
    )


def win(work: Work, given: Given) -> Object:
    return shown(disputes.win(work, work.get("dispute", given.text("id"))))


def lose(work: Work, given: Given) -> Object:
    return shown(disputes.lose(work, work.get("dispute", given.text("id"))))


def refund(work: Work, given: Given) -> Object:
    charge = switches.charge(work, given)
    amount = given.integer("amount")
    return shown(refunds.create(work, {"charge": charge["id"], **({} if amount is None else {"amount": amount})}))


def fail_refund(work: Work, given: Given) -> Object:
    reason = given.choice("failure_reason", _REFUND_FAILURES, default="expired_or_canceled_card")
    return shown(refunds.fail(work, work.get("refund", given.text("id")), reason=reason))


def pay_out(work: Work, given: Given) -> Object:
    return shown(payouts.create(work, currency=given.get("currency"), amount=given.integer("amount")))


def fail_payout(work: Work, given: Given) -> Object:
    code = given.choice("failure_code", tuple(payouts.FAILURES), default="could_not_process")
    return shown(payouts.fail(work, work.get("payout", given.text("id")), code=code))


def take_fee(work: Work, given: Given) -> Object:
    """A bill of Stripe's that belongs to no payment."""
    code, amount = money.currency(given.text("currency", default="usd"), "currency"), given.integer("amount") or 0
    if amount < 1:
        raise malformed("This value must be greater than or equal to 1.", param="amount")
    billed = {"id": None, "description": given.text("description", default="Radar")}
    return shown(ledger.enter(work, billed, Worth(-amount, code), kind="stripe_fee", available_on=work.now))


def settle(work: Work, given: Given) -> Object:
    rates = given.get("rates") or {}
    if not isinstance(rates, dict):
        raise malformed("Invalid object", param="rates")
    return conversion.settle_in(work, given.get("currency"), rates)


def settlement(work: Work, _: Given) -> Object:
    return conversion.shown(work)
