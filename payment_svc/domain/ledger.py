"""The ledger's words: accounts, postings, entries. Amounts are minor units, debit positive."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass
from uuid import UUID

from mesh.money import Money

# The charity of what concerns none.
NOBODY = UUID(int=0)


class Account(enum.StrEnum):
    """The chart of accounts, as the table `account` holds it."""

    PROVIDER_CLEARING = "provider_clearing"
    PROVIDER_BALANCE = "provider_balance"
    EXTERNAL_CLEARING = "external_clearing"
    BANK = "bank"
    CAMPAIGN_PAYABLE = "campaign_payable"
    FEES = "fees"
    REFUNDS = "refunds"
    DISPUTES_HELD = "disputes_held"
    FX_CLEARING = "fx_clearing"
    ADJUSTMENTS = "adjustments"


class PostingKind(enum.StrEnum):
    """What a posting stands for."""

    RECORDED = "recorded"
    RECORDED_REVERSAL = "recorded_reversal"
    CAPTURED = "captured"
    REFUNDED = "refunded"
    REFUND_RETURNED = "refund_returned"
    DISPUTE_HELD = "dispute_held"
    DISPUTE_RETURNED = "dispute_returned"
    DISPUTE_LOST = "dispute_lost"
    DISPUTE_REGAINED = "dispute_regained"
    EXCESS_TAKEN = "excess_taken"
    EXCESS_RETURNED = "excess_returned"
    SETTLED = "settled"
    PROVIDER_FEE = "provider_fee"
    PAID_OUT = "paid_out"
    PAYOUT_RETURNED = "payout_returned"
    PROVIDER_ADJUSTMENT = "provider_adjustment"
    RESETTLED = "resettled"


@dataclass(frozen=True, slots=True)
class DonationChange:
    """What one event says of a recorded donation; `amount` is the growth of the figure that `kind` follows."""

    event_id: UUID
    day: datetime.date
    tx: int
    epoch: int
    donation_id: UUID
    charity_id: UUID
    campaign_id: UUID
    kind: PostingKind
    amount: Money


@dataclass(frozen=True, slots=True, order=True)
class Batch:
    """What is posted together."""

    charity_id: UUID
    campaign_id: UUID
    currency: str
    kind: PostingKind


@dataclass(frozen=True, slots=True)
class Line:
    account: Account
    amount: Money


@dataclass(frozen=True, slots=True)
class Posting:
    """Lines that sum to zero per currency.

    `payment_id` where it is one payment's, `reverses` what it takes back, `settlement_id` the provider's balance transaction
    that it settles. `campaign_id` is None where it concerns no campaign.
    """

    id: UUID
    charity_id: UUID
    campaign_id: UUID | None
    kind: PostingKind
    lines: tuple[Line, ...]
    payment_id: UUID | None = None
    reverses: UUID | None = None
    settlement_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line as it was posted, and what its posting stands for."""

    posting_id: UUID
    account: str
    campaign_id: UUID | None
    amount: Money
    create_time: datetime.datetime
    kind: str
    reverses: UUID | None


@dataclass(frozen=True, slots=True)
class Violation:
    """A posting that does not balance; `sum` is None where it has no entries at all."""

    posting_id: UUID
    sum: Money | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What was read, and what does not hold."""

    violations: tuple[Violation, ...]
    postings: int
    entries: int
