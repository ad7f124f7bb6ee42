"""What covering the provider's fee costs. A donor who covers it pays what the provider would keep; nobody promises the fee.

Whole numbers only: a float would be one cent off where it hurts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh import money

_WHOLE = 10_000


@dataclass(frozen=True, slots=True)
class FeeRate:
    """A share of the whole charge in hundredths of a percent, and what is taken of each charge in minor units."""

    basis_points: int
    fixed: int


# Stripe's standard rates for cards of its home markets.
FEE_RATES: Mapping[str, FeeRate] = {
    "USD": FeeRate(290, 30),
    "EUR": FeeRate(150, 25),
    "GBP": FeeRate(150, 20),
    "JPY": FeeRate(360, 0),
}
# Elsewhere the fixed part differs too much for one number; the share of foreign cards stands for both.
FEE_RATE_ELSEWHERE = FeeRate(440, 0)


def fee_rate(currency: str) -> FeeRate:
    """The rate of a currency."""
    return FEE_RATES.get(currency, FEE_RATE_ELSEWHERE)


def fee_cover(gift: int, currency: str) -> int:
    """The smallest cover c that the currency allows with c ≥ (gift + c) · share + fixed."""
    rate = fee_rate(currency)
    exact = _divided_up(gift * rate.basis_points + rate.fixed * _WHOLE, _WHOLE - rate.basis_points)
    step = money.granularity(currency)
    return _divided_up(exact, step) * step


def _divided_up(number: int, by: int) -> int:
    return -(-number // by)
