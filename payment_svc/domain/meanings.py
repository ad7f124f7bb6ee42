"""What a code of the provider means, in words for operators: as docs/failures.md begins to say it; a test compares."""

from __future__ import annotations

from collections.abc import Mapping

_NO_REASON = "the bank gives no reason"
_REPORTED = "reported; whoever holds the card is not told"
_FRAUD = "the provider takes it for fraud"
_DEBIT = "a bank debit that did not go through"
_LIMIT = "the card's limit for a time or an amount is reached"
_NO_ANSWER = "no answer, a broken one, or a failure of the provider's"
_OUR_KEY = "our account or key is not what it should be"
_NOTHING_LEFT = "nothing is left to give back"

# Why a charge was declined, or why the provider would not have the payment at all.
OF_PAYMENTS: Mapping[str, str] = {
    "insufficient_funds": "the account does not hold the amount",
    "expired_card": "the card has expired",
    "incorrect_cvc": "the security code is wrong",
    "incorrect_number": "no card has this number",
    "processing_error": "the bank could not process it just now",
    "card_velocity_exceeded": _LIMIT,
    "withdrawal_count_limit_exceeded": _LIMIT,
    "card_not_supported": "the card cannot pay like this",
    "currency_not_supported": "the card does not pay in this currency",
    "authentication_required": "the bank demands a check of the donor, and none took place",
    "authentication_failed": "the bank's check failed",
    "payment_intent_authentication_failure": "the donor failed or broke off the bank's check",
    "generic_decline": _NO_REASON,
    "do_not_honor": _NO_REASON,
    "card_declined": "declined, and no decline code came with it",
    "declined": "declined, and the provider gave no code at all",
    "lost_card": _REPORTED,
    "stolen_card": _REPORTED,
    "pickup_card": _REPORTED,
    "fraudulent": _FRAUD,
    "highest_risk_level": _FRAUD,
    "account_closed": _DEBIT,
    "bank_account_closed": _DEBIT,
    "payment_method_provider_decline": _DEBIT,
    "amount_too_small": "less than the provider takes in this currency",
    "amount_too_large": "more than the provider takes",
    "parameter_invalid_integer": "an amount that the provider does not take in this currency",
    "invalid_request": "refused, and no code came with it",
    "provider_error": "ours: an answer was lost, and the provider's search proved later that no payment had been made",
}

# Why a call of ours was refused.
OF_CALLS: Mapping[str, str] = {
    "balance_insufficient": "the balance at the provider does not cover a refund yet",
    "insufficient_funds": "the balance at the provider does not cover a refund yet",
    "answer_lost": _NO_ANSWER,
    "api_error": _NO_ANSWER,
    "resource_missing": "the provider does not have what we name",
    "account_invalid": _OUR_KEY,
    "secret_key_required": _OUR_KEY,
    "livemode_mismatch": _OUR_KEY,
    "testmode_charges_only": _OUR_KEY,
    "charge_disputed": "the donor's bank holds the money",
    "charge_already_refunded": _NOTHING_LEFT,
    "charge_not_refundable": _NOTHING_LEFT,
    "charge_expired_for_capture": "what was held is held no longer",
    "payment_intent_unexpected_state": "the intent ended otherwise",
    "released": "ours: no refund but what a capture left of the authorisation",
    "provider_error": "ours: a look-up proved that nothing had come of a call whose answer was lost",
}


def of_payment(code: str) -> str:
    """A decline's code with its meaning; the code alone where none is published."""
    return _told(code, OF_PAYMENTS)


def of_call(code: str) -> str:
    """The same of a refused call of ours."""
    return _told(code, OF_CALLS)


def _told(code: str, meanings: Mapping[str, str]) -> str:
    return f"{code} ({meanings[code]})" if code in meanings else code
