"""Stripe's side: the sandbox's own book beside our payments. The real Stripe shows no such book.

Ours is read first: what we know, Stripe knew before. Intents that nobody here seems to know are looked up once more, for a
payment is committed before its intent is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from cli.invariants.invariant import Findings
from cli.invariants.view import Record, View
from cli.stripe import Stripe

ABSENT = "Stripe's side is not compared: no sandbox runs here, and the real Stripe shows no book of its own"
_READ_S_MAX = 30


@dataclass(slots=True)
class StripeSide:
    """What the comparison found, by key. `differing`: payments that stand otherwise there, for now or for good."""

    intents: int = 0
    unfounded: Findings = field(default_factory=Findings)
    charged_twice: Findings = field(default_factory=Findings)
    returned_otherwise: Findings = field(default_factory=Findings)
    differing: dict[str, str] = field(default_factory=dict)


async def compare(view: View) -> StripeSide | None:
    """The sandbox's book beside ours, all of both in memory: a sandbox serves one machine. None where there is no sandbox.

    Raises:
        NotHere: the payments' database is not known.
    """
    if view.places.sandbox is None:
        return None
    async with view.snapshot("payment") as reading:
        ours = await reading.all("payments_at_provider")
        returns = await reading.all("returns_at_provider")
    intents = list((await _read(view.places.sandbox, "/sandbox/book"))["payment_intents"])
    side = StripeSide(intents=len(intents))
    _compare_payments(side, ours, {intent["id"]: intent for intent in intents})
    _compare_returns(side, returns, intents)
    await _compare_promises(side, view, intents)
    return side


async def read_balance(view: View) -> Counter[str] | None:
    """What is on the sandbox's balance by currency, pending or available; None where there is no sandbox."""
    if view.places.sandbox is None:
        return None
    shown = await _read(view.places.sandbox, "/v1/balance")
    balance: Counter[str] = Counter()
    for part in (*shown["available"], *shown["pending"]):
        balance[part["currency"].upper()] += part["amount"]
    return balance


async def _read(sandbox: Stripe, path: str) -> Any:
    timeout = aiohttp.ClientTimeout(total=_READ_S_MAX)
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout, raise_for_status=True) as session,
        session.get(f"{sandbox.sandbox_url}{path}") as answer,
    ):
        return await answer.json()


def _compare_payments(side: StripeSide, ours: list[Record], theirs: Mapping[str, Mapping[str, Any]]) -> None:
    for payment in ours:
        intent = theirs.get(payment["provider_id"] or "")
        if payment["provider_id"] is None:
            continue
        if intent is None:
            side.unfounded.add(str(payment["id"]), f"Stripe has no intent {payment['provider_id']}")
        elif payment["captured"] > intent["captured"]:
            words = f"captured is {payment['captured']}, Stripe took {intent['captured']} with {intent['id']}"
            side.charged_twice.add(str(payment["id"]), words)
        elif (found := _figures(payment)) != (wanted := _figures(intent)):
            words = f"captured, refunded, disputed are {found}, at Stripe {wanted}"
            side.differing[str(payment["id"])] = words


def _figures(side: Any) -> tuple[int, int, int]:
    """What was taken, what went back, what banks hold; of what was never taken nothing can."""
    captured, refunded = side["captured"], min(side["refunded"], side["captured"])
    return captured, refunded, min(side["disputed"], captured - refunded)


def _compare_returns(side: StripeSide, returns: list[Record], intents: list[dict[str, Any]]) -> None:
    theirs = {part["id"]: part["amount"] for intent in intents for part in (*intent["refunds"], *intent["disputes"])}
    for entry in returns:
        amount = theirs.get(entry["id"], "nothing")
        if amount != entry["amount"]:
            words = f"moves {entry['amount']} of payment {entry['payment_id']}, at Stripe {amount}"
            side.returned_otherwise.add(entry["id"], words)


async def _compare_promises(side: StripeSide, view: View, intents: list[dict[str, Any]]) -> None:
    """Intents by the donation that our metadata on them name."""
    named = Counter(str(intent["metadata"]["donation_id"]) for intent in intents if "donation_id" in intent["metadata"])
    async with view.present("payment") as reading:
        known = {row["name"] for row in await reading.all("payments_known", list(named))}
    for name in sorted(named.keys() - known):
        side.unfounded.add(name, "Stripe has an intent for this donation, which has no payment")
    for name, count in named.items():
        if count > 1:
            side.charged_twice.add(name, f"Stripe has {count} intents for it")
    for intent in intents:
        if intent["successful_charges"] > 1:
            words = f"{intent['successful_charges']} charges of this intent succeeded at Stripe"
            side.charged_twice.add(intent["id"], words)
