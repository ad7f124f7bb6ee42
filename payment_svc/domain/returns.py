"""How money goes back: refunds and disputes, each known by its own id, and what they sum to.

A refund and a dispute each move one way only, so a payment's figures are a function of which of them were seen, in whatever
order, and however often. What the charge says of their sum is no figure of ours: where it differs, the provider is asked for
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from payment_svc.domain.facts import Contradiction, DisputeSeen, RefundAsked, RefundSeen, ReturnsListed
from payment_svc.domain.payments import Attempt, AttemptKind, Dispute, DisputeState, Outcome, Payment, ReturnsSaid

# A refund moves from left to right only: a bank may send back what had been accepted.
_CERTAINTY = (Outcome.PENDING, Outcome.SUCCEEDED, Outcome.REFUSED)


def refund_asked(payment: Payment, fact: RefundAsked) -> Payment:
    """One call more, unless this wish has one."""
    if any(attempt.request_key == fact.request_key for attempt in payment.attempts):
        return payment
    call = Attempt(
        None,
        AttemptKind.REFUND,
        Outcome.PENDING,
        amount=fact.amount,
        reason=fact.reason,
        request_key=fact.request_key,
    )
    return replace(payment, attempts=(*payment.attempts, call))


def refund_seen(payment: Payment, fact: RefundSeen) -> Payment:
    """The refund as it is known now; one that nobody here asked for was made at the provider."""
    if fact.amount.currency != payment.amount.currency or not 0 < fact.amount.minor_units <= payment.amount.minor_units:
        raise Contradiction("a refund's amount or currency is not of this payment")
    known = _known_refund(payment, fact)
    others = tuple(attempt for attempt in payment.attempts if attempt is not known)
    return replace(payment, attempts=(*others, _merged(known, fact)))


def _known_refund(payment: Payment, fact: RefundSeen) -> Attempt | None:
    refunds = payment.calls(AttemptKind.REFUND)
    by_id = next((refund for refund in refunds if refund.object_id == fact.refund_id), None)
    if by_id or not fact.attempt_id:
        return by_id
    return next((refund for refund in refunds if refund.open and str(refund.id) == fact.attempt_id), None)


def _merged(known: Attempt | None, fact: RefundSeen) -> Attempt:
    made = known or Attempt(None, AttemptKind.REFUND, fact.outcome, amount=fact.amount.minor_units)
    if made.amount != fact.amount.minor_units:
        raise Contradiction("a refund's amount is not what was asked for")
    seen = (_CERTAINTY.index(fact.outcome), fact.code)
    # What only doubt was known of is known now.
    before = (_CERTAINTY.index(made.outcome), made.code) if made.object_id else seen
    rank, code = max(before, seen)
    return replace(
        made,
        outcome=_CERTAINTY[rank],
        code=code,
        object_id=fact.refund_id,
        second=fact.second,
        saved=False,
        doubt_time=None,
    )


def dispute_seen(payment: Payment, fact: DisputeSeen) -> Payment:
    """The dispute as it is known now."""
    # A bank may take more than was charged: what goes beyond is `Payment.excess`.
    if fact.amount.currency != payment.amount.currency or fact.amount.minor_units <= 0:
        raise Contradiction("a dispute's amount or currency is not of this payment")
    seen = Dispute(fact.dispute_id, fact.amount.minor_units, fact.state, fact.withdrawals, fact.reinstatements, fact.reason)
    others = tuple(dispute for dispute in payment.disputes if dispute.provider_id != fact.dispute_id)
    known = next((dispute for dispute in payment.disputes if dispute.provider_id == fact.dispute_id), seen)
    merged = replace(
        known,
        # A bank may raise what it asks for, and never lowers it.
        amount=max(known.amount, seen.amount),
        state=max(known.state, seen.state),
        withdrawals=max(known.withdrawals, seen.withdrawals),
        reinstatements=max(known.reinstatements, seen.reinstatements),
    )
    return replace(payment, disputes=tuple(sorted((*others, merged), key=lambda dispute: dispute.provider_id)))


def listed(payment: Payment, fact: ReturnsListed) -> Payment:
    """Everything that the provider has, each like a fact of its own, and that this is all."""
    shown = {refund.refund_id for refund in fact.refunds}
    before = [refund for refund in payment.attempts if refund.gone_back and refund.second < fact.second]
    if any(refund.object_id not in shown for refund in before):
        raise Contradiction("a refund that the provider told of is not among those that it lists")
    refunded = sum(refund.amount.minor_units for refund in fact.refunds if refund.outcome is not Outcome.REFUSED)
    said = ReturnsSaid(fact.second, refunded, bool(fact.disputes))
    after = reduce(dispute_seen, fact.disputes, reduce(refund_seen, fact.refunds, payment))
    return replace(after, returns_said=newest(payment.returns_said, said))


def newest(known: ReturnsSaid | None, said: ReturnsSaid | None) -> ReturnsSaid | None:
    """Of two sayings the later one."""
    return max((saying for saying in (known, said) if saying), default=None)


def counted(payment: Payment) -> Payment:
    """The payment with the figures that its refunds and disputes amount to, together never more than was taken.

    What goes beyond is `Payment.excess`. A wish that nothing is left for stays a wish: the provider will refuse it.
    """
    refunded = min(sum(attempt.gone_back for attempt in payment.attempts), payment.captured)
    disputed = min(_sum(payment.disputes), payment.captured - refunded)
    lost = min(_sum([dispute for dispute in payment.disputes if dispute.state is DisputeState.LOST]), disputed)
    refunding = min(asked(payment), payment.captured - refunded - disputed)
    return replace(payment, refunded=refunded, disputed=disputed, lost=lost, refunding=refunding)


def asked(payment: Payment) -> int:
    """The sum of the refunds that were asked for and that the provider has not shown."""
    return sum(refund.amount for refund in payment.calls(AttemptKind.REFUND) if refund.open)


def _sum(disputes: Sequence[Dispute]) -> int:
    return sum(dispute.held for dispute in disputes)
