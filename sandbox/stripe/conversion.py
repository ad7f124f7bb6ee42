"""The currency that the account settles in: what comes in another one is exchanged on its way to the balance."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

from sandbox.stripe import money
from sandbox.stripe.money import Worth
from sandbox.stripe.refusals import malformed
from sandbox.stripe.work import Object, Work

_SETTING = "settlement"
# With amounts of eight digits a product has at most 24, which Decimal multiplies without rounding.
_RATE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,10})?", re.ASCII)


class Settlement(NamedTuple):
    """`rates`: what one unit of a currency is worth in units of the account's, as on the market."""

    currency: str
    rates: Mapping[str, Decimal]


def settle_in(work: Work, currency: str | None, rates: Mapping[str, Any]) -> Object:
    """Lets money settle in the currency from now on; None: in the currency that it came in.

    Raises:
        Refused: a currency or a rate is none.
    """
    if currency is None:
        work.ask("drop_setting", _SETTING)
    else:
        code = money.currency(currency, "currency")
        read = {money.currency(name, "rates"): _rate(rate, name) for name, rate in rates.items()}
        if code in read:
            raise malformed(f"{code} is the currency of the account and has no rate.", param=f"rates[{code}]")
        work.ask("set_setting", _SETTING, json.dumps({"currency": code, "rates": read}))
    return shown(work)


def _rate(value: Any, name: str) -> str:
    text = str(value)
    if not _RATE.fullmatch(text) or not Decimal(text):
        raise malformed(f"Invalid rate: {text}. Give it as a decimal text such as 1.08.", param=f"rates[{name}]")
    return text


def shown(work: Work) -> Object:
    return dict(json.loads(work.one("get_setting", _SETTING) or '{"currency": null, "rates": {}}'))


def settlement(work: Work) -> Settlement | None:
    known = shown(work)
    if known["currency"] is None:
        return None
    return Settlement(known["currency"], {code: Decimal(rate) for code, rate in known["rates"].items()})


def worth(work: Work, amount: int, code: str) -> Worth:
    """What an amount is on the balance: exchanged and rounded half to even where its currency has a rate."""
    account = settlement(work)
    if account is None or code not in account.rates:
        return Worth(amount, code)
    # Stripe's rates are between minor units, whose size differs where a currency has no decimals or three.
    rate = account.rates[code].scaleb(money.exponent(account.currency) - money.exponent(code))
    exchanged = (amount * rate).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    return Worth(int(exchanged), account.currency, float(rate))
