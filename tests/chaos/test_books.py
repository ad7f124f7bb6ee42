"""What callers were told beside what is stored: each way in which the two can contradict, and none where they do not."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.books import Row, compare, operations
from chaos.calls import Way

CAMPAIGN = "0190b4a2-0000-7000-8000-00000000c0de"
DONATION = "0190b4a2-0000-7000-8000-0000000000d0"


def sent(name: str, kind: str, body: dict[str, Any], **about: str) -> dict[str, Any]:
    return {"what": "send", "id": name, "kind": kind, "way": Way.REST, "path": "", "body": body, "about": about}


def answered(name: str, outcome: str = "done", **facts: Any) -> dict[str, Any]:
    return {"what": "answer", "id": name, "outcome": outcome, "words": "", **facts}


def gift(**changes: Any) -> dict[str, Any]:
    return {"campaign_id": CAMPAIGN, "minor_units": 500, "currency": "EUR", "payment_ref": "g", **changes}


PROMISED = {"campaign_id": CAMPAIGN, "amount": {"minor_units": "500", "currency": "EUR"}}
RECORDED = [sent("g", "record", gift()), answered("g", donation_id=DONATION)]
PAID = [
    sent("g", "promise", PROMISED),
    answered("g", donation_id=DONATION),
    sent("p", "pay", {}, donation_id=DONATION),
    answered("p", status="succeeded"),
]


def row(**changes: Any) -> Row:
    plain = {"campaign_id": CAMPAIGN, "currency": "EUR", "amount": 500, "gross": 500, "refunded": 0, "disputed": 0}
    return Row(**{"donation_id": DONATION, "name": "g", **plain, **changes})


def found(entries: list[dict[str, Any]], *rows: Row) -> list[str]:
    return [violation.number for violation in compare(operations(entries), rows)]


def refund(outcome: str | None, **facts: Any) -> list[dict[str, Any]]:
    body = {"amount": {"minor_units": "200", "currency": "EUR"}}
    answer = [answered("r", outcome, **facts)] if outcome else []
    return [*PAID, sent("r", "refund", body, donation_id=DONATION), *answer]


def dashboard(outcome: str) -> list[dict[str, Any]]:
    return [*PAID, sent("r", "dashboard", {"amount": 200}, donation_id=DONATION), answered("r", outcome)]


def dispute(*more: dict[str, Any]) -> list[dict[str, Any]]:
    return [*PAID, sent("d", "dispute", {}, donation_id=DONATION), answered("d"), *more]


WON = [sent("w", "win", {}, donation_id=DONATION), answered("w")]
WON_PERHAPS = [sent("w", "win", {}, donation_id=DONATION)]


@pytest.mark.requirement("RES-1", "RES-2")
@pytest.mark.parametrize(
    ("entries", "rows"),
    [
        (RECORDED, [row()]),
        (RECORDED[:1], []),
        (RECORDED[:1], [row()]),
        ([RECORDED[0], answered("g", "refused")], []),
        (PAID, [row()]),
        (PAID[:3], [row()]),
        (PAID[:3], [row(gross=0)]),
        (refund(None), [row()]),
        (refund(None), [row(refunded=200)]),
        (refund("done", refunded="0"), [row()]),
        (refund("done", refunded="200"), [row(refunded=200)]),
        (dashboard("done"), [row(refunded=200)]),
        (dashboard("unknown"), [row()]),
        (dispute(), [row(disputed=500)]),
        (dispute(*WON), [row()]),
        (dispute(*WON_PERHAPS), [row()]),
        (dispute(*WON_PERHAPS), [row(disputed=500)]),
    ],
)
def test_what_was_done_is_there_and_what_is_unknown_may_be(entries: list[dict[str, Any]], rows: list[Row]):
    assert found(entries, *rows) == []


REUSED = [*RECORDED, sent("u", "reuse", gift(minor_units=501), of="g"), answered("u")]


@pytest.mark.requirement("RES-1", "RES-2")
@pytest.mark.parametrize(
    ("entries", "rows", "numbers"),
    [
        (RECORDED, [], ["P1"]),
        (PAID, [row(gross=0)], ["P1"]),
        (RECORDED, [row(), row(donation_id=CAMPAIGN)], ["P2", "P4"]),
        (RECORDED, [row(amount=501)], ["P2", "P1"]),
        (RECORDED, [row(currency="USD")], ["P2"]),
        ([], [row()], ["P3"]),
        ([RECORDED[0], answered("g", "refused")], [row()], ["P3"]),
        (RECORDED, [row(donation_id=CAMPAIGN)], ["P4"]),
        (REUSED, [row()], ["P4"]),
        (PAID[:2], [row()], ["P1"]),
        (PAID, [row(refunded=1)], ["P11"]),
        (refund(None), [row(refunded=201)], ["P11"]),
        (refund("refused"), [row(refunded=200)], ["P11"]),
        (refund("done", refunded="200"), [row()], ["P11"]),
        (dashboard("done"), [row()], ["P11"]),
        (PAID, [row(disputed=500)], ["P11"]),
        (dispute(), [row()], ["P11"]),
        (dispute(*WON), [row(disputed=500)], ["P11"]),
    ],
)
def test_each_contradiction_has_the_number_of_what_it_breaks(
    entries: list[dict[str, Any]], rows: list[Row], numbers: list[str]
):
    assert found(entries, *rows) == numbers
