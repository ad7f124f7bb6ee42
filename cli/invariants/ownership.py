"""P22 as far as rows show it: everything belongs to one charity, all the way."""

from __future__ import annotations

from cli.invariants import pairs
from cli.invariants.invariant import Findings
from cli.invariants.rows import collect, collect_days, collect_pages, demand_guards
from cli.invariants.view import View

_NOT_BUILT = "row-level security is not built: tenants are kept apart by the services"


async def one_owner(view: View, findings: Findings) -> None:
    """Charity, campaign and bucket agree over all tables and over both databases."""
    async with view.snapshot("donation") as reading:
        findings.checked = await reading.value("donations")
        await collect_pages(findings, reading, "donations_of_others", bound="donation_bound")
        await collect(findings, reading, "campaigns_of_others")
        guards = ("donation_bucket", "campaign_bucket", "campaign_charity", "reversal_donation", "personal_donation")
        await demand_guards(findings, reading, *guards)
    async with view.snapshot("payment") as reading:
        findings.checked += await reading.value("payments")
        await collect_pages(findings, reading, "payments_of_others", bound="payment_bound")
        await collect_days(findings, reading, "entries_of_others", ends="posting_days")
        await demand_guards(findings, reading, "payment_bucket", "attempt_payment", "dispute_payment")
    walked = await view.once(pairs.walk)
    findings.take(walked.of_others)
    findings.note(_NOT_BUILT)
