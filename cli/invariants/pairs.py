"""Donations beside their payments: two databases that no query crosses, walked side by side by donation id.

Nothing here is a false alarm while money moves. Of each page the donations are read first and the payments afterwards, so
that a donation can lag behind its payment and never know more than it. A payment without donation is looked up once more:
a donation is committed before its payment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

from cli.invariants.invariant import Findings
from cli.invariants.view import FIRST, LAST, Reading, Record, View

_PAGE = 2_000
# Each is looked at once more. That so many are behind is known without the others.
_BEHIND_MAX = 10_000


@dataclass(slots=True)
class Pairs:
    """What the walk found, by the donation's id. `behind`: those that have not heard their payment's newest version yet."""

    donations: int = 0
    payments: int = 0
    unfounded: Findings = field(default_factory=Findings)
    different: Findings = field(default_factory=Findings)
    of_others: Findings = field(default_factory=Findings)
    behind: dict[UUID, int] = field(default_factory=dict)


async def walk(view: View) -> Pairs:
    """Every donation whose payment we take, and every payment.

    Raises:
        NotHere: one of the databases is not known.
    """
    pairs = Pairs()
    async with view.present("donation") as donations, view.present("payment") as payments:
        async for page, upto, above in _pages(donations):
            paid = {row["donation_id"]: row for row in await payments.all("payments_of_promises", above, upto)}
            pairs.donations += len(page)
            pairs.payments += len(paid)
            for donation in page:
                _compare(pairs, donation, paid.pop(donation["id"], None))
            await _look_up(pairs, donations, paid)
    return pairs


async def _pages(donations: Reading) -> AsyncIterator[tuple[list[Record], UUID, UUID]]:
    """Pages of donations, the id up to which each reaches, and the one above which it begins."""
    above = FIRST
    while above != LAST:
        page = await donations.all("promises", above, _PAGE)
        upto = page[-1]["id"] if len(page) == _PAGE else LAST
        yield page, upto, above
        above = upto


async def _look_up(pairs: Pairs, donations: Reading, paid: dict[UUID, Record]) -> None:
    """Payments whose donations were not there a moment before."""
    if not paid:
        return
    later = {row["id"]: row for row in await donations.all("donations_by_id", list(paid))}
    for donation_id, payment in paid.items():
        donation = later.get(donation_id)
        if donation is None:
            pairs.unfounded.add(donation_id, f"payment {payment['id']} is for this donation, which does not exist")
        elif donation["origin"] != 1:
            pairs.unfounded.add(donation_id, f"payment {payment['id']} is for what a checkout has charged")
        else:
            _compare_made(pairs, donation, payment)


def _compare(pairs: Pairs, donation: Record, payment: Record | None) -> None:
    if payment is None:
        if donation["payment_id"] or donation["gross"]:
            named = donation["payment_id"] or "no payment"
            pairs.unfounded.add(donation["id"], f"counts {donation['gross']} by {named}, which does not exist")
        return
    _compare_made(pairs, donation, payment)
    heard, version = donation["payment_version"], payment["version"]
    if heard < version:
        if len(pairs.behind) < _BEHIND_MAX:
            pairs.behind[donation["id"]] = version
    elif heard > version:
        words = f"has heard version {heard} of payment {payment['id']}, which is at {version}"
        pairs.different.add(donation["id"], words)
    elif _figures(donation, "gross") != _figures(payment, "captured"):
        ours, theirs = _figures(donation, "gross"), _figures(payment, "captured")
        words = f"gross, refunded, disputed are {ours}, its payment at the same version says {theirs}"
        pairs.different.add(donation["id"], words)


def _figures(row: Record, first: str) -> list[int]:
    return [row[first], row["refunded"], row["disputed"]]


def _compare_made(pairs: Pairs, donation: Record, payment: Record) -> None:
    """What both were made with."""
    promised, asked = _order(donation), _order(payment)
    if promised != asked or donation["payment_id"] not in (None, payment["id"]):
        words = f"promised {promised} by payment {donation['payment_id']}; payment {payment['id']} asks for {asked}"
        pairs.different.add(donation["id"], words)
    ours, theirs = (tuple(map(str, (row["charity_id"], row["campaign_id"]))) for row in (donation, payment))
    if ours != theirs:
        pairs.of_others.add(donation["id"], f"is for charity and campaign {ours}, its payment for {theirs}")


def _order(row: Record) -> str:
    return f"{row['amount']} {row['currency']}"
