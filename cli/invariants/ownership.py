"""P22 as far as rows show it: everything belongs to one charity, all the way."""

from __future__ import annotations

from cli.invariants import pairs
from cli.invariants.invariant import Findings
from cli.invariants.rows import collect, demand_guards
from cli.invariants.view import View

_NOT_BUILT = "row-level security is not built: tenants are kept apart by the services"


async def one_owner(view: View, findings: Findings) -> None:
    """Charity, campaign and bucket agree over all tables and over both databases."""
    async with view.snapshot("donation") as reading:
        findings.checked = await reading.value("donations")
        await collect(findings, reading, "donations_of_others")
        guards = ("donation_bucket", "campaign_bucket", "campaign_charity", "reversal_donation", "personal_donation")
        await demand_guards(findings, reading, *guards)
    async with view.snapshot("payment") as reading:
        findings.checked += await reading.value("payments")
        await collect(findings, reading, "payments_of_others")
        async for day in reading.days("posting_days"):
            await collect(findings, reading, "entries_of_others", day)
        await demand_guards(findings, reading, "payment_bucket", "attempt_payment", "dispute_payment")
    walked = await view.once(pairs.walk)
    findings.take(walked.of_others)
    findings.note(_NOT_BUILT)
