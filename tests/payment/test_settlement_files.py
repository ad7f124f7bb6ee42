"""Settlement files: each row ends in a class, each file counts as a whole or not at all, and once."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from giving.common.v1.money_pb2 import Money
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1 import payment_pb2

from payment_svc.service import settlement_files
from tests.sandbox.payments import pay_at_once
from tests.support.refused import refused
from tests.support.sandbox import closing
from tests.support.settling import Settling, classes_of, lines_of, parts_of
from tests.support.waiting import until

P = payment_pb2.Payment
Row = dict[str, str]
# Nothing is older, and nothing here is made later.
ALL = {"start": "0", "end": "4000000000"}


def rows_of(text: str) -> list[Row]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def text_of(rows: list[Row]) -> str:
    """A report of rows, each of which may bring columns of its own."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


async def rows_about(settling: Settling, *payments: P) -> list[Row]:
    """Stripe's report of some payments."""
    intents = {payment.provider_id for payment in payments}
    return [row for row in rows_of(await settling.till.sandbox.settlement(**ALL)) if row["payment_intent_id"] in intents]


async def taken(settling: Settling) -> tuple[int, ...]:
    """How much settlement has left in the books."""
    counts = [
        await settling.rows.fetchval(f"SELECT count(*) FROM {table}")
        for table in ("settlement_file", "settlement_line", "settlement_finding", "balance_transaction", "posting")
    ]
    return tuple(counts)


