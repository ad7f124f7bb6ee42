"""What a code of the provider means for us: whether asking again may help, how often, and when an operator has to look.

Published in docs/failures.md; a test compares the two.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Cure(enum.Enum):
    """What helps."""

    RETRY = "retryable"
    """The same again, later."""
    END = "terminal"
    """Nothing: it has ended."""
    ASK = "unknown"
    """Whether anything happened is to be proven first."""
    OPERATOR = "manual"
    """An operator has to mend something; then it is asked again."""


@dataclass(frozen=True, slots=True)
class Reason:
    """`tries_max`: after so many it is in the manual queue; it is asked on, once a day."""

    cure: Cure
    tries_max: int


_LATER = Reason(Cure.RETRY, 6)
_ENDED = Reason(Cure.END, 1)
_UNPROVEN = Reason(Cure.ASK, 6)
_OURS = Reason(Cure.OPERATOR, 1)

# Refusals of our calls, and what stands for answers that never came. Every other code of a call is `_ENDED`.
OF_CALLS: Mapping[str, Reason] = {
    "balance_insufficient": _LATER,
    "insufficient_funds": _LATER,
    # Ours: a look-up proved that nothing came of a call whose answer was lost.
    "provider_error": _LATER,
    "answer_lost": _UNPROVEN,
    "api_error": _UNPROVEN,
    "resource_missing": _OURS,
    "account_invalid": _OURS,
    "secret_key_required": _OURS,
    "livemode_mismatch": _OURS,
    "testmode_charges_only": _OURS,
    "charge_disputed": _ENDED,
    "charge_already_refunded": _ENDED,
    "charge_not_refundable": _ENDED,
    "charge_expired_for_capture": _ENDED,
    "payment_intent_unexpected_state": _ENDED,
    "released": _ENDED,
}


def of_call(code: str) -> Reason:
    """What the refusal of a call of ours means."""
    return OF_CALLS.get(code, _ENDED)
