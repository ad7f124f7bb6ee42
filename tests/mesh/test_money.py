"""Money: whole minor units, the provider's exponents and steps, never a float."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.money import (
    EXPONENTS,
    MINOR_UNITS_MAX,
    Money,
    amount_problem,
    format_minor_units,
    granularity,
    is_supported,
    round_up,
)

currencies = st.sampled_from(sorted(EXPONENTS))
minor_units = st.integers(-(2**63), 2**63 - 1)


@given(minor_units, minor_units, currencies)
def test_what_is_added_can_be_taken_away(one: int, other: int, currency: str) -> None:
    assert Money(one, currency) + Money(other, currency) - Money(other, currency) == Money(one, currency)


@given(currencies, currencies)
def test_two_currencies_do_not_add_up(one: str, other: str) -> None:
    if one == other:
        assert Money(1, one) + Money(1, other) == Money(2, one)
        return
    for operation in (Money.__add__, Money.__sub__):
        with pytest.raises(ValueError, match="do not add up"):
            operation(Money(1, one), Money(1, other))


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize("number", [1.0, "1", True, None, Decimal(1)])
def test_minor_units_are_whole_numbers(number: object) -> None:
    with pytest.raises(TypeError):
        Money(number, "EUR")  # type: ignore[arg-type]


@pytest.mark.requirement("PAY-10")
@given(minor_units, currencies)
def test_a_formatted_amount_is_the_amount(number: int, currency: str) -> None:
    text = format_minor_units(number, currency)
    assert Decimal(text).scaleb(EXPONENTS[currency]) == number
    assert len(text.partition(".")[2]) == EXPONENTS[currency]


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize(
    ("number", "currency", "text"),
    [
        (1250, "EUR", "12.50"),
        (5, "USD", "0.05"),
        (-5, "USD", "-0.05"),
        (500, "JPY", "500"),
        (1234, "KWD", "1.234"),
        (10_000, "ISK", "100.00"),
        (0, "KWD", "0.000"),
        (7, "XXX", "7"),
    ],
)
def test_amounts_read_as_people_write_them(number: int, currency: str, text: str) -> None:
    assert format_minor_units(number, currency) == text
    assert str(Money(number, currency)) == f"{text} {currency}"


@pytest.mark.requirement("PAY-10")
@given(st.integers(0, MINOR_UNITS_MAX), currencies)
def test_rounding_up_reaches_the_next_whole_unit_and_no_further(number: int, currency: str) -> None:
    gift = round_up(number, currency)
    unit = 10 ** EXPONENTS[currency]
    assert 0 <= gift < unit
    assert (number + gift) % unit == 0


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize(
    ("number", "currency", "gift"),
    [(1250, "EUR", 50), (1300, "EUR", 0), (999, "JPY", 0), (1230, "KWD", 770), (10_000, "ISK", 0)],
)
def test_rounding_up_by_example(number: int, currency: str, gift: int) -> None:
    assert round_up(number, currency) == gift


@pytest.mark.requirement("PAY-10")
@pytest.mark.parametrize(
    ("currency", "step"), [("EUR", 1), ("JPY", 1), ("KWD", 10), ("BHD", 10), ("ISK", 100), ("UGX", 100)]
)
def test_amounts_are_multiples_of_the_providers_step(currency: str, step: int) -> None:
    assert granularity(currency) == step
    assert amount_problem(step, currency) is None
    if step > 1:
        assert amount_problem(step + 1, currency) == ("minor_units", f"must be a multiple of {step} in {currency}")


@given(minor_units, currencies)
def test_an_amount_is_fine_or_its_field_is_named(number: int, currency: str) -> None:
    problem = amount_problem(number, currency)
    fine = 0 < number <= MINOR_UNITS_MAX and number % granularity(currency) == 0
    assert (problem is None) == fine
    assert fine or problem is not None
    assert problem is None or problem[0] == "minor_units"


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "XXX", "BTC"])
def test_currencies_that_are_not_in_the_table_are_refused(currency: str) -> None:
    assert not is_supported(currency)
    assert amount_problem(100, currency) == ("currency", "is not a supported currency")