@pytest.mark.requirement("REC-2", "REC-4")
async def test_a_good_file_matches_and_is_posted_once_though_the_balance_is_walked_too(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    (row,) = await rows_about(settling, payment)
    answer = await settling.upload(text_of([row]))
    assert (lines_of(answer), answer.rows, answer.replayed) == ({("matched", "USD"): (1, 9_680)}, 1, False)
    await settling.looked()
    before = await settling.accounts(payment.payment_id)
    assert before == {("provider_balance", "USD"): 9_680, ("fees", "USD"): 320, ("campaign_payable", "USD"): -10_000}
    await settling.walk()
    assert await settling.accounts(payment.payment_id) == before
    assert await settling.movements(payment.payment_id) == [("charge", "matched")]
    stored = await settling.rows.fetchrow("SELECT * FROM balance_transaction WHERE id = $1", row["balance_transaction_id"])
    assert (stored["origin"], stored["line"]) == ("file", 2)


@pytest.mark.requirement("REC-2", "IDM-1")
async def test_a_repeat_is_known_by_its_content_and_returns_the_first_outcome(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    text = text_of(await rows_about(settling, payment))
    first = await settling.upload(text)
    await settling.looked()
    before = await taken(settling)
    call = settling.operator.UploadSettlement(parts_of(text, name="another name.csv"))
    again = await call
    assert (lines_of(again), again.rows, again.replayed) == (lines_of(first), first.rows, True)
    assert dict(await call.trailing_metadata())["idempotent-replayed"] == "true"
    # The header says it all: nothing more has to be sent.
    assert (await settling.operator.UploadSettlement(parts_of(text)[:1])).replayed
    assert await taken(settling) == before


@pytest.mark.requirement("REC-2")
async def test_of_the_same_file_at_once_one_counts(settling: Settling) -> None:
    text = text_of(await rows_about(settling, await settling.paid(10_000), await settling.paid(9_000)))
    answers = await asyncio.gather(*(settling.upload(text) for _ in range(4)), return_exceptions=True)
    done = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [answer.replayed for answer in done].count(False) == 1
    assert {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)} <= {
        grpc.StatusCode.RESOURCE_EXHAUSTED
    }
    assert (await settling.upload(text)).replayed


@pytest.mark.requirement("REC-2")
async def test_a_file_that_stands_still_is_given_up_and_keeps_no_other_waiting(
    settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement_files, "PART_S_MAX", 0.1)
    text = text_of(await rows_about(settling, await settling.paid(10_000)))
    given_up = asyncio.Event()

    async def begun() -> AsyncIterator[messages.UploadSettlementRequest]:
        header, first, *_ = parts_of(text)
        yield header
        yield first
        await given_up.wait()

    call = settling.operator.UploadSettlement(begun())
    refusal = await refused(call, whole=True)
    given_up.set()
    assert (refusal.reason_name, refusal.metadata["problem"]) == ("SETTLEMENT_FILE_REFUSED", "truncated")
    assert (await settling.upload(text)).rows > 0


@pytest.mark.requirement("REC-2", "OPS-5")
async def test_a_dry_run_says_what_would_become_of_a_file_and_writes_nothing(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    rows = await rows_about(settling, payment)
    text = text_of([*rows, *rows])
    before = await taken(settling)
    rehearsed = await settling.upload(text, dry_run=True)
    assert lines_of(rehearsed) == {("matched", "USD"): (1, 9_680), ("duplicate", "USD"): (1, 9_680)}
    assert await taken(settling) == before
    done = await settling.upload(text)
    assert (lines_of(done), done.replayed) == (lines_of(rehearsed), False)


@pytest.mark.requirement("REC-2")
async def test_a_row_twice_in_a_file_is_a_duplicate_and_counts_once(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    rows = await rows_about(settling, payment)
    answer = await settling.upload(text_of([*rows, *rows, *rows]))
    assert lines_of(answer) == {("matched", "USD"): (1, 9_680), ("duplicate", "USD"): (2, 19_360)}
    await settling.looked()
    assert (await settling.accounts(payment.payment_id))["provider_balance", "USD"] == 9_680
    found = [item for item in await settling.items(**{"class": "duplicate"}) if item.payment_id == payment.payment_id]
    assert [item.balance_transaction_id for item in found] == [rows[0]["balance_transaction_id"]] * 2


def changed(row: Row, **values: str) -> Row:
    return row | values


MISMATCHES: dict[str, tuple[dict[str, str], str, int, int]] = {
    "another amount": ({"gross": "90.00", "net": "86.80"}, "amount_mismatch", 9_000, 10_000),
    "another currency": ({"currency": "eur"}, "amount_mismatch", 10_000, 10_000),
    "another fee": ({"fee": "3.00", "net": "97.00"}, "fee_mismatch", 9_700, 9_680),
}


@pytest.mark.requirement("REC-2")
@pytest.mark.parametrize("wrong", MISMATCHES)
async def test_a_file_that_says_otherwise_than_stripe_itself_changes_nothing_and_is_listed(
    settling: Settling, wrong: str
) -> None:
    values, item_class, theirs, ours = MISMATCHES[wrong]
    payment = await settling.paid(10_000)
    (row,) = await rows_about(settling, payment)
    await settling.walk()
    answer = await settling.upload(text_of([changed(row, **values)]))
    assert {name for name, _ in lines_of(answer)} == {item_class}
    assert (await settling.accounts(payment.payment_id))["provider_balance", "USD"] == 9_680
    (item,) = [item for item in await settling.items() if item.payment_id == payment.payment_id]
    assert (getattr(item, "class"), item.balance_transaction_id) == (item_class, row["balance_transaction_id"])
    assert (item.provider_amount.minor_units, item.our_amount.minor_units) == (theirs, ours)


@pytest.mark.requirement("REC-2", "LED-2")
@pytest.mark.parametrize("wrong", MISMATCHES)
async def test_what_a_file_said_wrongly_is_corrected_by_stripe_itself(settling: Settling, wrong: str) -> None:
    values, item_class, *_ = MISMATCHES[wrong]
    payment = await settling.paid(10_000)
    (row,) = await rows_about(settling, payment)
    await settling.upload(text_of([changed(row, **values)]))
    await settling.looked()
    assert await settling.account("provider_balance") != await settling.at_stripe()
    await settling.walk()
    assert await settling.accounts(payment.payment_id) == {
        ("provider_balance", "USD"): 9_680, ("fees", "USD"): 320, ("campaign_payable", "USD"): -10_000,
    }  # fmt: skip
    assert await settling.movements(payment.payment_id) == [("charge", "matched")]
    (item,) = [item for item in await settling.items() if item.payment_id == payment.payment_id]
    assert getattr(item, "class") == item_class


@pytest.mark.requirement("REC-2")
async def test_an_amount_that_is_not_our_payments_is_a_mismatch_with_both_amounts(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    (row,) = await rows_about(settling, payment)
    answer = await settling.upload(text_of([changed(row, gross="99.00", net="95.80")]))
    assert lines_of(answer) == {("amount_mismatch", "USD"): (1, 9_580)}
    await settling.looked()
    items = await settling.items(**{"class": "amount_mismatch"})
    (item,) = [item for item in items if item.payment_id == payment.payment_id]
    assert item.provider_amount == Money(minor_units=9_900, currency="USD")
    assert item.our_amount == Money(minor_units=10_000, currency="USD")
    assert list(item.allowed_actions) == ["AskProvider"]


@pytest.mark.requirement("REC-2")
async def test_a_row_of_no_payment_of_ours_is_unknown(settling: Settling) -> None:
    async with closing(settling.till.sandbox.client()) as client:
        stranger = await pay_at_once(client, currency="dkk", amount=20_000)
    rows = rows_of(await settling.till.sandbox.settlement(**ALL))
    answer = await settling.upload(text_of([row for row in rows if row["payment_intent_id"] == stranger.id]))
    assert set(lines_of(answer)) == {("unknown_source", "DKK")}
    await settling.looked()
    assert "DKK" not in await settling.account("provider_balance")
    # The provider says so itself: now it is posted.
    await settling.walk()
    await settling.looked()
    assert (await settling.account("provider_balance"))["DKK"] == (await settling.at_stripe())["DKK"] > 0


@pytest.mark.requirement("REC-2", "REC-4")
async def test_a_row_that_the_provider_does_not_have_is_listed_and_never_posted(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    await settling.walk()
    before = await settling.account("provider_balance")
    (row,) = await rows_about(settling, payment)
    names = ("balance_transaction_id", "charge_id", "source_id", "payment_intent_id")
    invented = row | {name: f"{row[name]}x" for name in names if row[name]}
    answer = await settling.upload(text_of([invented]))
    assert set(lines_of(answer)) == {("unknown_source", "USD")}
    await settling.walk()
    await settling.looked()
    assert await settling.account("provider_balance") == before
    listed = await settling.items(**{"class": "unknown_source"})
    assert invented["source_id"] in [item.source_id for item in listed]


@pytest.mark.requirement("REC-2", "REC-3")
async def test_a_file_tells_of_what_nobody_told_us_and_it_is_imported(settling: Settling) -> None:
    payment = await settling.paid(10_000)
    await settling.till.sandbox.webhook_fault("withhold", times=None)
    await settling.till.sandbox.ask("POST", "refunds", payment_intent=payment.provider_id, amount=2_500)
    answer = await settling.upload(text_of(await rows_about(settling, payment)))
    assert lines_of(answer) == {("matched", "USD"): (1, 9_680), ("missing_in_books", "USD"): (1, -2_500)}
    await until(lambda: settling.till.payment(payment.payment_id), holds=lambda found: found.refunded.minor_units == 2_500)
    await settling.walk()
    assert await settling.movements(payment.payment_id) == [("charge", "matched"), ("refund", "imported")]


@pytest.mark.requirement("REC-2", "LED-2")
async def test_a_file_that_knows_only_the_balances_currency_is_posted_in_both(settling: Settling) -> None:
    sandbox = settling.till.sandbox
    await sandbox.ask("POST", "settlement", currency="usd", rates={"eur": "1.08"})
    payment = await settling.paid(10_000, "EUR")
    await sandbox.ask("POST", "settlement", currency=None)
    answer = await settling.upload(text_of(await rows_about(settling, payment)))
    assert set(lines_of(answer)) == {("matched", "USD")}
    await settling.looked()
    assert await settling.accounts(payment.payment_id) == {
        ("campaign_payable", "EUR"): -10_000, ("fx_clearing", "EUR"): 10_000,
        ("fx_clearing", "USD"): -10_800, ("provider_balance", "USD"): 10_457, ("fees", "USD"): 343,
    }  # fmt: skip


@pytest.mark.requirement("REC-2", "LED-8")
async def test_a_payouts_file_says_which_movements_it_paid_out(settling: Settling) -> None:
    payment = await settling.paid(10_000, "CHF")
    payout = await settling.till.sandbox.payout("chf")
    await settling.walk()
    answer = await settling.upload(await settling.till.sandbox.settlement(payout=payout["id"]))
    assert lines_of(answer) == {("matched", "CHF"): (2, 0)}
    paid_with = "SELECT DISTINCT payout_id FROM balance_transaction WHERE currency = 'CHF' OR payment_id = $1::text::uuid"
    assert [row["payout_id"] for row in await settling.rows.fetch(paid_with, payment.payment_id)] == [payout["id"]]


def without_last_line(text: str) -> str:
    return text[: text.rstrip("\n").rindex("\n") + 1]


def with_row(*values: str) -> Callable[[str], str]:
    """The report's first row with another value of a column."""
    name, value = values
    return lambda text: text_of([changed(rows_of(text)[0], **{name: value}), *rows_of(text)[1:]])


# What a payout's report becomes → the word for what is wrong with it, and the line in which that shows.
REFUSALS: dict[str, tuple[Callable[[str], str | bytes], str, int]] = {
    "cut in a row": (lambda text: text[:-20], "truncated", 4),
    "cut in an open quote": (lambda text: text.replace("\n", '\n"', 1), "truncated", 2),
    "not a report": (lambda _: "<html>\n<p>log in first</p>\n", "columns_missing", 1),
    "empty of columns": (lambda _: "\n", "columns_missing", 1),
    "without a column": (
        lambda text: text_of([{k: v for k, v in row.items() if k != "fee"} for row in rows_of(text)]),
        "columns_missing",
        1,
    ),
    "a column twice": (lambda text: text.replace("description", "fee", 1), "columns_repeated", 1),
    "doubled with its header": (lambda text: text + text, "header_repeated", 5),
    "with a row too short": (lambda text: text.replace("\n", "\ntxn_1,2026-01-01\n", 1), "row_malformed", 2),
    "with half a cent": (with_row("gross", "1.005"), "row_malformed", 2),
    "with an amount in words": (with_row("gross", "ten"), "row_malformed", 2),
    "with an amount that is huge": (with_row("gross", "9" * 13), "row_malformed", 2),
    "with a time that is none": (with_row("created_utc", "2026-02-30 00:00:00"), "row_malformed", 2),
    "with a time before the provider": (with_row("created_utc", "0001-01-01 00:00:00"), "row_malformed", 2),
    "with a time that nobody lives to see": (with_row("created_utc", "9999-12-31 23:59:59"), "row_malformed", 2),
    "with an amount whose sums are none": (with_row("gross", "999999999999.99"), "row_malformed", 2),
    "with a currency that is none": (with_row("currency", "us"), "row_malformed", 2),
    "without an id": (with_row("balance_transaction_id", ""), "row_malformed", 2),
    "with a net that is another": (with_row("net", "1.00"), "net_differs", 2),
    "with a stray quote": (lambda text: text.replace("\n", '\n"a"b\n', 1), "not_csv", 2),
    "not in UTF-8": (lambda text: text.replace("\n", "\n\xe9", 1).encode("latin-1"), "not_utf8", 2),
    "in UTF-16": (lambda text: text.encode("utf-16"), "not_utf8", 1),
    "with an endless row": (lambda text: text.replace("\n", '\n"' + "x" * 70_000, 1), "row_too_long", 2),
    "a row short of its payout": (lambda text: text_of(rows_of(text)[1:]), "totals_differ", 3),
    "a cent short of its payout": (with_row("gross", "99.99"), "net_differs", 2),
    "another amount than its payout's": (
        lambda text: text_of([changed(rows_of(text)[0], gross="99.99", net="96.79"), *rows_of(text)[1:]]),
        "totals_differ",
        4,
    ),
}


@pytest.fixture(scope="module")
async def a_payouts_report(a_settling_till: Settling) -> str:
    """Header, two charges of $100 and $50, and the payout of both."""
    sandbox = a_settling_till.till.sandbox
    await sandbox.payout("usd") if (await a_settling_till.at_stripe()).get("USD", 0) > 0 else None
    for minor_units in (10_000, 5_000):
        await a_settling_till.paid(minor_units)
    text = await sandbox.settlement(payout=(await sandbox.payout("usd"))["id"])
    assert len(text.splitlines()) == 4
    return text


@pytest.mark.requirement("REC-2")
@pytest.mark.parametrize("wrong", REFUSALS)
async def test_a_file_that_is_wrong_as_a_whole_is_refused_with_the_word_and_the_line(
    settling: Settling, a_payouts_report: str, wrong: str
) -> None:
    spoil, problem, line = REFUSALS[wrong]
    before = await taken(settling)
    refusal = await refused(settling.upload(spoil(a_payouts_report)), whole=True)
    assert refusal.reason_name == "SETTLEMENT_FILE_REFUSED"
    assert refusal.metadata == {"problem": problem, "line": str(line)}
    assert await taken(settling) == before


@pytest.mark.requirement("REC-2")
@pytest.mark.parametrize(
    ("header", "problem"),
    [({"size_bytes": 10}, "size_differs"), ({"size_bytes": 10**6}, "size_differs"), ({"sha256": "0" * 64}, "hash_differs")],
)
async def test_a_file_that_is_not_what_its_header_says_is_refused(
    settling: Settling, a_payouts_report: str, header: dict[str, Any], problem: str
) -> None:
    refusal = await refused(settling.upload(a_payouts_report, **header), whole=True)
    assert (refusal.reason_name, refusal.metadata) == ("SETTLEMENT_FILE_REFUSED", {"problem": problem, "line": "0"})


TOLERATED: dict[str, Callable[[str], str]] = {
    "a byte order mark": lambda text: "\ufeff" + text,
    "line ends of another system": lambda text: text.replace("\n", "\r\n"),
    "columns that it does not know": lambda text: text_of([{"more": "a, b", **row} for row in rows_of(text)]),
    "columns in another order": lambda text: text_of([dict(reversed(row.items())) for row in rows_of(text)]),
    "a line feed in a description": lambda text: text_of([changed(row, description="a\nb") for row in rows_of(text)]),
    "a blank line at its end": lambda text: text + "\n",
}


@pytest.mark.requirement("REC-2")
@pytest.mark.parametrize("how", TOLERATED)
async def test_what_does_not_matter_is_tolerated(settling: Settling, a_payouts_report: str, how: str) -> None:
    answer = await settling.upload(TOLERATED[how](a_payouts_report))
    assert (lines_of(answer), answer.rows) == ({("matched", "USD"): (3, 0)}, 3)


@pytest.mark.requirement("REC-2")
async def test_a_stream_begins_with_its_only_header(settling: Settling, a_payouts_report: str) -> None:
    parts = parts_of(a_payouts_report)
    for wrong in (parts[1:], [parts[0], parts[0], *parts[1:]], []):
        assert await refused(settling.operator.UploadSettlement(wrong)) == "INVALID_ARGUMENT"


@pytest.mark.requirement("REC-2")
async def test_a_file_of_a_day_may_hold_a_part_of_a_payout(settling: Settling, a_payouts_report: str) -> None:
    async with closing(settling.till.sandbox.client()) as client:
        await pay_at_once(client, currency="usd", amount=5_000)
    begun = [row for row in rows_of(await settling.till.sandbox.settlement(**ALL)) if not row["automatic_payout_id"]]
    (_, charge, payout) = rows_of(a_payouts_report)
    answer = await settling.upload(text_of([charge, payout, *begun]))
    assert answer.rows == 2 + len(begun)


@pytest.mark.requirement("REC-2")
async def test_an_upload_whose_sender_leaves_counts_for_nothing_and_keeps_nobody_out(
    settling: Settling, a_payouts_report: str
) -> None:
    parts = parts_of(a_payouts_report.replace("\n", "\n" * 2), piece=100)
    before = await taken(settling)
    leaving = settling.operator.UploadSettlement()
    for part in parts[:3]:
        await leaving.write(part)
    leaving.cancel()
    text = text_of(await rows_about(settling, await settling.paid(4_000)))

    answer: messages.UploadSettlementResponse | None = None
    while answer is None:
        try:
            answer = await settling.upload(text)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - another one is still being taken
    assert answer.rows == 1
    assert (await taken(settling))[0] == before[0] + 1


@pytest.mark.requirement("REC-2")
async def test_findings_are_listed_newest_first_over_pages_and_by_day(settling: Settling, a_payouts_report: str) -> None:
    items = await settling.items()
    times = [item.time.ToDatetime() for item in items]
    assert times == sorted(times, reverse=True)
    assert len({(item.balance_transaction_id, item.payment_id, item.time.ToNanoseconds()) for item in items}) > 2
    assert "matched" not in classes_of(items)
    matched = await settling.items(**{"class": "matched"})
    assert set(classes_of(matched)) == {"matched"}
    day = times[0].date().isoformat()
    assert [item.time.ToDatetime().date().isoformat() for item in await settling.items(day=day)].count(day) == len(
        [time for time in times if time.date().isoformat() == day]
    )
