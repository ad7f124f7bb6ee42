"""Postings as data: pure functions from what happened to what is posted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from uuid import UUID

from mesh.money import Money
from payment_svc.domain.ledger import Account, Batch, DonationChange, Line, Posting, PostingKind
from payment_svc.domain.payments import Payment

BIGINT_MAX = 2**63 - 1
BIGINT_MIN = -(2**63)

# kind → (debited, credited): a checkout or the provider holds what was charged, and we owe it to the campaign.
SIDES: Mapping[PostingKind, tuple[Account, Account]] = {
    PostingKind.CAPTURED: (Account.PROVIDER_CLEARING, Account.CAMPAIGN_PAYABLE),
    PostingKind.RECORDED: (Account.EXTERNAL_CLEARING, Account.CAMPAIGN_PAYABLE),
    PostingKind.RECORDED_REVERSAL: (Account.CAMPAIGN_PAYABLE, Account.EXTERNAL_CLEARING),
}
# kind → what a growth of one minor unit does to what the campaign is owed.
SIGNS: Mapping[PostingKind, int] = {PostingKind.RECORDED: 1, PostingKind.RECORDED_REVERSAL: -1}


class AmountOutOfRange(ArithmeticError):  # noqa: N818 - named for the fact
    """A sum that the ledger's bigint cannot hold."""


def batch_of(change: DonationChange) -> Batch:
    """What the change is posted together with."""
    return Batch(change.charity_id, change.campaign_id, change.amount.currency, change.kind)


def owed_delta(change: DonationChange) -> int:
    """What the change adds to what its campaign is owed."""
    return SIGNS[change.kind] * change.amount.minor_units


def batch_postings(changes: Iterable[DonationChange], *, ids: Mapping[Batch, UUID]) -> list[Posting]:
    """One posting per campaign, currency and kind, in a fixed order; a sum of zero makes none.

    Raises:
        AmountOutOfRange: a sum does not fit the ledger.
    """
    sums: defaultdict[Batch, int] = defaultdict(int)
    for change in changes:
        sums[batch_of(change)] += change.amount.minor_units
    return [_posting(ids[batch], batch, sums[batch]) for batch in sorted(sums) if sums[batch]]


def payment_posting(posting_id: UUID, payment: Payment, *, kind: PostingKind, minor_units: int) -> Posting:
    """What one payment's growth is posted as."""
    batch = Batch(payment.charity_id, payment.campaign_id, payment.amount.currency, kind)
    return replace(_posting(posting_id, batch, minor_units), payment_id=payment.id)


def _posting(posting_id: UUID, batch: Batch, total: int) -> Posting:
    # The negative is posted too, and bigint reaches one further down than up.
    if not BIGINT_MIN < total <= BIGINT_MAX:
        raise AmountOutOfRange("a batch sums to more than the ledger holds")
    debited, credited = SIDES[batch.kind]
    lines = (Line(debited, Money(total, batch.currency)), Line(credited, Money(-total, batch.currency)))
    return Posting(posting_id, batch.charity_id, batch.campaign_id, batch.kind, lines)
