"""Money: integer minor units and an ISO 4217 currency. No float, no arithmetic across currencies."""

from __future__ import annotations

from dataclasses import dataclass

# Stripe's exponents, which differ from CLDR's: ISK and UGX are sent with two decimals, always multiples of 100.
# The table is the list of supported currencies.
EXPONENTS = {
    **dict.fromkeys(
        (
            "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF IDR ILS INR ISK MXN MYR NOK NZD PHP PLN RON SEK SGD THB TRY "
            "TWD UAH UGX USD ZAR"
        ).split(),
        2,
    ),
    **dict.fromkeys("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD JOD KWD OMR TND".split(), 3),
}
# Stripe takes at most eight digits.
MINOR_UNITS_MAX = 99_999_999


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of one currency."""

    minor_units: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor_units) is not int:
            raise TypeError("minor units are whole numbers")

    def __add__(self, other: Money) -> Money:
        self._demand_same_currency(other)
        return Money(self.minor_units + other.minor_units, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._demand_same_currency(other)
        return Money(self.minor_units - other.minor_units, self.currency)

    def __str__(self) -> str:
        return f"{format_minor_units(self.minor_units, self.currency)} {self.currency}"

    def _demand_same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")


def is_supported(currency: str) -> bool:
    """Whether the mesh takes this currency."""
    return currency in EXPONENTS


def granularity(currency: str) -> int:
    """Smallest step of an amount that the provider takes, in minor units."""
    if EXPONENTS[currency] == 3:  # noqa: PLR2004 - three-decimal amounts must end in 0
        return 10
    return 100 if currency in ("ISK", "UGX") else 1


def amount_problem(minor_units: int, currency: str) -> tuple[str, str] | None:
    """What is wrong with an amount as (field of Money, description), or None.

    Checks what holds for every amount that anyone gives: supported currency, 1 to 99,999,999, the provider's step.
    """
    if not is_supported(currency):
        return "currency", "is not a supported currency"
    if not 0 < minor_units <= MINOR_UNITS_MAX:
        return "minor_units", f"must be between 1 and {MINOR_UNITS_MAX}"
    if minor_units % granularity(currency):
        return "minor_units", f"must be a multiple of {granularity(currency)} in {currency}"
    return None


def round_up(minor_units: int, currency: str) -> int:
    """What lifts an amount to the next whole major unit, in minor units; 0 where it is whole already."""
    unit = int(10 ** EXPONENTS[currency])
    return -minor_units % unit


def format_minor_units(minor_units: int, currency: str) -> str:
    """A plain decimal, such as 12.50, without a float on the way."""
    exponent = EXPONENTS.get(currency, 0)
    sign, digits = "-" if minor_units < 0 else "", str(abs(minor_units)).rjust(exponent + 1, "0")
    return f"{sign}{digits[: len(digits) - exponent]}.{digits[-exponent:]}" if exponent else f"{sign}{digits}"
