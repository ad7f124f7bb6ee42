"""P2 and P4: what was asked for once exists once, for ever, as it was asked for."""

from __future__ import annotations

from cli.invariants.invariant import Findings
from cli.invariants.rows import CHANGING, REMOVING, collect, collect_pages, demand_filled, demand_guards, forbid
from cli.invariants.view import View

# What a donation is made with, and what never changes afterwards.
_MADE_WITH = (
    "amount",
    "campaign_id",
    "caller",
    "charity_id",
    "currency",
    "donation_id",
    "fee_cover",
    "id",
    "origin",
    "payment_ref",
    "refund_ref",
    "request_digest",
    "request_key",
)
# What makes a key one thing, and what is not kept without the digest of its request.
_KEYS_OF_DONATIONS = (
    "charity_request_key",
    "campaign_request_key",
    "reversal_request_key",
    "reversal_fence",
    "command_pkey",
)
_FENCED = ("charity", "campaign", "command", "donation", "reversal")


async def donations_once(view: View, findings: Findings) -> None:
    """P2: no two donations under one key; none was removed or altered, as the trail says."""
    async with view.snapshot("donation") as reading:
        findings.checked = await reading.value("donations")
        await collect_pages(findings, reading, "donations_twice", bound="donation_bound")
        await collect_pages(findings, reading, "donations_altered", list(_MADE_WITH), bound="audit_bound")
        await demand_guards(findings, reading, "donation_pkey", "donation_request_key", "donation_recorded_fence")
        await forbid(findings, reading, REMOVING, "donation")


async def keys_for_ever(view: View, findings: Findings) -> None:
    """P4: each key once, with its digest, and nobody may remove one."""
    async with view.snapshot("donation") as reading:
        findings.checked = await reading.value("keys_of_donations")
        await collect_pages(findings, reading, "donations_unfenced", bound="donation_bound")
        await collect_pages(findings, reading, "reversals_unfenced", bound="reversal_bound")
        await collect(findings, reading, "letters_unfenced")
        await demand_guards(findings, reading, *_KEYS_OF_DONATIONS, "dead_letter_request_key")
        await demand_filled(findings, reading, "request_digest", *_FENCED)
        await forbid(findings, reading, CHANGING, "command", "reversal")
        await forbid(findings, reading, REMOVING, "charity", "campaign", "dead_letter")
    async with view.snapshot("payment") as reading:
        findings.checked += await reading.value("keys_of_payments")
        await collect(findings, reading, "letters_unfenced")
        await demand_guards(findings, reading, "command_pkey", "attempt_request_key", "dead_letter_request_key")
        await demand_filled(findings, reading, "request_digest", "command", "payment")
        await forbid(findings, reading, CHANGING, "command")
        await forbid(findings, reading, REMOVING, "payment", "attempt", "dead_letter")
