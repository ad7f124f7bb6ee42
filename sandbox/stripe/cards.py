"""Stripe's test cards: which number and which alias brings which outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

Authentication = Literal["none", "optional", "required", "always", "unsupported"]
After = Literal["", "dispute", "not_received", "inquiry", "refund_fails", "refund_pending"]


@dataclass(frozen=True, slots=True)
class Decline:
    code: str
    decline_code: str | None
    message: str
    advice: str | None = "try_again_later"


@dataclass(frozen=True, slots=True)
class Card:
    """A test card. `aliases` are what stands behind pm_card_ and tok_.

    `authentication`: optional ones go through without, required ones ask when the payment is on session and the merchant
    cannot show an earlier one, always ones ask each time. `bypass`: its money is available at once. `kind`: what pays.
    """

    number: str
    brand: str
    aliases: tuple[str, ...]
    country: str = "US"
    funding: str = "credit"
    decline: str = ""
    authentication: Authentication = "optional"
    after: After = ""
    risk: str = "normal"
    bypass: bool = False
    kind: Literal["card", "us_bank_account"] = "card"

    @property
    def last4(self) -> str:
        return self.number[-4:]


DECLINES: Mapping[str, Decline] = {
    "generic": Decline("card_declined", "generic_decline", "Your card was declined."),
    "insufficient_funds": Decline("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "lost": Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again"),
    "stolen": Decline("card_declined", "stolen_card", "Your card was declined.", "do_not_try_again"),
    "expired": Decline("expired_card", "expired_card", "Your card has expired.", "confirm_card_data"),
    "incorrect_cvc": Decline(
        "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", "confirm_card_data"
    ),
    "processing": Decline(
        "processing_error", "processing_error", "An error occurred while processing your card. Try again in a little bit."
    ),
    "velocity": Decline(
        "card_declined",
        "card_velocity_exceeded",
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    ),
    "blocked": Decline("card_declined", "fraudulent", "Your card was declined.", None),
    "authentication_required": Decline(
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
        None,
    ),
    "bank_insufficient_funds": Decline(
        "payment_method_provider_decline",
        "insufficient_funds",
        "The customer's bank account could not be debited because it has insufficient funds.",
        None,
    ),
    "bank_account_closed": Decline(
        "bank_account_closed", "account_closed", "The customer's bank account has been closed.", None
    ),
}


def _plain() -> tuple[Card, ...]:
    return (
        Card("4242424242424242", "visa", ("visa",)),
        Card("4000056655665556", "visa", ("visa_debit",), funding="debit"),
        Card("5555555555554444", "mastercard", ("mastercard",)),
        Card("2223003122003222", "mastercard", ("mastercard_2series",)),
        Card("5200828282828210", "mastercard", ("mastercard_debit",), funding="debit"),
        Card("5105105105105100", "mastercard", ("mastercard_prepaid",), funding="prepaid"),
        Card("378282246310005", "amex", ("amex", "amex_threeDSecureNotSupported"), authentication="unsupported"),
        Card("371449635398431", "amex", ("amex2",), authentication="unsupported"),
        Card("6011111111111117", "discover", ("discover",), authentication="unsupported"),
        Card("3056930009020004", "diners", ("diners",), authentication="unsupported"),
        Card("36227206271667", "diners", ("diners_14digits",), authentication="unsupported"),
        Card("3566002020360505", "jcb", ("jcb",), country="JP", authentication="unsupported"),
        Card("6200000000000005", "unionpay", ("unionpay",), country="CN", authentication="unsupported"),
        Card("4000000400000008", "visa", ("at",), country="AT"),
        Card("4000002760000016", "visa", ("de",), country="DE"),
        Card("4000008260000000", "visa", ("gb",), country="GB"),
        Card("4000003920000003", "visa", ("jp",), country="JP"),
        Card("4000000000000077", "visa", ("bypassPending",), bypass=True),
        Card("4000003720000278", "visa", ("bypassPendingInternational",), country="IE", bypass=True),
    )


def _declined() -> tuple[Card, ...]:
    return (
        Card("4000000000000002", "visa", ("chargeDeclined",), decline="generic"),
        Card("4000000000009995", "visa", ("chargeDeclinedInsufficientFunds",), decline="insufficient_funds"),
        Card("4000000000009987", "visa", ("chargeDeclinedLostCard",), decline="lost"),
        Card("4000000000009979", "visa", ("chargeDeclinedStolenCard",), decline="stolen"),
        Card("4000000000000069", "visa", ("chargeDeclinedExpiredCard",), decline="expired"),
        Card("4000000000000127", "visa", ("chargeDeclinedIncorrectCvc",), decline="incorrect_cvc"),
        Card("4000000000000119", "visa", ("chargeDeclinedProcessingError",), decline="processing"),
        Card("4000000000006975", "visa", ("chargeDeclinedVelocityLimitExceeded",), decline="velocity"),
        Card("4000000000000341", "visa", ("chargeCustomerFail",), decline="generic"),
        Card("4000000000004954", "visa", ("riskLevelHighest",), decline="blocked", risk="highest"),
        Card("4100000000000019", "visa", ("radarBlock",), decline="blocked", risk="highest"),
        Card("4000000000009235", "visa", ("riskLevelElevated",), risk="elevated"),
    )


def _authenticating() -> tuple[Card, ...]:
    return (
        Card("4000002500003155", "visa", ("authenticationRequiredOnSetup",), authentication="required"),
        Card("4000002760003184", "visa", ("authenticationRequired",), authentication="always"),
        Card(
            "4000008260003178",
            "visa",
            ("authenticationRequiredChargeDeclinedInsufficientFunds",),
            authentication="always",
            decline="insufficient_funds",
        ),
        Card("4000000000003220", "visa", ("threeDSecure2Required",), authentication="always"),
        Card("4000000000003063", "visa", ("threeDSecureRequired",), authentication="always"),
        Card(
            "4000008400001629",
            "visa",
            ("threeDSecureRequiredChargeDeclined",),
            authentication="always",
            decline="generic",
        ),
        Card("4000000000003055", "visa", ("threeDSecureOptional",)),
    )


def _afterwards() -> tuple[Card, ...]:
    return (
        Card("4000000000000259", "visa", ("createDispute",), after="dispute"),
        Card("4000000000002685", "visa", ("createDisputeProductNotReceived",), after="not_received"),
        Card("4000000000001976", "visa", ("createDisputeInquiry",), after="inquiry"),
        Card("4000000000007726", "visa", ("pendingRefund",), after="refund_pending"),
        Card("4000000000005126", "visa", ("refundFail",), after="refund_fails"),
    )


def _accounts() -> tuple[Card, ...]:
    """Bank accounts: what becomes of the debit is known later."""
    return (
        Card("000123456789", "", ("usBankAccount_success", "usBankAccount"), kind="us_bank_account"),
        Card(
            "000222222227",
            "",
            ("usBankAccount_insufficientFunds",),
            kind="us_bank_account",
            decline="bank_insufficient_funds",
        ),
        Card("000111111113", "", ("usBankAccount_accountClosed",), kind="us_bank_account", decline="bank_account_closed"),
    )


@cache
def by_number() -> Mapping[str, Card]:
    return {card.number: card for card in (*_plain(), *_declined(), *_authenticating(), *_afterwards(), *_accounts())}


@cache
def by_alias() -> Mapping[str, Card]:
    """By pm_card_…, pm_usBankAccount… and tok_…; Stripe names some of them with and without the brand."""
    known: dict[str, Card] = {}
    for card in by_number().values():
        for alias in card.aliases:
            for name in _names(card, alias):
                known[name] = card
    return known


def _names(card: Card, alias: str) -> tuple[str, ...]:
    if card.kind != "card":
        return (f"pm_{alias}",)
    branded = f"{card.brand}_{alias}"
    return (f"pm_card_{alias}", f"tok_{alias}", f"pm_card_{branded}", f"tok_{branded}")


def is_plausible(number: str) -> bool:
    """Whether its digits have the right check sum."""
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
