"""Amounts as Stripe takes them: minor units with its own exponents, and what it keeps of them."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from sandbox.stripe.refusals import malformed

ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
# In thousandths, of which Stripe takes only tens.
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())
# Without decimals in life, yet in hundredths at Stripe, of which it takes only whole ones.
_WHOLE_ONLY = frozenset("isk ugx".split())
_CURRENCIES = frozenset(
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf "
    "chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf "
    "idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop "
    "mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd "
    "scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg "
    "xof xpf yer zar zmw".split()
)
# The least that may be charged, in minor units; half a dollar's worth elsewhere, for which 50 stands.
_LEAST = {
    "aed": 200, "bgn": 100, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17500, "kwd": 150, "mxn": 1000,
    "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1000,
}  # fmt: skip
_LEAST_ELSEWHERE = 50
_MOST = 99_999_999
# The fixed part of the fee per charge; 30 elsewhere.
_FEE_FIXED = {"chf": 30, "dkk": 180, "gbp": 20, "jpy": 30, "kwd": 90, "mxn": 300, "nok": 200, "pln": 100, "sek": 180}
_FEE_FIXED_ELSEWHERE = 30
_FEE_PER_MILLE = 29
_DISPUTE_FEE = 1500
_SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}


class Fee(NamedTuple):
    amount: int
    description: str


class Worth(NamedTuple):
    """An amount in the currency that it has on the balance, with the rate that brought it there, if any did."""

    amount: int
    currency: str
    exchange_rate: float | None = None


def currency(value: object, name: str) -> str:
    """A reader of parameters: the code in lower case."""
    code = str(value).lower()
    if code not in _CURRENCIES:
        message = f"Invalid currency: {code}. Stripe currently supports these currencies: {', '.join(sorted(_CURRENCIES))}"
        raise malformed(message, param=name)
    return code


def check(amount: int, *, code: str, param: str = "amount") -> None:
    """Raises `Refused` where Stripe would not take the amount."""
    if amount < 1:
        raise malformed("This value must be greater than or equal to 1.", param=param, code="parameter_invalid_integer")
    if code in THREE_DECIMAL and amount % 10:
        message = f"Invalid amount. Amounts in {code} must end in 0: its last digit is not supported by card networks."
        raise malformed(message, param=param, code="parameter_invalid_integer")
    if code in _WHOLE_ONLY and amount % 100:
        message = f"Invalid amount. {code} has no decimals; its amounts must be multiples of 100."
        raise malformed(message, param=param, code="parameter_invalid_integer")
    _check_bounds(amount, code, param)


def _check_bounds(amount: int, code: str, param: str) -> None:
    least = _LEAST.get(code, _LEAST_ELSEWHERE)
    if amount < least:
        raise malformed(f"Amount must be at least {shown(least, code)}", param=param, code="amount_too_small")
    if amount > _MOST:
        raise malformed(f"Amount must be no more than {shown(_MOST, code)}", param=param, code="amount_too_large")


def shown(amount: int, code: str) -> str:
    """As in Stripe's messages: $10.00 usd."""
    return f"{_SIGNS.get(code, '')}{_decimal(amount, code)} {code}"


def for_people(amount: int, code: str) -> str:
    """With its currency said once: $10.00, or 10.00 CHF where the sandbox knows no sign."""
    sign = _SIGNS.get(code)
    return f"{sign}{_decimal(amount, code)}" if sign else f"{_decimal(amount, code)} {code.upper()}"


def exponent(code: str) -> int:
    """How many decimals amounts of the currency have at Stripe."""
    if code in ZERO_DECIMAL:
        return 0
    return 3 if code in THREE_DECIMAL else 2


def major(amount: int, code: str) -> str:
    """As in Stripe's reports: major units, -1234.50."""
    return str(Decimal(amount).scaleb(-exponent(code)))


def _decimal(amount: int, code: str) -> str:
    return f"{Decimal(amount).scaleb(-exponent(code)):,}"


def charge_fee(amount: int, code: str) -> Fee:
    """2.9 % rounded half up, and a fixed part."""
    fixed = _FEE_FIXED.get(code, _FEE_FIXED_ELSEWHERE)
    return Fee((amount * _FEE_PER_MILLE + 500) // 1000 + fixed, "Stripe processing fees")


def dispute_fee(_amount: int, _code: str) -> Fee:
    """The same for every amount, in minor units of whichever currency it is taken in."""
    return Fee(_DISPUTE_FEE, "Dispute fee")
