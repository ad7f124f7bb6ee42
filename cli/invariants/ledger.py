"""P8 and P9: the ledger balances, is only ever added to, and says what the payments say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cli.invariants import batches, pairs, stripe
from cli.invariants.invariant import Findings
from cli.invariants.rows import CHANGING, collect, collect_days, collect_pages, demand_guards, forbid
from cli.invariants.view import BYTEWISE, Reading, View
from mesh.money import Money

_TABLES = ("posting", "entry", "applied")


async def zero_sum(view: View, findings: Findings) -> None:
    """P8: every posting and every currency sums to zero; nothing but new postings can change that."""
    sums: Counter[str] = Counter()
    async with view.snapshot("payment") as reading:
        async for day in reading.days("posting_days"):
            findings.checked += await reading.value("postings_of_day", day)
            await collect(findings, reading, "postings_unbalanced", day)
            for row in await reading.all("sums_of_day", day):
                sums[row["currency"]] += row["total"]
        await _demand_append_only(findings, reading)
    for currency, total in sums.items():
        if total:
            findings.add(currency, f"all entries sum to {total} {currency}")


async def _demand_append_only(findings: Findings, reading: Reading) -> None:
    await demand_guards(
        findings, reading, "posting_balanced", "entry_whole_postings", "entry_amount_not_zero", "entry_account"
    )
    await forbid(findings, reading, CHANGING, *_TABLES, "account")
    await collect(findings, reading, "rights_on_partitions", list(_TABLES))


async def ledger_says_payments(view: View, findings: Findings) -> None:
    """P9: ledger, payments and donations say the same; a donation as far as it has heard of its payment."""
    async with view.snapshot("payment") as reading:
        findings.checked = await reading.value("payments")
        await collect_pages(findings, reading, "payments_unlike_ledger", bound="payment_bound")
        await batches.compare(findings, reading)
        await collect_pages(findings, reading, "movements_unlike_ledger", bound="movement_bound", ids=BYTEWISE)
        await collect_days(findings, reading, "settlements_unlike_movements", ends="posting_days")
        await demand_guards(findings, reading, "applied_pkey", "posting_settles_exactly", "balance_transaction_pkey")
        posted = await _on_balance(reading)
    walked = await view.once(pairs.walk)
    findings.take(walked.different)
    findings.note(await _beside_stripe(view, posted))


async def _on_balance(reading: Reading) -> Counter[str]:
    """What was posted to the provider's balance, by currency."""
    posted: Counter[str] = Counter()
    async for day in reading.days("posting_days"):
        for row in await reading.all("provider_balance_of_day", day):
            posted[row["currency"]] += row["total"]
    return posted


async def _beside_stripe(view: View, posted: Mapping[str, int]) -> str:
    """How much of Stripe's balance is posted. Movements are taken every ten minutes: what is missing may be on its way."""
    balance = await stripe.read_balance(view)
    if balance is None:
        return stripe.ABSENT
    if (rest := Counter(balance)) == Counter(posted):
        return "what is posted to provider_balance is Stripe's balance"
    rest.subtract(posted)
    left = ", ".join(str(Money(total, currency)) for currency, total in sorted(rest.items()) if total)
    return f"of Stripe's balance {left} is not posted; its movements are taken every ten minutes"
