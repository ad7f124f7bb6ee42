"""The demonstration's promises: what is planned, what every book has to say of it, and what would be found wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from giving.donation.v1.donation_pb2 import Donation

from cli import books, charges, demo, promises
from cli.books import Line, Part, Reading, Unreadable
from cli.charges import Charged, Stored
from cli.family import ProcessKey
from cli.folder import DataFolder
from cli.promises import Course, Promise
from cli.runfile import Entry, Run
from cli.verdict import Found


def promise(course: Course, *, units: int = 500, currency: str = "USD") -> Promise:
    return Promise("key", "browser", currency, units, course)


def test_a_plan_holds_every_course_and_can_be_repeated():
    planned = promises.plan(seed="x", count=500)
    assert planned == promises.plan(seed="x", count=500)
    assert {one.course for one in planned} == set(Course)
    assert len({one.request_id for one in planned} | {one.client_id for one in planned}) == 1000


def test_only_what_was_paid_is_in_the_books():
    planned = [promise(course, units=100 + number) for number, course in enumerate(Course)]
    assert promises.book(planned) == {"USD": Line(net=201, gross=201, refunded=0, donations=2, donors=0)}


def test_recorded_and_paid_gifts_make_the_total_together():
    recorded = {
        "USD": Line(net=5, gross=6, refunded=1, donations=2, donors=1),
        "EUR": Line(net=1, gross=1, refunded=0, donations=1, donors=1),
    }
    paid = {"USD": Line(net=10, gross=10, refunded=0, donations=1, donors=0)}
    assert books.total(recorded, paid) == {
        "USD": Line(net=15, gross=16, refunded=1, donations=3, donors=1),
        "EUR": recorded["EUR"],
    }


PAID = promise(Course.PAYS)
CHARGE = Charged("d1", "USD", 500, captured=500, successful_charges=1)
DONATION = Stored("d1", "USD", 500, gross=500, state=Donation.STATE_SUCCEEDED)


def test_a_paid_promise_with_its_one_charge_is_no_contradiction():
    assert list(charges.contradictions({"d1": PAID}, [CHARGE], [DONATION])) == []
    assert charges.book([CHARGE, replace(CHARGE, captured=0, successful_charges=0)]) == {"USD": Line(net=500, donations=1)}


@pytest.mark.parametrize("course", [Course.DECLINED, Course.LEAVES])
def test_what_was_not_paid_has_no_charge_and_counts_nothing(course: Course):
    charge = replace(CHARGE, captured=0, successful_charges=0)
    donation = replace(DONATION, gross=0, state=promises.ENDS[course])
    assert list(charges.contradictions({"d1": promise(course)}, [charge], [donation])) == []
    assert len(list(charges.contradictions({"d1": promise(course)}, [CHARGE], [DONATION]))) == 2


@pytest.mark.parametrize(
    ("charged", "stored", "words"),
    [
        ([replace(CHARGE, captured=1000, successful_charges=2)], [DONATION], "successful charges"),
        ([replace(CHARGE, captured=499)], [DONATION], "captured"),
        ([replace(CHARGE, currency="EUR")], [DONATION], "currency"),
        ([CHARGE, CHARGE], [DONATION], "the sandbox has d1 2 times"),
        ([], [DONATION], "the sandbox has d1 0 times"),
        ([CHARGE], [], "the donation service has d1 0 times"),
        ([CHARGE, replace(CHARGE, donation_id="d2")], [DONATION], "the sandbox has d2, which nobody promised"),
        ([CHARGE], [DONATION, replace(DONATION, donation_id="d2")], "the donation service has d2, which nobody promised"),
        ([CHARGE], [replace(DONATION, state=Donation.STATE_FAILED)], "state"),
        ([CHARGE], [replace(DONATION, gross=0)], "gross"),
    ],
)
def test_whatever_differs_between_charges_and_donations_is_told(charged: list[Charged], stored: list[Stored], words: str):
    (told,) = charges.contradictions({"d1": PAID}, charged, stored)
    assert words in told


def test_the_verdict_needs_every_book_and_every_charge():
    expected = {Part.ALL: {"USD": Line(net=1)}, Part.RECORDED: {}, Part.PAID: {"USD": Line(net=1)}}
    right = {"all": Reading(Part.ALL, {"USD": Line(net=1)}), "recorded": Reading(Part.RECORDED, {})}
    assert Found(right, ()).agrees(expected)
    assert not Found(right, ("a charge too many",)).agrees(expected)
    assert not Found({**right, "provider": Reading(Part.PAID, {})}, ()).agrees(expected)
    assert not Found({**right, "provider": Reading(Part.PAID, Unreadable("away"))}, ()).agrees(expected)


def test_without_a_sandbox_nothing_is_paid(tmp_path: Path):
    run = Run(supervisor=ProcessKey(1, 1), parts=())
    assert demo._sandbox(run, DataFolder(tmp_path)) is None
    sandbox = Entry(name="sandbox", pid=1, started=1, probe="http", address="127.0.0.1:1", since=0)
    found = demo._sandbox(replace(run, parts=(sandbox,)), DataFolder(tmp_path))
    assert found is not None
    assert (found.sandbox_url, found.api_key[:8], found.publishable_key[:8]) == (
        "http://127.0.0.1:1",
        "sk_test_",
        "pk_test_",
    )
