"""Postings as data: pure functions from what happened to what is posted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from uuid import UUID

from mesh.money import Money
from payment_svc.domain.ledger import NOBODY, Account, Batch, DonationChange, Line, Posting, PostingKind
from payment_svc.domain.payments import Payment
from payment_svc.domain.settlement import AGREEING, Item, owner

BIGINT_MAX = 2**63 - 1
BIGINT_MIN = -(2**63)

# kind → (debited, credited): a checkout or the provider holds what was charged, and we owe it to the campaign; what goes
# back to donors we owe it less. What goes back beyond what was taken no campaign owes: it is a loss of ours.
SIDES: Mapping[PostingKind, tuple[Account, Account]] = {
    PostingKind.CAPTURED: (Account.PROVIDER_CLEARING, Account.CAMPAIGN_PAYABLE),
    PostingKind.RECORDED: (Account.EXTERNAL_CLEARING, Account.CAMPAIGN_PAYABLE),
    PostingKind.RECORDED_REVERSAL: (Account.REFUNDS, Account.EXTERNAL_CLEARING),
    PostingKind.REFUNDED: (Account.REFUNDS, Account.PROVIDER_CLEARING),
    PostingKind.REFUND_RETURNED: (Account.PROVIDER_CLEARING, Account.REFUNDS),
    PostingKind.DISPUTE_HELD: (Account.DISPUTES_HELD, Account.PROVIDER_CLEARING),
    PostingKind.DISPUTE_RETURNED: (Account.PROVIDER_CLEARING, Account.DISPUTES_HELD),
    PostingKind.DISPUTE_LOST: (Account.REFUNDS, Account.DISPUTES_HELD),
    PostingKind.DISPUTE_REGAINED: (Account.DISPUTES_HELD, Account.REFUNDS),
    PostingKind.EXCESS_TAKEN: (Account.ADJUSTMENTS, Account.PROVIDER_CLEARING),
    PostingKind.EXCESS_RETURNED: (Account.PROVIDER_CLEARING, Account.ADJUSTMENTS),
}
# A figure of a payment → (the posting of its growth, the posting of its fall).
FIGURES: Mapping[str, tuple[PostingKind, PostingKind | None]] = {
    "captured": (PostingKind.CAPTURED, None),
    "refunded": (PostingKind.REFUNDED, PostingKind.REFUND_RETURNED),
    "disputed": (PostingKind.DISPUTE_HELD, PostingKind.DISPUTE_RETURNED),
    "lost": (PostingKind.DISPUTE_LOST, PostingKind.DISPUTE_REGAINED),
    "excess": (PostingKind.EXCESS_TAKEN, PostingKind.EXCESS_RETURNED),
}
# The provider's reporting category of a movement that is no payment's → its posting, and where it goes to or comes from.
# Every other one is an adjustment.
MOVEMENTS: Mapping[str, tuple[PostingKind, Account]] = {
    "fee": (PostingKind.PROVIDER_FEE, Account.FEES),
    "payout": (PostingKind.PAID_OUT, Account.BANK),
    "payout_reversal": (PostingKind.PAYOUT_RETURNED, Account.BANK),
}
_OTHERS = (PostingKind.PROVIDER_ADJUSTMENT, Account.ADJUSTMENTS)
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


def moves(before: Payment, after: Payment) -> list[tuple[PostingKind, int]]:
    """What a payment's change is posted as: kinds, each with an amount above zero.

    Raises:
        ArithmeticError: what was captured has shrunk.
    """
    found = []
    for figure, (growing, falling) in FIGURES.items():
        growth = getattr(after, figure) - getattr(before, figure)
        if growth > 0:
            found.append((growing, growth))
        elif growth < 0:
            if falling is None:
                raise ArithmeticError("what was captured never shrinks")
            found.append((falling, -growth))
    return found


def payment_posting(
    posting_id: UUID, payment: Payment, *, kind: PostingKind, minor_units: int, reverses: UUID | None
) -> Posting:
    """What one move of a payment is posted as; `reverses`: the posting of what it took."""
    batch = Batch(payment.charity_id, payment.campaign_id, payment.amount.currency, kind)
    linked = None if kind is PostingKind.CAPTURED else reverses
    return replace(_posting(posting_id, batch, minor_units), payment_id=payment.id, reverses=linked)


def settlement_posting(posting_id: UUID, before: Item, after: Item) -> Posting | None:
    """What a look at a movement is posted as: all of it, or what differs from what was posted before; None: nothing."""
    if not after.posted:
        return None
    sums = _settled(after)
    if before.posted:
        sums.subtract(_settled(before))
    lines = tuple(Line(account, Money(sums[account, code], code)) for account, code in sorted(sums) if sums[account, code])
    if not lines:
        return None
    ours = owner(before, after)
    return Posting(
        posting_id,
        ours.charity_id if ours else NOBODY,
        ours.campaign_id if ours else None,
        PostingKind.RESETTLED if before.posted else _kind_of(after),
        lines,
        payment_id=ours.payment_id if ours else None,
        settlement_id=after.movement.id,
    )


def _kind_of(item: Item) -> PostingKind:
    return PostingKind.SETTLED if item.ours else MOVEMENTS.get(item.movement.category, _OTHERS)[0]


def _settled(item: Item) -> Counter[tuple[Account, str]]:
    """What the accounts hold of a movement: what is left on the balance, what the provider kept, and where it came from.

    What was exchanged stands on the clearing of exchanges in both currencies, in ours as soon as our books know it.
    """
    moved, code = item.movement.amount.minor_units, item.movement.amount.currency
    sums = Counter({(Account.PROVIDER_BALANCE, code): item.movement.net.minor_units})
    sums[Account.FEES, code] += item.movement.fee
    if item.ours is None:
        sums[MOVEMENTS.get(item.movement.category, _OTHERS)[1], code] -= moved
    elif item.ours.currency == code:
        sums[Account.PROVIDER_CLEARING, code] -= moved
    else:
        sums[Account.FX_CLEARING, code] -= moved
        if item.item_class in AGREEING and item.ours.minor_units is not None:
            sums[Account.FX_CLEARING, item.ours.currency] += item.ours.minor_units
            sums[Account.PROVIDER_CLEARING, item.ours.currency] -= item.ours.minor_units
    return sums


def _posting(posting_id: UUID, batch: Batch, total: int) -> Posting:
    # The negative is posted too, and bigint reaches one further down than up.
    if not BIGINT_MIN < total <= BIGINT_MAX:
        raise AmountOutOfRange("a batch sums to more than the ledger holds")
    debited, credited = SIDES[batch.kind]
    lines = (Line(debited, Money(total, batch.currency)), Line(credited, Money(-total, batch.currency)))
    return Posting(posting_id, batch.charity_id, batch.campaign_id, batch.kind, lines)
