"""What the provider's codes mean is published, and what is published is what happens."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from payment_svc.domain.asking import DAY, manual_reason, retry_at
from payment_svc.domain.facts import CallRefused, CallUnproven, RefundAsked
from payment_svc.domain.meanings import OF_CALLS as CALLS_TOLD
from payment_svc.domain.meanings import OF_PAYMENTS
from payment_svc.domain.payments import AttemptKind, DisputeState, Payment, PaymentState
from payment_svc.domain.reasons import OF_CALLS, Cure, of_call
from tests.support.payment_facts import NOW, PAID, after, dispute, refund

DOCUMENT = Path(__file__).parents[2] / "docs" / "failures.md"
CALL = UUID(int=7)


def asked_for() -> Payment:
    """A payment that was paid, with a refund that is being made."""
    wished = after(*PAID, RefundAsked(UUID(int=1), 1000, "a wish"))
    *others, call = wished.attempts
    return replace(wished, attempts=(*others, replace(call, id=CALL, create_time=NOW)))


@pytest.mark.requirement("PAY-11")
def test_the_published_table_is_the_one_that_is_used() -> None:
    _, _, section = DOCUMENT.read_text().partition("## Refusals of our own calls")
    rows = re.findall(r"^\| (`[^|]+) \| (\w+) \| (\d+) \|", section, flags=re.MULTILINE)
    published = {code: (cure, int(tries)) for codes, cure, tries in rows for code in re.findall(r"`(\w+)`", codes)}
    assert published == {code: (reason.cure.value, reason.tries_max) for code, reason in OF_CALLS.items()}
    assert {cure for cure, _ in published.values()} == {cure.value for cure in Cure}
    assert of_call("a code of next year").cure is Cure.END


@pytest.mark.requirement("PAY-11")
def test_what_is_refused_too_often_is_in_the_manual_queue_with_its_reason_and_leaves_it_when_it_is_done() -> None:
    payment = asked_for()
    for number in range(1, 7):
        assert manual_reason(payment, now=NOW) == ""
        payment = after(CallRefused(CALL, number, "balance_insufficient", again=True, time=NOW), start=payment)
    assert manual_reason(payment, now=NOW) == "refund: refused 6 times: balance_insufficient"
    done = after(refund("re_1", 1000, attempt_id=str(CALL)), start=payment)
    assert manual_reason(done, now=NOW) == ""


@pytest.mark.requirement("PAY-11", "REC-1")
def test_what_is_unproven_for_a_day_is_in_the_manual_queue() -> None:
    payment = after(CallUnproven(AttemptKind.REFUND, NOW, attempt_id=CALL), start=asked_for())
    assert manual_reason(payment, now=NOW + DAY - datetime.timedelta(seconds=1)) == ""
    assert manual_reason(payment, now=NOW + DAY) == "refund: unproven for a day"


@pytest.mark.requirement("PAY-11", "REC-1")
def test_what_was_proven_not_to_be_made_is_made_again_and_is_no_business_of_an_operator() -> None:
    unproven = after(CallUnproven(AttemptKind.REFUND, NOW, saved=True, attempt_id=CALL), start=asked_for())
    again = after(CallRefused(CALL, 1, "provider_error", again=True, time=NOW), start=unproven)
    assert manual_reason(again, now=NOW) == ""


@pytest.mark.requirement("PAY-4", "PAY-5")
def test_a_look_up_proves_nothing_about_a_call_that_was_made_meanwhile() -> None:
    unproven = after(CallUnproven(AttemptKind.REFUND, NOW, saved=True, attempt_id=CALL), start=asked_for())
    looked_up = CallRefused(CALL, 1, "provider_error", again=True, time=NOW, calls=0)
    *others, call = unproven.attempts
    meanwhile = replace(unproven, attempts=(*others, replace(call, calls=1)))
    assert after(looked_up, start=meanwhile) == meanwhile
    assert after(looked_up, start=unproven).attempts[-1].refusals == 1


@pytest.mark.requirement("PAY-11")
def test_a_call_that_the_provider_turns_away_for_a_day_is_in_the_manual_queue() -> None:
    payment = asked_for()
    assert manual_reason(payment, now=NOW + DAY - datetime.timedelta(seconds=1)) == ""
    assert manual_reason(payment, now=NOW + DAY) == "refund: open for a day"


@pytest.mark.requirement("PAY-6", "PAY-11")
def test_a_bank_that_takes_more_than_was_charged_takes_all_and_is_for_an_operator() -> None:
    payment = after(*PAID, dispute("dp_1", 2600, DisputeState.OPEN, 1))
    assert (payment.state, payment.disputed, payment.excess) == (PaymentState.DISPUTED, 2500, 100)
    assert manual_reason(payment, now=NOW) == "more went back than was taken"


@pytest.mark.requirement("PAY-11")
def test_more_that_went_back_than_was_taken_is_for_an_operator() -> None:
    payment = after(*PAID, refund("re_1", 2000), refund("re_2", 2000))
    assert (payment.refunded, payment.excess) == (2500, 1500)
    assert manual_reason(payment, now=NOW) == "more went back than was taken"


@pytest.mark.requirement("PAY-11")
def test_a_refused_call_is_made_again_at_growing_distances() -> None:
    waits = [(retry_at(refusals=refusals, now=NOW) - NOW).total_seconds() for refusals in range(1, 8)]
    assert waits == [30, 120, 600, 3600, 21600, 86400, 86400]


@pytest.mark.requirement("PAY-11", "OPS-3")
@pytest.mark.parametrize(
    ("meanings", "column", "sections"),
    [(OF_PAYMENTS, 1, ("Declines", "Refusals")), (CALLS_TOLD, 3, ("Refusals of our own calls",))],
)
def test_operators_are_told_of_each_code_what_is_published(
    meanings: Mapping[str, str], column: int, sections: tuple[str, ...]
) -> None:
    published = {}
    for section in sections:
        text = re.split(r"^## ", DOCUMENT.read_text().split(f"## {section}\n")[1], flags=re.MULTILINE)[0]
        for cells in (line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")):
            published |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[column])
    assert set(meanings) == set(published)
    assert [code for code, words in meanings.items() if not published[code].startswith(words)] == []
