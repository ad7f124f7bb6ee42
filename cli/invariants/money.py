"""P3, P5, P6, P10 and P11: what was taken and given back, once, and never more than there was."""

from __future__ import annotations

from cli.invariants import pairs, stripe
from cli.invariants.invariant import Findings
from cli.invariants.rows import collect_pages, demand_guards
from cli.invariants.stripe import StripeSide
from cli.invariants.view import THEIRS, View

# Kinds of attempts.
_CHARGE, _REFUND = 2, 5


async def nothing_from_nothing(view: View, findings: Findings) -> None:
    """P3: no payment without donation, no money without payment, no intent at Stripe without either."""
    walked = await view.once(pairs.walk)
    findings.checked = walked.payments
    findings.take(walked.unfounded)
    side = await _at_stripe(view, findings)
    if side:
        findings.take(side.unfounded)


async def charged_once(view: View, findings: Findings) -> None:
    """P5: one payment per donation, one intent per payment, at most one success; the same at Stripe."""
    async with view.snapshot("payment") as reading:
        findings.checked = await reading.value("payments")
        await collect_pages(findings, reading, "paid_twice", bound="paid_bound")
        await collect_pages(findings, reading, "intents_twice", bound="intent_bound", ids=THEIRS)
        await collect_pages(findings, reading, "objects_twice", _CHARGE, bound="object_bound", ids=THEIRS)
        guards = ("payment_donation_key", "payment_provider_key", "attempt_one_intent", "attempt_one_success")
        await demand_guards(findings, reading, *guards)
    side = await _at_stripe(view, findings)
    if side:
        findings.take(side.charged_twice)


async def states_are_facts(view: View, findings: Findings) -> None:
    """P6: figures and states computed anew from charges, refunds, disputes and what the provider said last."""
    async with view.snapshot("payment") as reading:
        findings.checked = await reading.value("payments")
        await collect_pages(findings, reading, "payments_unlike_facts", bound="payment_bound")
    async with view.snapshot("donation") as reading:
        findings.checked += await reading.value("donations")
        await collect_pages(findings, reading, "donations_unlike_facts", bound="donation_bound")


async def bounds(view: View, findings: Findings) -> None:
    """P10: nothing went back beyond what was taken; the database still refuses it."""
    async with view.snapshot("payment") as reading:
        findings.checked = await reading.value("payments")
        await collect_pages(findings, reading, "payments_out_of_bounds", bound="payment_bound")
        guards = ("payment_captured_bounded", "payment_returns_bounded", "payment_lost_bounded", "posting_reversal_bounded")
        await demand_guards(findings, reading, *guards)
    async with view.snapshot("donation") as reading:
        findings.checked += await reading.value("donations")
        await collect_pages(findings, reading, "donations_out_of_bounds", bound="donation_bound")
        await demand_guards(findings, reading, "donation_gross_bounded", "donation_returns_bounded")


async def returned_once(view: View, findings: Findings) -> None:
    """P11: each refund and dispute of the provider and each reversal of a checkout counts once, by its own amount."""
    async with view.snapshot("payment") as reading:
        findings.checked = await reading.value("reversals")
        await collect_pages(findings, reading, "objects_twice", _REFUND, bound="object_bound", ids=THEIRS)
        await collect_pages(findings, reading, "disputes_twice", bound="dispute_bound", ids=THEIRS)
        await demand_guards(findings, reading, "attempt_object_key", "dispute_pkey")
    async with view.snapshot("donation") as reading:
        findings.checked += await reading.value("recorded_reversals")
        await collect_pages(findings, reading, "reversed_otherwise", bound="donation_bound")
        # A reference is one key: P4 computes them anew.
        await demand_guards(findings, reading, "reversal_request_key")
    side = await _at_stripe(view, findings)
    if side:
        findings.take(side.returned_otherwise)


async def _at_stripe(view: View, findings: Findings) -> StripeSide | None:
    side = await view.once(stripe.compare)
    findings.note(f"compared with {side.intents} intents in the sandbox's book" if side else stripe.ABSENT)
    return side
