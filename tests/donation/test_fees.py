"""What covers the provider's fee: enough, and never a step more than needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from donation_svc.domain.fees import fee_cover, fee_rate
from mesh.money import EXPONENTS, MINOR_UNITS_MAX, granularity


def is_enough(gift: int, cover: int, currency: str) -> bool:
    """The contract's rule in whole numbers: c >= (g + c) * bp / 10000 + fixed."""
    rate = fee_rate(currency)
    return cover * 10_000 >= (gift + cover) * rate.basis_points + rate.fixed * 10_000


@pytest.mark.requirement("INT-6", "PAY-10")
@given(gift=st.integers(min_value=1, max_value=MINOR_UNITS_MAX), currency=st.sampled_from(sorted(EXPONENTS)))
def test_the_cover_is_enough_and_a_step_less_is_not(gift: int, currency: str) -> None:
    cover, step = fee_cover(gift, currency), granularity(currency)

    assert is_enough(gift, cover, currency)
    assert cover % step == 0
    assert cover < step or not is_enough(gift, cover - step, currency)


@pytest.mark.requirement("INT-6")
@pytest.mark.parametrize(
    ("gift", "currency", "cover"),
    [(1000, "USD", 61), (100, "USD", 34), (1000, "EUR", 41), (500, "JPY", 19), (1000, "KWD", 50), (10_000, "ISK", 500)],
)
def test_covers_are_what_a_person_reckons(gift: int, currency: str, cover: int) -> None:
    assert fee_cover(gift, currency) == cover
