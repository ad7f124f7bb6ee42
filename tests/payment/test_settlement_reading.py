"""Reading a settlement report: the same rows, or the same refusal, however it is cut into pieces."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.money import Money, format_minor_units
from payment_svc.domain.settlement import Movement
from payment_svc.domain.settlement_files import FileRefused, Problem, Row
from payment_svc.provider.movements import movement_from
from payment_svc.provider.report import OPTIONAL, REQUIRED, ROW_CHARACTERS_MAX, ReportReader

pytestmark = pytest.mark.requirement("REC-2")
HEADER = (*REQUIRED, *OPTIONAL, "description")
AMOUNTS = st.integers(-(10**11), 10**11)
IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=20)
TEXTS = st.text(st.sampled_from('abc ,"\n\r\té€\u2028'), max_size=12)


@st.composite
def rows(draw: st.DrawFn) -> list[str]:
    currency = draw(st.sampled_from(["usd", "jpy", "kwd", "isk", "xyz"]))
    gross, fee = draw(AMOUNTS), draw(AMOUNTS)
    amounts = [_major(units, currency) for units in (gross, fee, gross - fee)]
    ids = [draw(IDS), draw(IDS)]
    time = datetime.datetime.fromtimestamp(draw(st.integers(0, 4_102_444_799)), datetime.UTC)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    return [ids[0], stamp, currency, *amounts, "charge", ids[1], stamp, "", draw(IDS), "", draw(TEXTS)]


def _major(units: int, currency: str) -> str:
    code = currency.upper()
    return format_minor_units(units, code if code != "XYZ" else "USD")


def written(found: Sequence[Sequence[str]], *, ending: str) -> bytes:
    out = io.StringIO(newline="")
    # Stripe quotes what needs it; Python's own module leaves a carriage return bare unless it quotes everything.
    bare = any("\r" in field for row in found for field in row)
    writer = csv.writer(out, lineterminator=ending, quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL)
    writer.writerow(HEADER)
    writer.writerows(found)
    return out.getvalue().encode()


def read(pieces: Sequence[bytes]) -> tuple[list[Row], tuple[Problem, int] | None]:
    """What is read of a file that comes in pieces, and how it is refused."""
    reader, found = ReportReader(), []
    try:
        for piece in pieces:
            found += reader.feed(piece)
        reader.end()
    except FileRefused as refused:
        return found, (refused.problem, refused.line)
    return found, None


def cut(whole: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(whole) + 1) for place in places} | {len(whole)})
    return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


PLACES = st.lists(st.integers(0, 10**6), max_size=20)


@given(st.lists(rows(), max_size=6), PLACES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_pieces_give_the_same_rows(found: list[list[str]], places: list[int], ending: str, mark: bool) -> None:
    whole = (b"\xef\xbb\xbf" if mark else b"") + written(found, ending=ending)
    at_once = read([whole])
    assert read(cut(whole, places)) == at_once
    assert read([whole[place : place + 1] for place in range(len(whole))]) == at_once
    movements = [row.movement for row in at_once[0]]
    assert at_once[1] is None
    assert [(m.id, m.source_id, m.charge_id) for m in movements] == [(row[0], row[7], row[10]) for row in found]
    amounts = [
        (_major(m.amount.minor_units, row[2]), _major(m.fee, row[2])) for m, row in zip(movements, found, strict=True)
    ]
    assert amounts == [(row[3], row[4]) for row in found]


@given(st.lists(rows(), min_size=1, max_size=3), st.binary(max_size=6), st.integers(0, 10**6), PLACES)
@example([], b'"', 10, [3])
def test_any_pieces_of_a_spoilt_file_give_the_same_rows_and_the_same_refusal(
    found: list[list[str]], spoil: bytes, place: int, places: list[int]
) -> None:
    whole = written(found, ending="\n")
    place %= len(whole) + 1
    spoilt = whole[:place] + spoil + whole[place:]
    at_once = read([spoilt])
    assert read(cut(spoilt, places)) == at_once
    assert read([spoilt[place : place + 1] for place in range(len(spoilt))]) == at_once


@given(st.lists(rows(), min_size=1, max_size=3), st.integers(1, 10**6))
def test_a_file_that_ends_too_early_never_passes_for_whole_within_a_row(found: list[list[str]], place: int) -> None:
    whole = written(found, ending="\n")
    read_rows, refusal = read([whole[: -(place % len(whole)) or -1]])
    assert refusal or len(read_rows) < len(found)


def test_a_row_that_never_ends_is_not_kept() -> None:
    reader = ReportReader()
    list(reader.feed(written([], ending="\n") + b'"'))
    with pytest.raises(FileRefused) as caught:
        for _ in range(3):
            list(reader.feed(b"x" * (ROW_CHARACTERS_MAX // 2)))
    assert (caught.value.problem, caught.value.line) == (Problem.ROW_TOO_LONG, 2)


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize(
    ("text", "currency", "units"),
    [
        ("0.1", "usd", 10),
        ("-0.01", "usd", -1),
        ("-0.00", "usd", 0),
        ("12", "usd", 1200),
        ("12.340000", "usd", 1234),
        ("500", "jpy", 500),
        ("500.00", "jpy", 500),
        ("1.234", "kwd", 1234),
        ("7.5", "zzz", 750),
    ],
)
def test_amounts_are_read_digit_by_digit(text: str, currency: str, units: int) -> None:
    line = ["txn_1", "2026-01-01 00:00:00", currency, text, "0", text, "charge", "ch_1", "", "", "", "", ""]
    ((row,), refusal) = read([written([line], ending="\n")])
    assert (refusal, row.movement.amount) == (None, Money(units, currency.upper()))


@pytest.mark.parametrize("text", ["1.234", "1e3", "1,000.00", " 1.00", "+1.00", "1.", ".5", "", "\u0661", "0x1", "1_0"])
def test_what_is_no_amount_in_dollars_is_refused(text: str) -> None:
    line = ["txn_1", "2026-01-01 00:00:00", "usd", text, "0", text, "charge", "ch_1", "", "", "", "", ""]
    assert read([written([line], ending="\n")]) == ([], (Problem.ROW_MALFORMED, 2))


SHOWN = {
    "id": "txn_1",
    "object": "balance_transaction",
    "amount": 10_800,
    "available_on": 1_767_398_400,
    "created": 1_767_225_600,
    "currency": "usd",
    "exchange_rate": 1.08,
    "fee": 343,
    "net": 10_457,
    "reporting_category": "charge",
    "source": {"object": "charge", "id": "ch_1", "payment_intent": "pi_1"},
}


@pytest.mark.requirement("REC-3")
@pytest.mark.parametrize(
    ("source", "ids"),
    [
        ({"object": "charge", "id": "ch_1", "payment_intent": "pi_1"}, ("ch_1", "ch_1", "pi_1", "")),
        ({"object": "refund", "id": "re_1", "charge": "ch_1", "payment_intent": None}, ("re_1", "ch_1", "", "")),
        (
            {"object": "dispute", "id": "du_1", "charge": {"id": "ch_1"}, "payment_intent": "pi_1"},
            ("du_1", "ch_1", "pi_1", ""),
        ),
        ({"object": "payout", "id": "po_1"}, ("po_1", "", "", "po_1")),
        ("tu_1", ("tu_1", "", "", "")),
        (None, ("", "", "", "")),
    ],
)
def test_a_balance_transaction_is_read_with_what_moved_it(source: object, ids: tuple[str, ...]) -> None:
    movement = movement_from(SHOWN | {"source": source})
    assert (movement.source_id, movement.charge_id, movement.intent_id, movement.payout_id) == ids
    assert (movement.amount, movement.fee, movement.net) == (Money(10_800, "USD"), 343, Money(10_457, "USD"))
    assert movement.converted


@pytest.mark.parametrize(
    "wrong",
    [
        {"net": 10_458},
        {"amount": 10_800.0},
        {"amount": 10**16, "net": 10**16 - 343},
        {"fee": True, "net": 10_799},
        {"currency": "dollars"},
        {"reporting_category": None},
        {"id": ""},
        {"source": {"object": "charge"}},
    ],
)
def test_a_balance_transaction_that_contradicts_itself_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError)):
        movement_from(SHOWN | wrong)


def test_what_a_file_does_not_say_of_a_movement_is_not_guessed() -> None:
    line = ["txn_1", "2026-01-01 00:00:00", "usd", "1.00", "0.10", "0.90", "fee", "", "", "", "", "", "Radar"]
    ((row,), _) = read([written([line], ending="\n")])
    assert row.movement == Movement(
        "txn_1", "fee", Money(100, "USD"), 10, row.movement.provider_time, converted=None, available_time=None
    )
